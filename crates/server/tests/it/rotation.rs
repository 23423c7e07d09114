//! The change of the master key: everything is under the new one and nothing under the old, whatever comes between.

use crate::support::db;
use futures_util::FutureExt;
use polydev_server::{
    domain::{
        connections,
        people::{self, Role},
        rotation::{RotateError, Rotated, Step, rotate},
        vault::{self, keys},
    },
    providers::{Credential, Method},
    store::{Alone, Store, StoreError, Watch, credentials},
    vault::{KeyId, KeySource, Rotating, Vault, VaultError},
};
use secrecy::ExposeSecret;
use std::{fs, os::unix::fs::PermissionsExt, panic::AssertUnwindSafe, path::PathBuf, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const PROVIDERS: [&str; 3] = ["claude", "codex", "gemini"];

/// A database with credentials, and the file of its master key.
struct Place {
    dir: TempDir,
    store: Store,
    /// Dropped after the store, as it asks for.
    watch: Watch,
    users: Vec<String>,
}

impl Place {
    /// With three credentials of each of so many people. `server` says whether one is taken to run.
    async fn new(url: &str, people: usize) -> Self {
        let store = Store::open(url).await.unwrap();
        store.close().await;
        let watch = Watch::new(url).unwrap();
        let store = Store::open(url).await.unwrap();
        let mut place = Self { dir: tempfile::tempdir().unwrap(), store, watch, users: Vec::new() };
        let vault = place.server().await;
        for n in 0..people {
            let user = people::create_user(&place.store, &format!("{n}@example.com"), Role::Member).await.unwrap().0;
            for provider in PROVIDERS {
                place.put(&vault, &user.id, provider, "first").await;
            }
            place.users.push(user.id);
        }
        place
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("master.key")
    }

    fn source(&self) -> KeySource {
        KeySource::File(self.file())
    }

    /// The vault of a server that starts now.
    async fn server(&self) -> Vault {
        vault::open(&self.store, &self.source()).await.unwrap()
    }

    async fn put(&self, vault: &Vault, user: &str, provider: &str, what: &str) {
        let key = Credential::ApiKey(format!("{user} {provider} {what}").into());
        connections::put(&self.store, vault, (user, provider), Method::ApiKey, &key, None).await.unwrap();
    }

    async fn open(&self, vault: &Vault, user: &str, provider: &str) -> String {
        let opened = connections::open(&self.store, vault, user, provider).await.unwrap();
        let Credential::ApiKey(key) = &opened.credential else { panic!("it is of another kind") };
        key.expose_secret().to_owned()
    }

    async fn rotate(&self) -> Result<Rotated, RotateError> {
        rotate(&self.store, &self.watch, &self.source(), |_| ()).await
    }

    /// Everything opens with this vault, and is as it was stored first.
    async fn all_open(&self, vault: &Vault) {
        for user in &self.users {
            for provider in PROVIDERS {
                assert_eq!(self.open(vault, user, provider).await, format!("{user} {provider} first"));
            }
        }
    }

    /// Everything opens under this key alone, and nothing under these.
    async fn under(&self, key: KeyId, not: &[KeySource]) {
        assert_eq!(self.source().look().unwrap(), [key], "the file has it alone");
        assert_eq!(fs::metadata(self.file()).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(self.dir.path()).unwrap().count(), 1, "no draft is left behind");
        self.all_open(&Vault::alone(&self.source(), key).unwrap()).await;
        assert_eq!(keys(&self.store).await.unwrap().sealed(), [key]);
        let rows = self.store.sealed_after("", 1000).await.unwrap();
        assert_eq!(rows.len(), self.users.len() * 3);
        for old in not {
            let vault = Vault::open(old, &[]).unwrap();
            for row in &rows {
                let binding = polydev_server::vault::RowBinding {
                    table: "encrypted_credentials",
                    id: &row.id,
                    user: &row.user_id,
                    provider: &row.provider,
                };
                let error = vault.unseal(&binding, &row.encrypted_data).unwrap_err();
                assert!(matches!(error, VaultError::WrongKey { .. }), "{error:?}");
            }
        }
    }

    /// The keys of the file as they are now, by variable.
    fn copy_of_keys(&self) -> KeySource {
        KeySource::Variable(fs::read_to_string(self.file()).unwrap().into())
    }
}

#[tokio::test]
async fn everything_is_sealed_under_the_new_key_and_nothing_under_the_old() {
    db::each_url(async |url| {
        let place = Place::new(url, 20).await;
        let running = place.server().await;
        let mut old = Vec::new();
        for _ in 0..3 {
            old.push(place.copy_of_keys());
            let before = running.keys();
            let mut steps = Vec::new();
            let rotated = rotate(&place.store, &place.watch, &place.source(), |step| steps.push(step)).await.unwrap();
            assert_eq!((rotated.credentials, rotated.earlier, rotated.left), (60, false, None));
            assert_eq!(rotated.retired, before);
            let told = [
                Step::Begun { key: rotated.key, earlier: false },
                Step::Announced,
                Step::Turned,
                Step::Resealed(50),
                Step::Resealed(60),
                Step::Proven(60),
                Step::Settled,
            ];
            assert_eq!(steps, told);
            place.under(rotated.key, &old).await;
            // A server that has heard nothing of it goes on, and forgets the old key.
            place.all_open(&running).await;
            vault::follow(&place.store, &running).await.unwrap();
            assert_eq!(running.keys(), [rotated.key]);
        }
        let opened = connections::open(&place.store, &running, &place.users[0], "claude").await.unwrap();
        assert_eq!(opened.connection.version, 1, "it is the same secret: a run that has it may write it back");
        place.store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_rotation_that_is_stopped_after_any_step_is_ended_by_the_next() {
    db::each_url(async |url| {
        let place = Place::new(url, 20).await;
        for stop_at in 0.. {
            let running = place.server().await;
            let old = place.copy_of_keys();
            let (mut at, mut stopped, source) = (0, None, place.source());
            let rotation = rotate(&place.store, &place.watch, &source, |step| {
                if at == stop_at {
                    stopped = Some(step);
                    // Nothing of it is tidied up by hand: this ends it where it is.
                    std::panic::resume_unwind(Box::new("stopped"));
                }
                at += 1;
            });
            if AssertUnwindSafe(rotation).catch_unwind().await.is_ok() {
                assert_eq!(at, 7, "it was stopped after every step");
                break;
            }
            eprintln!("stopped after {stopped:?}");
            // A server that runs, and one that starts now.
            place.all_open(&running).await;
            let started = place.server().await;
            place.all_open(&started).await;
            place.put(&started, &place.users[0], "claude", "first").await;
            let both = place.source().look().unwrap();
            let rotated = place.rotate().await.unwrap();
            assert!(rotated.earlier);
            assert_eq!((rotated.key, rotated.retired), (both[0], both[1..].to_vec()));
            place.under(rotated.key, &[old]).await;
            place.all_open(&running).await;
            place.all_open(&started).await;
        }
        place.store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_meanwhile_is_kept() {
    db::each_url(async |url| {
        let place = Arc::new(Place::new(url, 4).await);
        let vault = Arc::new(place.server().await);
        let stop = CancellationToken::new();
        let follower = tokio::spawn({
            let (place, vault, stop) = (place.clone(), vault.clone(), stop.clone());
            async move { vault::follow_forever(place.store.clone(), &vault, stop).await }
        });
        // Everybody connects again and again, and finds what they have stored last.
        let busy = place.users.iter().cloned().map(|user| {
            let (place, vault, stop) = (place.clone(), vault.clone(), stop.clone());
            tokio::spawn(async move {
                let mut n = 0;
                while !stop.is_cancelled() {
                    for provider in PROVIDERS {
                        place.put(&vault, &user, provider, &n.to_string()).await;
                        assert_eq!(place.open(&vault, &user, provider).await, format!("{user} {provider} {n}"));
                    }
                    n += 1;
                }
                (user, n - 1)
            })
        });
        let busy: Vec<_> = busy.collect();
        let mut key = None;
        for _ in 0..10 {
            key = Some(place.rotate().await.unwrap().key);
        }
        stop.cancel();
        let alone = Vault::alone(&place.source(), key.unwrap()).unwrap();
        for done in busy {
            let (user, n) = done.await.unwrap();
            assert!(n > 0, "something was stored meanwhile");
            for provider in PROVIDERS {
                assert_eq!(place.open(&alone, &user, provider).await, format!("{user} {provider} {n}"));
            }
        }
        follower.await.unwrap();
        place.store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_secret_that_was_changed_is_not_sealed_over() {
    db::each_url(async |url| {
        let place = Place::new(url, 1).await;
        let vault = place.server().await;
        let row = place.store.sealed_after("", 1).await.unwrap().pop().unwrap();
        place.put(&vault, &row.user_id, &row.provider, "second").await;
        assert!(!place.store.reseal(&row, b"the first, anew".to_vec()).await.unwrap());
        assert!(place.open(&vault, &row.user_id, &row.provider).await.ends_with("second"));
        place.store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_turns_after_what_is_being_sealed() {
    db::each_url(async |url| {
        let place = Place::new(url, 1).await;
        let next = "00112233445566ff";
        place.store.announce_key(next).await.unwrap();
        let (sealing, begun) = tokio::sync::oneshot::channel();
        let (turned, over) = std::sync::mpsc::channel();
        let turn = tokio::spawn({
            let store = place.store.clone();
            async move {
                begun.await.unwrap();
                assert!(store.turn_key(next).await.unwrap());
                // Nobody listens any more, if all is well.
                let _ = turned.send(());
            }
        });
        let described = credentials::Described { method: "api_key", ..Default::default() };
        let of = (place.users[0].as_str(), "claude");
        credentials::put(&place.store, of, &described, 1, |under, _| {
            assert_ne!(under, Some(next));
            sealing.send(()).unwrap();
            // Long enough for a key that does not wait; one that waits comes too late however long this is.
            let early = over.recv_timeout(Duration::from_millis(300));
            assert!(early.is_err(), "the key has turned while something was being sealed under the one before");
            Ok::<_, StoreError>(b"under the old one".to_vec())
        })
        .await
        .unwrap();
        turn.await.unwrap();
        credentials::put(&place.store, of, &described, 2, |under, _| {
            assert_eq!(under, Some(next));
            Ok::<_, StoreError>(Vec::new())
        })
        .await
        .unwrap();
        place.store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_server_that_runs_has_the_key_before_anything_is_under_it() {
    db::each_url(async |url| {
        let server = Alone::take(url).await.unwrap();
        let place = Place::new(url, 1).await;
        let running = place.server().await;
        let rotation = place.rotate();
        let follow = async {
            loop {
                // As it was before it learnt: the rotation goes on at once after that.
                let before = keys(&place.store).await.unwrap();
                if before.next.is_some() {
                    vault::follow(&place.store, &running).await.unwrap();
                    assert!(running.keys().len() > 1);
                    break before;
                }
                tokio::task::yield_now().await;
            }
        };
        let (rotated, when_learnt) = tokio::join!(rotation, follow);
        let rotated = rotated.unwrap();
        assert_eq!(when_learnt.next, Some(rotated.key));
        assert!(when_learnt.sealed.iter().all(|(key, _)| *key == rotated.retired[0]), "{when_learnt:?}");
        assert_eq!(running.keys()[0], rotated.key);
        place.under(rotated.key, &[]).await;
        place.store.close().await;
        drop(server);
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_given_is_changed_by_who_gives_it() {
    db::each_url(async |url| {
        let place = Place::new(url, 2).await;
        let given = |digits: &str| {
            let keys = digits.chars().map(|digit| digit.to_string().repeat(64)).collect::<Vec<_>>();
            KeySource::Variable(keys.join(",").into())
        };
        let to = async |source: KeySource| rotate(&place.store, &place.watch, &source, |_| ()).await;
        // From the file to a variable.
        let old = fs::read_to_string(place.file()).unwrap();
        let moved = to(KeySource::Variable(format!("{}\n{old}", "a".repeat(64)).into())).await.unwrap();
        assert_eq!(moved.key, given("a").look().unwrap()[0]);

        let error = to(given("a")).await.unwrap_err();
        assert!(matches!(error, RotateError::NotOurs(_)), "{error:?}");
        let error = to(given("b")).await.unwrap_err().to_string();
        let (a, b) = (given("a").look().unwrap()[0], given("b").look().unwrap()[0]);
        assert!(error.contains(&a.to_string()) && error.contains(&b.to_string()), "{error}");
        for _ in 0..2 {
            let rotated = to(given("ba")).await.unwrap();
            assert_eq!((rotated.key, rotated.retired), (b, vec![a]));
            assert!(rotated.left.unwrap().contains("ENCRYPTION_MASTER_KEY"));
            assert_eq!(keys(&place.store).await.unwrap().sealed(), [b]);
        }
        place.all_open(&vault::open(&place.store, &given("b")).await.unwrap()).await;
        vault::open(&place.store, &given("a")).await.unwrap_err();
        place.store.close().await;
    })
    .await;
}

#[tokio::test]
async fn what_does_not_open_is_named_and_no_key_is_retired() {
    db::each_url(async |url| {
        let place = Place::new(url, 2).await;
        let vault = place.server().await;
        let row = place.store.sealed_after("", 1).await.unwrap().pop().unwrap();
        let mut changed = row.encrypted_data.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(place.store.reseal(&row, changed).await.unwrap());
        let before = fs::read(place.file()).unwrap();
        let error = place.rotate().await.unwrap_err().to_string();
        assert!(error.starts_with("a credential cannot be opened: ") && error.contains(&row.id), "{error}");
        assert_eq!(fs::read(place.file()).unwrap(), before);
        // Its owner connects again.
        place.put(&vault, &row.user_id, &row.provider, "first").await;
        let rotated = place.rotate().await.unwrap();
        place.under(rotated.key, &[]).await;
        place.store.close().await;
    })
    .await;
}

#[tokio::test]
async fn one_rotation_at_a_time_and_a_link_stays_a_link() {
    let fresh = db::sqlite();
    let place = Place::new(&fresh.url, 1).await;
    let held = Rotating::begin(&place.file()).unwrap();
    let error = place.rotate().await.unwrap_err().to_string();
    assert!(error.contains("being changed by another"), "{error}");
    drop(held);

    let link = tempfile::tempdir().unwrap();
    let path = link.path().join("key");
    std::os::unix::fs::symlink(place.file(), &path).unwrap();
    let rotated = rotate(&place.store, &place.watch, &KeySource::File(path.clone()), |_| ()).await.unwrap();
    assert!(path.is_symlink());
    place.under(rotated.key, &[]).await;

    // Whoever rotates may be another than the server, such as root.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(place.file(), Some(12345), Some(12345)).unwrap();
        fs::set_permissions(place.file(), fs::Permissions::from_mode(0o400)).unwrap();
        place.rotate().await.unwrap();
        let about = fs::metadata(place.file()).unwrap();
        use std::os::unix::fs::MetadataExt;
        assert_eq!((about.uid(), about.gid(), about.mode() & 0o7777), (12345, 12345, 0o400));
    }
    place.store.close().await;
}
