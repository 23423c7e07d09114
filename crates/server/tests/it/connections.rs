//! Connections: sealed, versioned, and their owner's only.

use crate::support::db;
use polydev_server::{
    domain::{
        connections::{self, ConnectionError, SecretVersion, Status},
        failure::{Code, Failure},
        people::{self, Role, User},
        vault::{self, KeyError},
    },
    providers::{Credential, Method},
    store::Store,
    vault::{KeySource, Vault, VaultError},
};
use secrecy::ExposeSecret;

fn source(digit: char) -> KeySource {
    KeySource::Variable(digit.to_string().repeat(64).into())
}

async fn open_vault(store: &Store) -> Vault {
    vault::open(store, &source('a')).await.expect("the vault opens")
}

async fn user(store: &Store, email: &str) -> User {
    people::create_user(store, email, Role::Member).await.expect("a user can be made").0
}

async fn put(store: &Store, vault: &Vault, user: &User, key: &str) -> connections::Connection {
    let key = Credential::ApiKey(key.into());
    let put = connections::put(store, vault, (&user.id, "claude"), Method::ApiKey, &key, None).await;
    put.expect("a key can be stored")
}

async fn api_key(store: &Store, vault: &Vault, user: &User) -> (String, i64) {
    let opened = connections::open(store, vault, &user.id, "claude").await.expect("it is connected");
    let Credential::ApiKey(key) = &opened.credential else { panic!("it is of another kind") };
    (key.expose_secret().to_owned(), opened.connection.version)
}

#[tokio::test]
async fn a_key_goes_in_and_comes_back() {
    db::each_database(async |store| {
        let vault = open_vault(&store).await;
        let ann = user(&store, "ann@example.com").await;
        let key = "sk-ant-canary \"quoted\" \\ ü";
        let made = put(&store, &vault, &ann, key).await;
        assert_eq!((made.status, made.method, made.version), (Status::Active, Method::ApiKey, 1));
        assert_eq!((&made.error, &made.expires_at, &made.account), (&None, &None, &None));
        assert_eq!(api_key(&store, &vault, &ann).await, (key.to_owned(), 1));
        assert_eq!(connections::get(&store, &ann.id, "claude").await.unwrap(), Some(made.clone()));
        assert_eq!(connections::list(&store, &ann.id).await.unwrap(), [made]);
        let raw: Vec<u8> = sqlx::query_scalar("SELECT encrypted_data FROM encrypted_credentials")
            .fetch_one(store.read())
            .await
            .unwrap();
        assert!(!raw.windows(6).any(|window| window == b"canary"));
        let opened = connections::open(&store, &vault, &ann.id, "claude").await.unwrap();
        assert!(!format!("{opened:?}").contains("canary"));
    })
    .await;
}

#[tokio::test]
async fn another_key_is_another_version_of_the_same_connection() {
    db::each_database(async |store| {
        let vault = open_vault(&store).await;
        let ann = user(&store, "ann@example.com").await;
        let first = put(&store, &vault, &ann, "one").await;
        let second = put(&store, &vault, &ann, "two").await;
        assert_eq!((second.id, second.version), (first.id, 2));
        assert_eq!(api_key(&store, &vault, &ann).await, ("two".to_owned(), 2));
    })
    .await;
}

#[tokio::test]
async fn keys_that_are_stored_at_once_all_count() {
    db::each_database(async |store| {
        let vault = open_vault(&store).await;
        let ann = user(&store, "ann@example.com").await;
        let keys: Vec<String> = (0..8).map(|n| format!("key {n}")).collect();
        let made = futures_util::future::join_all(keys.iter().map(|key| put(&store, &vault, &ann, key))).await;
        let mut versions: Vec<_> = made.iter().map(|made| made.version).collect();
        versions.sort();
        assert_eq!(versions, [1, 2, 3, 4, 5, 6, 7, 8]);
        let last = made.iter().position(|made| made.version == 8).unwrap();
        assert_eq!(api_key(&store, &vault, &ann).await, (keys[last].clone(), 8));
    })
    .await;
}

#[tokio::test]
async fn nobody_else_has_it() {
    db::each_database(async |store| {
        let vault = open_vault(&store).await;
        let (ann, bob) = (user(&store, "ann@example.com").await, user(&store, "bob@example.com").await);
        put(&store, &vault, &ann, "ann's").await;
        assert_eq!(connections::get(&store, &bob.id, "claude").await.unwrap(), None);
        assert!(connections::list(&store, &bob.id).await.unwrap().is_empty());
        let error = connections::open(&store, &vault, &bob.id, "claude").await.unwrap_err();
        assert_eq!(error.to_string(), "`claude` is not connected");
        assert!(!connections::delete(&store, &bob.id, "claude").await.unwrap());

        // Whoever can write to the database, but has not the key, cannot hand it on.
        put(&store, &vault, &bob, "bob's").await;
        sqlx::query(
            "UPDATE encrypted_credentials SET encrypted_data =
                 (SELECT encrypted_data FROM encrypted_credentials WHERE user_id = $1) WHERE user_id = $2",
        )
        .bind(&ann.id)
        .bind(&bob.id)
        .execute(store.write())
        .await
        .unwrap();
        let error = connections::open(&store, &vault, &bob.id, "claude").await.unwrap_err();
        assert!(matches!(error, ConnectionError::Vault(VaultError::Corrupt(_))), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_refusal_of_an_older_version_says_nothing_of_the_newer() {
    db::each_database(async |store| {
        let vault = open_vault(&store).await;
        let ann = user(&store, "ann@example.com").await;
        let now = async || connections::get(&store, &ann.id, "claude").await.unwrap().unwrap().secret_version();
        let why = Failure::new(Code::NeedsReconnect, "the key was withdrawn").hint("make a new one");
        let mark =
            async |secret: &SecretVersion| connections::mark_needs_reconnect(&store, secret, &why).await.unwrap();
        put(&store, &vault, &ann, "one").await;
        let one = now().await;
        put(&store, &vault, &ann, "two").await;
        let two = now().await;
        assert!(!mark(&one).await);
        // Who disconnects and connects again begins again at the first version: a run from before says nothing of it.
        assert!(connections::delete(&store, &ann.id, "claude").await.unwrap());
        put(&store, &vault, &ann, "three").await;
        put(&store, &vault, &ann, "four").await;
        let four = now().await;
        assert_eq!(four.version, two.version);
        assert!(!mark(&two).await);
        api_key(&store, &vault, &ann).await;

        assert!(mark(&four).await);
        assert!(!mark(&four).await, "the second of two runs changes nothing");
        let connection = connections::get(&store, &ann.id, "claude").await.unwrap().unwrap();
        assert_eq!((connection.status, connection.error), (Status::NeedsReconnect, Some(why.clone())));
        let error = connections::open(&store, &vault, &ann.id, "claude").await.unwrap_err();
        let ConnectionError::NeedsReconnect { error: Some(said), .. } = &error else { panic!("{error:?}") };
        assert_eq!(**said, why);

        let again = put(&store, &vault, &ann, "three").await;
        assert_eq!((again.status, again.error, again.version), (Status::Active, None, 3));
        assert_eq!(api_key(&store, &vault, &ann).await, ("three".to_owned(), 3));
    })
    .await;
}

#[tokio::test]
async fn what_is_deleted_is_gone() {
    db::each_database(async |store| {
        let vault = open_vault(&store).await;
        let ann = user(&store, "ann@example.com").await;
        put(&store, &vault, &ann, "one").await;
        assert!(connections::delete(&store, &ann.id, "claude").await.unwrap());
        assert!(!connections::delete(&store, &ann.id, "claude").await.unwrap());
        let error = connections::open(&store, &vault, &ann.id, "claude").await.unwrap_err();
        assert!(matches!(error, ConnectionError::NotConnected(_)), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn the_vault_opens_with_the_key_of_its_secrets_only() {
    db::each_database(async |store| {
        let dir = tempfile::tempdir().unwrap();
        let file = KeySource::File(dir.path().join("master.key"));
        let vault = vault::open(&store, &file).await.unwrap();
        let ann = user(&store, "ann@example.com").await;
        put(&store, &vault, &ann, "one").await;
        vault::open(&store, &file).await.unwrap();

        let error = vault::open(&store, &source('b')).await.unwrap_err();
        assert!(matches!(error, KeyError::Vault(VaultError::WrongKey { .. })), "{error:?}");
        std::fs::remove_file(dir.path().join("master.key")).unwrap();
        let error = vault::open(&store, &file).await.unwrap_err();
        assert!(matches!(error, KeyError::Vault(VaultError::Lost { .. })), "{error:?}");
    })
    .await;
}
