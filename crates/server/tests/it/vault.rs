//! The vault: what is sealed opens only unchanged, in its row, under its key.

use polydev_server::vault::{KeySource, MasterKey, RowBinding, Vault, VaultError};
use secrecy::{ExposeSecret, SecretString};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

const SECRET: &[u8] = b"sk-ant-canary";
const ROW: RowBinding<'_> =
    RowBinding { table: "encrypted_credentials", id: "crd_1", user: "usr_1", provider: "claude" };

fn hex(digit: char) -> SecretString {
    digit.to_string().repeat(64).into()
}

fn vault(digit: char) -> Vault {
    Vault::open(&KeySource::Variable(hex(digit)), &[]).expect("a key of 64 digits")
}

fn seal(vault: &Vault, secret: &[u8]) -> Vec<u8> {
    vault.seal(vault.keys()[0], &ROW, secret).unwrap()
}

#[test]
fn what_is_sealed_opens_and_differs_every_time() {
    let vault = vault('a');
    let long = vec![7; 100_000];
    for secret in [SECRET, b"", &long] {
        let sealed = seal(&vault, secret);
        assert_eq!(sealed.len(), 1 + 8 + 60 + 28 + secret.len());
        assert_eq!(vault.unseal(&ROW, &sealed).unwrap().expose_secret(), secret);
        assert_ne!(sealed, seal(&vault, secret));
    }
}

#[test]
fn a_change_of_any_byte_is_noticed() {
    let vault = vault('a');
    let sealed = seal(&vault, SECRET);
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        let error = vault.unseal(&ROW, &changed).unwrap_err();
        match at {
            0 => assert!(matches!(error, VaultError::Format(0)), "{error:?}"),
            1..9 => assert!(matches!(error, VaultError::WrongKey { .. }), "{error:?}"),
            _ => assert!(matches!(error, VaultError::Corrupt(_)), "byte {at}: {error:?}"),
        }
    }
    for length in 0..sealed.len() {
        vault.unseal(&ROW, &sealed[..length]).expect_err("a blob that was cut");
    }
    let longer = [sealed.as_slice(), b"x"].concat();
    vault.unseal(&ROW, &longer).expect_err("a blob with something behind it");
}

#[test]
fn a_secret_does_not_open_in_another_row() {
    let vault = vault('a');
    let sealed = seal(&vault, SECRET);
    let others = [
        RowBinding { table: "other", ..ROW },
        RowBinding { id: "crd_2", ..ROW },
        RowBinding { user: "usr_2", ..ROW },
        RowBinding { provider: "codex", ..ROW },
        // The same letters, divided elsewhere.
        RowBinding { id: "crd_1u", user: "sr_1", ..ROW },
    ];
    for other in others {
        let error = vault.unseal(&other, &sealed).unwrap_err();
        assert!(matches!(error, VaultError::Corrupt(_)), "{other:?}: {error:?}");
    }
}

#[test]
fn parts_of_two_secrets_do_not_make_a_third() {
    let vault = vault('a');
    let (one, two) = (seal(&vault, b"one"), seal(&vault, b"two"));
    let mixed = [&one[..69], &two[69..]].concat();
    vault.unseal(&ROW, &mixed).expect_err("the data key of one, the secret of the other");
}

#[test]
fn a_wrong_master_key_is_named() {
    let (ours, theirs) = (vault('a'), vault('b'));
    let sealed = seal(&theirs, SECRET);
    let error = ours.unseal(&ROW, &sealed).unwrap_err().to_string();
    assert!(error.contains(&ours.keys()[0].to_string()) && error.contains(&theirs.keys()[0].to_string()), "{error}");
}

#[test]
fn nothing_that_is_printed_holds_a_secret() {
    let vault = vault('a');
    let sealed = seal(&vault, SECRET);
    let opened = vault.unseal(&ROW, &sealed).unwrap();
    let key = MasterKey::from_hex(&hex('a')).unwrap();
    let source = KeySource::Variable(hex('a'));
    let wrong = MasterKey::from_hex(&SecretString::from("sk-ant-canary")).unwrap_err();
    let said = format!("{vault:?} {opened:?} {key:?} {source:?} {wrong:?} {wrong}");
    assert!(!said.contains("aaaaaaaa") && !said.contains("canary"), "{said}");
    assert!(!sealed.windows(6).any(|window| window == b"canary"));
}

#[test]
fn the_key_file_is_made_once_and_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    let source = KeySource::File(path.clone());
    let made = Vault::open(&source, &[]).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_to_string(&path).unwrap().trim().len(), 64);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left behind");
    let again = Vault::open(&source, &[]).unwrap();
    assert_eq!(again.keys()[0], made.keys()[0]);
}

#[test]
fn a_missing_key_is_never_made_anew_beside_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    let sealed = vault('a').keys();
    let error = Vault::open(&KeySource::File(path.clone()), &sealed).unwrap_err();
    assert!(matches!(&error, VaultError::Lost { path: lost, .. } if *lost == path), "{error:?}");
    assert!(error.to_string().contains("put it back") && error.to_string().contains(&sealed[0].to_string()), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_key_file_that_others_may_read_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    fs::write(&path, "a".repeat(64)).unwrap();
    for mode in [0o644, 0o640, 0o602] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = Vault::open(&KeySource::File(path.clone()), &[]).unwrap_err().to_string();
        assert!(error.contains(&format!("(mode {mode:04o})")), "{error}");
        assert!(error.contains(&format!("run `chmod 600 {}`", path.display())), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    Vault::open(&KeySource::File(path), &[]).unwrap();
}

#[test]
fn what_is_no_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    let long = "a".repeat(5000);
    let both = format!("{}\n{}\n", "a".repeat(64), "b".repeat(60));
    for (text, why) in [
        ("", "is empty"),
        ("abc", "has 3 characters"),
        (&*"g".repeat(64), "has other characters"),
        (&*"a".repeat(63), "has 63 characters"),
        (&*"a".repeat(66), "has 66 characters"),
        (&*both, "has 60 characters"),
        (&*long, "is far too long"),
    ] {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = Vault::open(&KeySource::File(path.clone()), &[]).unwrap_err();
        assert!(matches!(error, VaultError::Malformed { .. }), "{text}: {error:?}");
        let said = error.to_string();
        assert!(said.contains(why) && said.contains(path.to_str().unwrap()) && !said.contains("aaaa"), "{said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "a bad file is left as it is");
    }
}

#[test]
fn what_is_no_file_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let said = |name: &str| {
        let error = Vault::open(&KeySource::File(dir.path().join(name)), &[]).unwrap_err();
        polydev_server::cli::output::chain(&error)
    };
    fs::create_dir(dir.path().join("directory")).unwrap();
    assert!(said("directory").ends_with("directory` is no file"), "{}", said("directory"));
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg("-m600").arg(&pipe).status().unwrap().success());
    assert!(said("pipe").ends_with("pipe` is no file"), "nobody waits for a writer: {}", said("pipe"));
    symlink(dir.path().join("loop"), dir.path().join("loop")).unwrap();
    assert!(said("loop").contains("loop` cannot be used: Too many levels"), "{}", said("loop"));
    symlink("/nonexistent/master.key", dir.path().join("link")).unwrap();
    assert!(
        said("link").contains("link` is a link to `/nonexistent/master.key`, which is not there"),
        "{}",
        said("link")
    );
    assert!(said("no/master.key").contains("No such file or directory"), "{}", said("no/master.key"));
}

#[test]
fn a_vault_learns_the_keys_that_come_and_forgets_those_that_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    let put = |keys: &[char]| {
        let lines = keys.iter().map(|key| key.to_string().repeat(64) + "\n").collect::<String>();
        fs::write(&path, lines).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let (old, new) = (vault('a').keys()[0], vault('b').keys()[0]);
    put(&['a']);
    let server = Vault::open(&KeySource::File(path.clone()), &[old]).unwrap();
    let before = seal(&server, b"before");
    let error = server.seal(new, &ROW, b"too early").unwrap_err();
    assert!(matches!(error, VaultError::WrongKey { .. }), "{error:?}");

    put(&['b', 'a']);
    let after = vault('b').seal(new, &ROW, b"after").unwrap();
    assert_eq!(server.unseal(&ROW, &after).unwrap().expose_secret(), b"after", "it looks for a key that it lacks");
    assert_eq!(server.unseal(&ROW, &before).unwrap().expose_secret(), b"before");
    assert_eq!(server.keys(), [new, old]);

    put(&['c']);
    server.forget_retired(new).unwrap();
    assert_eq!(server.keys(), [new, old], "a file without the key that seals is somebody's mistake");
    put(&['b']);
    server.forget_retired(new).unwrap();
    assert_eq!(server.keys(), [new]);
    let error = server.unseal(&ROW, &before).unwrap_err();
    assert!(matches!(error, VaultError::WrongKey { .. }), "{error:?}");
}
