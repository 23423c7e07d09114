//! The database: opening, migrating, and what one SQL text means on both kinds.

mod audit;
mod egress;
mod idempotency;
mod leases;
mod logins;
mod outputs;
mod retention;
mod runs;
mod sandboxes;
mod usage;

use crate::support::db;
use polydev_server::store::{Store, StoreError, sqlite_file, sqlite_url};
use sqlx::Row;
use std::{os::unix::fs::PermissionsExt, path::Path};

#[tokio::test]
async fn opening_twice_migrates_once() {
    db::each_url(async |url| {
        let store = Store::open(url).await.unwrap();
        insert_user(&store, "usr_1").await;
        store.close().await;
        let store = Store::open(url).await.unwrap();
        let users: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM users").fetch_one(store.read()).await.unwrap();
        assert_eq!(users, 1);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn servers_that_start_at_once_migrate_once() {
    db::each_url(async |url| {
        let opened = futures_util::future::join_all((0..6).map(|_| Store::open(url))).await;
        for store in opened {
            store.unwrap().ping().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_newer_database_is_refused_and_both_versions_are_named() {
    db::each_url(async |url| {
        let store = Store::open(url).await.unwrap();
        let add = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                   SELECT 9001, description, success, checksum, execution_time FROM _sqlx_migrations WHERE version = 1";
        sqlx::query(add).execute(store.write()).await.unwrap();
        store.close().await;
        let error = Store::open(url).await.unwrap_err();
        let StoreError::Newer { found: 9001, known, .. } = error else { panic!("{error:?}") };
        let said = error.to_string();
        assert!(said.contains("version 9001") && said.contains(&format!("up to {known}")), "{said}");
        assert!(said.contains("restore the backup"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_is_not_committed_leaves_nothing() {
    db::each_database(async |store| {
        let mut transaction = store.begin().await.unwrap();
        sqlx::query("INSERT INTO users VALUES ('usr_1', 'a@example.com', 'member', '', 1, NULL)")
            .execute(&mut *transaction)
            .await
            .unwrap();
        drop(transaction);
        let users: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM users").fetch_one(store.write()).await.unwrap();
        assert_eq!(users, 0);
    })
    .await;
}

#[tokio::test]
async fn every_column_type_comes_back_as_it_went() {
    db::each_database(async |store| {
        insert_user(&store, "usr_1").await;
        let secret: Vec<u8> = (0..=255).collect();
        sqlx::query(
            "INSERT INTO encrypted_credentials
                 (id, user_id, provider, encrypted_data, version, status, method, account, created_at, connected_at,
                  updated_at, expires_at)
             VALUES ($1, $2, 'claude', $3, $4, 'active', 'api_key', $5, $4, $4, $4, $6)",
        )
        .bind("crd_1")
        .bind("usr_1")
        .bind(&secret)
        .bind(i64::MAX)
        .bind("späte Grüße 🌍")
        .bind(None::<i64>)
        .execute(store.write())
        .await
        .unwrap();
        let row = sqlx::query("SELECT * FROM encrypted_credentials WHERE user_id = $1")
            .bind("usr_1")
            .fetch_one(store.read())
            .await
            .unwrap();
        assert_eq!(row.get::<Vec<u8>, _>("encrypted_data"), secret);
        assert_eq!(row.get::<i64, _>("version"), i64::MAX);
        assert_eq!(row.get::<String, _>("account"), "späte Grüße 🌍");
        assert_eq!(row.get::<Option<String>, _>("error"), None);
        assert_eq!(row.get::<Option<i64>, _>("expires_at"), None);
    })
    .await;
}

#[tokio::test]
async fn rows_go_with_their_user() {
    db::each_database(async |store| {
        insert_user(&store, "usr_1").await;
        let orphan = "INSERT INTO tokens (id, user_id, kind, hash, hint, scopes, created_at)
                      VALUES ($1, $2, 'key', $3, '', '', 1)";
        let insert = |id, user| sqlx::query(orphan).bind(id).bind(user).bind(vec![1u8]).execute(store.write());
        insert("key_1", "usr_0").await.expect_err("a token of nobody");
        insert("key_1", "usr_1").await.unwrap();
        sqlx::query("DELETE FROM users").execute(store.write()).await.unwrap();
        let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM tokens").fetch_one(store.read()).await.unwrap();
        assert_eq!(left, 0);
    })
    .await;
}

#[tokio::test]
async fn the_sqlite_file_is_its_owners_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a b#c%41?ü.db");
    let url = sqlite_url(&path);
    assert_eq!(sqlite_file(&url), Some(path.clone()));
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = Store::open(&url).await.unwrap();
    insert_user(&store, "usr_1").await;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
    store.close().await;
}

#[tokio::test]
async fn readers_of_sqlite_cannot_write() {
    let fresh = db::sqlite();
    let store = Store::open(&fresh.url).await.unwrap();
    let error = sqlx::query("DELETE FROM users").execute(store.read()).await.unwrap_err();
    assert!(error.to_string().contains("readonly"), "{error}");
    store.close().await;
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_named_without_its_password() {
    let url = "postgres://polydev:canary-password@127.0.0.1:1/polydev?password=canary-option";
    let error = Store::open(url).await.unwrap_err();
    let said = format!("{error} {error:?}");
    assert!(said.contains("postgres://polydev@127.0.0.1:1/polydev"), "{said}");
    assert!(!said.contains("canary"), "{said}");
}

#[tokio::test]
async fn addresses_of_no_database_are_refused() {
    for url in ["", "nonsense", "mysql://localhost/polydev", "sqlite::memory:", "sqlite:relative.db"] {
        let error = Store::open(url).await.unwrap_err();
        assert!(matches!(error, StoreError::Address { .. }), "{url}: {error:?}");
    }
    let error = Store::open(&sqlite_url(Path::new("/nonexistent/polydev.db"))).await.unwrap_err();
    assert_eq!(error.to_string(), "the database file `/nonexistent/polydev.db` cannot be opened");
}

async fn insert_user(store: &Store, id: &str) {
    sqlx::query("INSERT INTO users (id, email, role, password_hash, created_at) VALUES ($1, $2, 'member', '', 1)")
        .bind(id)
        .bind(format!("{id}@example.com"))
        .execute(store.write())
        .await
        .expect("a user can be added");
}
