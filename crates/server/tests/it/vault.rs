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
    Vault::open(&KeySource::Given(hex(digit)), false).expect("a key of 64 digits")
}

#[test]
fn what_is_sealed_opens_and_differs_every_time() {
    let vault = vault('a');
    let long = vec![7; 100_000];
    for secret in [SECRET, b"", &long] {
        let sealed = vault.seal(&ROW, secret).unwrap();
        assert_eq!(sealed.len(), 1 + 8 + 60 + 28 + secret.len());
        assert_eq!(vault.unseal(&ROW, &sealed).unwrap().expose_secret(), secret);
        assert_ne!(sealed, vault.seal(&ROW, secret).unwrap());
    }
}

#[test]
fn a_change_of_any_byte_is_noticed() {
    let vault = vault('a');
    let sealed = vault.seal(&ROW, SECRET).unwrap();
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
    let sealed = vault.seal(&ROW, SECRET).unwrap();
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
    let (one, two) = (vault.seal(&ROW, b"one").unwrap(), vault.seal(&ROW, b"two").unwrap());
    let mixed = [&one[..69], &two[69..]].concat();
    vault.unseal(&ROW, &mixed).expect_err("the data key of one, the secret of the other");
}

#[test]
fn a_wrong_master_key_is_named() {
    let (ours, theirs) = (vault('a'), vault('b'));
    let sealed = theirs.seal(&ROW, SECRET).unwrap();
    let error = ours.unseal(&ROW, &sealed).unwrap_err().to_string();
    assert!(error.contains(&ours.key_id().to_string()) && error.contains(&theirs.key_id().to_string()), "{error}");
}

#[test]
fn nothing_that_is_printed_holds_a_secret() {
    let vault = vault('a');
    let sealed = vault.seal(&ROW, SECRET).unwrap();
    let opened = vault.unseal(&ROW, &sealed).unwrap();
    let key = MasterKey::from_hex(&hex('a')).unwrap();
    let source = KeySource::Given(hex('a'));
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
    let made = Vault::open(&source, true).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_to_string(&path).unwrap().trim().len(), 64);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left behind");
    let again = Vault::open(&source, true).unwrap();
    assert_eq!(again.key_id(), made.key_id());
}

#[test]
fn a_missing_key_is_never_made_anew_beside_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    let error = Vault::open(&KeySource::File(path.clone()), false).unwrap_err();
    assert!(matches!(&error, VaultError::Missing(missing) if *missing == path), "{error:?}");
    assert!(error.to_string().contains("put it back"), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_key_file_that_others_may_read_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    fs::write(&path, "a".repeat(64)).unwrap();
    for mode in [0o644, 0o640, 0o602] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = Vault::open(&KeySource::File(path.clone()), true).unwrap_err().to_string();
        assert!(error.contains(&format!("(mode {mode:04o})")), "{error}");
        assert!(error.contains(&format!("run `chmod 600 {}`", path.display())), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    Vault::open(&KeySource::File(path), true).unwrap();
}

#[test]
fn what_is_no_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    for text in ["", "abc", &"g".repeat(64), &"a".repeat(63), &"a".repeat(66)] {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = Vault::open(&KeySource::File(path.clone()), true).unwrap_err();
        assert!(matches!(error, VaultError::Malformed(_)), "{text}: {error:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "a bad file is left as it is");
    }
    let link = dir.path().join("link");
    symlink("/nonexistent/master.key", &link).unwrap();
    Vault::open(&KeySource::File(link), true).expect_err("a link to nowhere is not replaced");
}
