//! What happens while something else does: a password that is changed twice, a database that cannot be written.

use crate::support::db;
use polydev_server::{
    domain::{
        people::{self, NewKey, PeopleError, Place, Principal, Role, Room, User},
        time,
    },
    store::{Store, sqlite_file},
};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, SqliteConnection};

fn place() -> Place {
    Place { agent: None, address: "192.0.2.1".into() }
}

async fn ann(store: &Store) -> (User, SecretString) {
    people::create_user(store, "ann@example.com", Role::Admin).await.expect("a user can be made")
}

/// Waits until a connection to PostgreSQL waits for another's lock.
async fn until_somebody_waits(store: &Store) {
    let waiting =
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(store.read()).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
}

/// Somebody who is signed in.
struct Ann {
    user: User,
    password: SecretString,
    who: Principal,
}

/// Does `work` while an operator is about to do `deed` to its person, which is done before `work` ends.
async fn overtaken<T, F: Future<Output = Result<T, PeopleError>>>(
    deed: &'static str,
    work: impl FnOnce(Store, Ann) -> F,
) -> (Store, Result<T, PeopleError>) {
    let fresh = db::postgres().await;
    let store = Store::open(&fresh.url).await.unwrap();
    let (user, password) = ann(&store).await;
    let (session, _) = people::begin_session(&store, &user, None, place()).await.unwrap();
    let who = session.principal(&user);
    let mut operator = store.begin().await.unwrap();
    sqlx::query(deed).execute(&mut *operator).await.unwrap();
    let mut work = Box::pin(work(store.clone(), Ann { user, password, who }));
    tokio::select! {
        () = until_somebody_waits(&store) => {}
        done = &mut work => return (store, done),
    }
    operator.commit().await.unwrap();
    let done = work.await;
    (store, done)
}

const RESET: &str = "UPDATE users SET password_hash = 'the operator''s'";
const SWITCH_OFF: &str = "UPDATE users SET disabled_at = 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_session_does_not_outlive_what_ends_them_while_it_is_begun() {
    for deed in [RESET, SWITCH_OFF] {
        let sign_in = async |store: Store, ann: Ann| {
            people::sign_in(&store, Room::take()?, "ann@example.com", ann.password, place()).await.map(drop)
        };
        let (store, begun) = overtaken(deed, sign_in).await;
        assert!(matches!(begun, Err(PeopleError::SignIn)), "{deed}: {begun:?}");
        let sessions: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM tokens").fetch_one(store.read()).await.unwrap();
        assert_eq!(sessions, 1, "the one that was there: {deed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_a_key_while_they_are_switched_off() {
    let make = async |store: Store, ann: Ann| people::create_key(&store, &ann.user, NewKey::default()).await.map(drop);
    let (_, made) = overtaken(SWITCH_OFF, make).await;
    assert!(matches!(made, Err(PeopleError::Disabled(_))), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_under_way_does_not_undo_an_operators_reset() {
    let change = async |store: Store, ann: Ann| {
        people::change_password(&store, &ann.who, ann.password, "a thief's choice".into()).await
    };
    let (store, changed) = overtaken(RESET, change).await;
    assert!(matches!(changed, Err(PeopleError::WrongPassword)), "{changed:?}");
    let hash: String = sqlx::query_scalar("SELECT password_hash FROM users").fetch_one(store.read()).await.unwrap();
    assert_eq!(hash, "the operator's");
}

#[tokio::test]
async fn who_was_signed_out_changes_no_password() {
    db::each_database(async |store| {
        let (ann, password) = ann(&store).await;
        let (session, _) = people::begin_session(&store, &ann, None, place()).await.unwrap();
        people::end_session(&store, &session.id).await.unwrap();
        let new = "another password".into();
        let changed = people::change_password(&store, &session.principal(&ann), password.clone(), new).await;
        assert!(matches!(changed, Err(PeopleError::Over)), "{changed:?}");
        assert!(
            people::check_password(&store, "ann@example.com", password).await.unwrap().is_some(),
            "it is the old one"
        );
    })
    .await;
}

#[tokio::test]
async fn who_has_a_key_or_session_is_let_in_where_nothing_can_be_written() {
    let fresh = db::sqlite();
    let store = Store::open(&fresh.url).await.unwrap();
    let (ann, _) = ann(&store).await;
    let (_, key) = people::create_key(&store, &ann, NewKey::default()).await.unwrap();
    let (_, session) = people::begin_session(&store, &ann, None, place()).await.unwrap();
    let let_in = async || {
        let now = time::now_ms();
        let by_key = people::authenticate_bearer(&store, key.expose_secret(), now).await.unwrap();
        let by_session = people::authenticate_session(&store, session.expose_secret(), "192.0.2.1", now).await.unwrap();
        (by_key.is_some(), by_session.is_some())
    };
    // Full.
    let full = "CREATE TRIGGER full BEFORE UPDATE ON tokens BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END";
    sqlx::query(full).execute(store.write()).await.unwrap();
    assert_eq!(let_in().await, (true, true));
    sqlx::query("DROP TRIGGER full").execute(store.write()).await.unwrap();
    // Another program writes, and does not end.
    let file = sqlite_file(&fresh.url).unwrap();
    let mut other = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    assert_eq!(let_in().await, (true, true));
    other.close().await.unwrap();
    assert_eq!(let_in().await, (true, true));
}
