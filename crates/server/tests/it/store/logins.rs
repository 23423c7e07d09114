//! Logins as rows: one open for a person and a provider, one last event, a deadline that lasts.

use super::insert_user;
use crate::support::db;
use polydev_server::{
    domain::{
        connections::{self, View},
        failure::{Code, Failure},
        login::{Change, Denied, EventBody, Login, StageName, Status},
    },
    providers::Method,
    store::{
        Store, StoreError,
        credentials::{self, Captured, CredentialRow, Described},
        logins::{Changed, OpenLogin, Opened},
        people,
        runs::After,
    },
};

const MOST: i64 = 8;
const TTL: i64 = 600_000;

fn new(id: &str, user: &str, provider: &str, at: i64) -> (Login, EventBody) {
    Login::new(id.into(), user, provider, "claude auth login", TTL, at)
}

async fn open(store: &Store, id: &str, user: &str, at: i64) -> Opened {
    store.open_login(&new(id, user, "claude", at), MOST, |_| true).await.unwrap()
}

async fn change(store: &Store, id: &str, change: Change, at: i64) -> Login {
    match store.change_login(id, &change, at).await.unwrap() {
        Changed::Done(login) => *login,
        other @ (Changed::Denied(_) | Changed::None) => panic!("{other:?}"),
    }
}

fn take(sandbox: &str) -> Change {
    Change::Take { sandbox: sandbox.into() }
}

#[tokio::test]
async fn a_person_signs_in_at_a_provider_once_at_a_time() {
    db::each_database(async |store| {
        insert_user(&store, "usr_1").await;
        insert_user(&store, "usr_2").await;
        let ids: Vec<String> = (0..8).map(|n| format!("lgn_{n}")).collect();
        let asked = ids.iter().map(|id| open(&store, id, "usr_1", 1000));
        let opened = futures_util::future::join_all(asked).await;
        let new: Vec<&Opened> = opened.iter().filter(|opened| matches!(opened, Opened::New(_))).collect();
        let [Opened::New(first)] = new[..] else { panic!("{opened:?}") };
        for other in opened.iter().filter(|opened| !matches!(opened, Opened::New(_))) {
            assert_eq!(other, &Opened::Before(first.clone()));
        }
        assert!(matches!(open(&store, "lgn_b", "usr_2", 1000).await, Opened::New(_)), "another person");
        let codex = store.open_login(&new_codex("lgn_c"), MOST, |_| true).await.unwrap();
        assert!(matches!(codex, Opened::New(_)), "another provider");
        // The database itself refuses a second.
        let second = "INSERT INTO auth_sessions (session_id, user_id, provider, status, stages, started_at, expires_at) \
                      VALUES ('lgn_d', 'usr_1', 'claude', 'requested', '[]', 1, 1)";
        assert!(sqlx::query(second).execute(store.write()).await.is_err());
        change(&store, &first.id, Change::Cancel, 2000).await;
        assert!(matches!(open(&store, "lgn_e", "usr_1", 3000).await, Opened::New(_)), "the first is over");
    })
    .await;
}

fn new_codex(id: &str) -> (Login, EventBody) {
    new(id, "usr_1", "codex", 1000)
}

#[tokio::test]
async fn no_more_are_open_than_may_be() {
    db::each_database(async |store| {
        for user in ["usr_1", "usr_2", "usr_3"] {
            insert_user(&store, user).await;
        }
        let ask = async |id, user| store.open_login(&new(id, user, "claude", 1000), 2, |_| true).await.unwrap();
        assert!(matches!(ask("lgn_1", "usr_1").await, Opened::New(_)));
        assert!(matches!(ask("lgn_2", "usr_2").await, Opened::New(_)));
        assert_eq!(ask("lgn_3", "usr_3").await, Opened::Full);
        assert!(matches!(ask("lgn_4", "usr_2").await, Opened::Before(_)), "one's own is found all the same");
        change(&store, "lgn_1", Change::Fail(Failure::new(Code::Internal, "why")), 2000).await;
        assert!(matches!(ask("lgn_3", "usr_3").await, Opened::New(_)));
    })
    .await;
}

#[tokio::test]
async fn no_more_are_open_than_may_be_of_all_who_ask_at_once() {
    db::each_database(async |store| {
        let users: Vec<String> = (0..8).map(|n| format!("usr_{n}")).collect();
        for user in &users {
            insert_user(&store, user).await;
        }
        let asked = users.iter().enumerate().map(|(n, user)| {
            let store = &store;
            async move {
                let login = new(&format!("lgn_{n}"), user, "claude", 1000);
                // There is room for three that are being made.
                store.open_login(&login, 6, |under_way| under_way < 3).await.unwrap()
            }
        });
        let opened = futures_util::future::join_all(asked).await;
        let count = |is: fn(&Opened) -> bool| opened.iter().filter(|opened| is(opened)).count();
        assert_eq!(count(|opened| matches!(opened, Opened::New(_))), 3, "{opened:?}");
        assert_eq!(count(|opened| matches!(opened, Opened::NoRoom)), 5, "{opened:?}");
        for login in store.open_logins().await.unwrap() {
            change(&store, &login.id, take("sbx_1"), 1100).await;
            change(&store, &login.id, Change::Ready { at: 1200 }, 1200).await;
        }
        let asked =
            users.iter().map(|user| {
                let store = &store;
                async move {
                    store.open_login(&new(&format!("lgn_{user}"), user, "codex", 2000), 6, |_| true).await.unwrap()
                }
            });
        let opened = futures_util::future::join_all(asked).await;
        let new = opened.iter().filter(|opened| matches!(opened, Opened::New(_))).count();
        assert_eq!((new, store.open_logins().await.unwrap().len()), (3, 6), "{opened:?}");
    })
    .await;
}

/// Keeps a login of this account, where its person has agreed to replace this one.
async fn capture(store: &Store, login: &str, account: &str, agreed: Option<&str>) -> Captured {
    let described =
        Described { method: "login", account: Some(account), account_id: Some(account), ..Described::default() };
    let seal = |_: Option<&str>, _: &str| Ok::<_, StoreError>(account.as_bytes().to_vec());
    let proven = |row: CredentialRow| {
        Ok(Change::Proven(View {
            provider: row.provider,
            status: connections::Status::Active,
            method: Method::Login,
            account: row.account,
            plan: None,
            connected_at: String::new(),
            expires_at: None,
            error: None,
        }))
    };
    let of = (login, "usr_1", "claude");
    credentials::capture(store, of, &described, agreed, 2000, seal, proven).await.unwrap()
}

/// A login of the first person that is looked at.
async fn verifying(store: &Store, id: &str) {
    open(store, id, "usr_1", 1000).await;
    change(store, id, take("sbx_1"), 1100).await;
    change(store, id, Change::Ready { at: 1200 }, 1200).await;
    change(store, id, Change::Found, 1300).await;
}

async fn kept(store: &Store) -> Option<(String, i64)> {
    let row = credentials::get(store, "usr_1", "claude").await.unwrap();
    row.map(|row| (String::from_utf8(row.encrypted_data).unwrap(), row.version))
}

#[tokio::test]
async fn what_is_kept_is_kept_once_and_said_as_often_as_it_is_asked() {
    db::each_database(async |store| {
        insert_user(&store, "usr_1").await;
        verifying(&store, "lgn_1").await;
        // Whoever did not hear of the first does it again.
        for _ in 0..2 {
            let Captured::Kept(login) = capture(&store, "lgn_1", "ada", None).await else { panic!("it is kept") };
            assert_eq!((login.status, kept(&store).await), (Status::Connected, Some(("ada".into(), 1))));
        }
        // Another's is not replaced, but where its person has agreed, to the one that is there.
        verifying(&store, "lgn_2").await;
        for agreed in [None, Some("bob")] {
            let captured = capture(&store, "lgn_2", "eve", agreed).await;
            assert!(matches!(&captured, Captured::Other(row) if row.account.as_deref() == Some("ada")), "{captured:?}");
        }
        assert_eq!(kept(&store).await, Some(("ada".into(), 1)));
        assert!(matches!(capture(&store, "lgn_2", "eve", Some("ada")).await, Captured::Kept(_)));
        assert_eq!(kept(&store).await, Some(("eve".into(), 2)));
    })
    .await;
}

#[tokio::test]
async fn nothing_is_kept_of_who_has_cancelled_or_is_switched_off() {
    db::each_database(async |store| {
        insert_user(&store, "usr_1").await;
        verifying(&store, "lgn_1").await;
        assert!(store.cancel_login("lgn_1", 1400).await.unwrap());
        let cancelled = capture(&store, "lgn_1", "ada", None).await;
        assert!(matches!(cancelled, Captured::Denied(Changed::Denied(Denied::Cancelled))), "{cancelled:?}");
        change(&store, "lgn_1", Change::Cancel, 1500).await;
        verifying(&store, "lgn_2").await;
        people::disable_user(&store, "usr_1", 1600).await.unwrap();
        let off = capture(&store, "lgn_2", "ada", None).await;
        assert!(matches!(off, Captured::Denied(Changed::Denied(Denied::Cancelled))), "{off:?}");
        assert_eq!(kept(&store).await, None);
    })
    .await;
}

#[tokio::test]
async fn a_power_cut_takes_no_credential() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&polydev_server::store::sqlite_url(&dir.path().join("db"))).await.unwrap();
    insert_user(&store, "usr_1").await;
    // Whether the last transaction was synced with its commit: 2 is FULL, 1 is NORMAL.
    let synced = async || sqlx::query_scalar::<_, i64>("PRAGMA synchronous").fetch_one(store.write()).await.unwrap();
    verifying(&store, "lgn_1").await;
    assert_eq!(synced().await, 1);
    assert!(matches!(capture(&store, "lgn_1", "ada", None).await, Captured::Kept(_)));
    assert_eq!(synced().await, 2);
    verifying(&store, "lgn_2").await;
    assert_eq!(synced().await, 1);
}

#[tokio::test]
async fn what_happens_is_told_and_ends_once() {
    db::each_database(async |store| {
        insert_user(&store, "usr_1").await;
        open(&store, "lgn_1", "usr_1", 1000).await;
        change(&store, "lgn_1", take("sbx_1"), 1100).await;
        assert_eq!(
            store.change_login("lgn_1", &take("sbx_2"), 1100).await.unwrap(),
            Changed::Denied(Denied::State(Status::Preparing))
        );
        let login = change(&store, "lgn_1", Change::Ready { at: 1200 }, 1200).await;
        assert_eq!(store.login("lgn_1").await.unwrap(), Some(login.clone()), "it comes back as it went");
        assert_eq!((login.sandbox_id.as_deref(), login.expires_at), (Some("sbx_1"), 1000 + TTL));
        let extended = change(&store, "lgn_1", Change::Extend, 1300).await;
        assert_eq!(extended.expires_at, 1000 + TTL + 300_000);
        // Everybody wants to end it, in another way.
        let ends = [Change::Cancel, Change::Fail(Failure::new(Code::Internal, "why")), Change::Cancel];
        let ended = futures_util::future::join_all(ends.iter().map(|end| store.change_login("lgn_1", end, 2000))).await;
        let done = ended.iter().filter(|ended| matches!(ended, Ok(Changed::Done(_)))).count();
        assert_eq!(done, 1, "{ended:?}");
        let events = store.login_events_after("lgn_1", 0).await.unwrap();
        assert_eq!(
            events.iter().map(|event| event.seq).collect::<Vec<_>>(),
            (1..=events.len() as i64).collect::<Vec<_>>()
        );
        let last: Vec<bool> = events.iter().map(|event| event.body.is_last()).collect();
        assert_eq!(last.iter().position(|last| *last), Some(last.len() - 1), "{events:?}");
        let over = store.login("lgn_1").await.unwrap().unwrap();
        assert!(over.status.is_over() && over.completed_at == Some(2000) && over.last_seq == events.len() as i64);
        assert!(!store.has_login_events_after("lgn_1", over.last_seq).await.unwrap());
        assert!(!store.is_login_open("lgn_1").await.unwrap());
        assert!(!store.cancel_login("lgn_1", 3000).await.unwrap());
        assert_eq!(store.change_login("lgn_2", &Change::Cancel, 1).await.unwrap(), Changed::None);
    })
    .await;
}

#[tokio::test]
async fn what_is_open_is_found_after_a_crash() {
    db::each_database(async |store| {
        insert_user(&store, "usr_1").await;
        insert_user(&store, "usr_2").await;
        open(&store, "lgn_1", "usr_1", 1000).await;
        open(&store, "lgn_2", "usr_2", 1001).await;
        change(&store, "lgn_1", take("sbx_1"), 1100).await;
        assert!(store.cancel_login("lgn_1", 1200).await.unwrap());
        let row = |id: &str, status, cancelled, sandbox: Option<&str>, at| OpenLogin {
            id: id.into(),
            status,
            cancelled,
            sandbox_id: sandbox.map(str::to_owned),
            expires_at: at + TTL,
        };
        let first = row("lgn_1", Status::Preparing, true, Some("sbx_1"), 1000);
        assert_eq!(
            store.open_logins().await.unwrap(),
            [first.clone(), row("lgn_2", Status::Requested, false, None, 1001)]
        );
        sqlx::query("UPDATE users SET disabled_at = 5 WHERE id = 'usr_2'").execute(store.write()).await.unwrap();
        change(&store, "lgn_1", Change::Cancel, 1300).await;
        assert_eq!(store.open_logins().await.unwrap(), [row("lgn_2", Status::Requested, true, None, 1001)]);
    })
    .await;
}

#[tokio::test]
async fn lists_go_on_and_old_ones_are_forgotten() {
    db::each_database(async |store| {
        insert_user(&store, "usr_1").await;
        insert_user(&store, "usr_2").await;
        for n in 0..5 {
            let (id, user) = (format!("lgn_{n}"), if n == 2 { "usr_2" } else { "usr_1" });
            open(&store, &id, user, 1000 + n).await;
            if n < 4 {
                change(&store, &id, Change::Cancel, 2000 + n).await;
            }
        }
        let ids = |logins: Vec<Login>| logins.into_iter().map(|login| login.id).collect::<Vec<_>>();
        let page = store.logins_of("usr_1", None, 2).await.unwrap();
        let after = After { created_at: page[1].started_at, id: page[1].id.clone() };
        assert_eq!(ids(page), ["lgn_4", "lgn_3"]);
        assert_eq!(ids(store.logins_of("usr_1", Some(&after), 9).await.unwrap()), ["lgn_1", "lgn_0"]);
        assert_eq!(store.logins_seen(None, None, 9).await.unwrap().len(), 5);
        assert_eq!(store.forget_logins(2002).await.unwrap(), 2);
        assert_eq!(ids(store.logins_seen(None, None, 9).await.unwrap()), ["lgn_4", "lgn_3", "lgn_2"]);
        let left: i64 = sqlx::query_scalar("SELECT COUNT(DISTINCT login_id) FROM login_events")
            .fetch_one(store.read())
            .await
            .unwrap();
        assert_eq!(left, 3);
    })
    .await;
}

#[tokio::test]
async fn what_was_told_before_is_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&polydev_server::store::sqlite_url(&dir.path().join("db"))).await.unwrap();
    insert_user(&store, "usr_1").await;
    open(&store, "lgn_1", "usr_1", 1000).await;
    change(&store, "lgn_1", take("sbx_1"), 1400).await;
    let reached = || Change::Reach { stage: StageName::Desktop, waiting_for: Some("the window".into()), at: 1500 };
    let first = change(&store, "lgn_1", reached(), 1500).await;
    // A connection writes when it is new: all are there.
    let every = store.read().options().get_max_connections();
    drop(futures_util::future::join_all((0..every).map(|_| store.read().acquire())).await);
    // Somebody else writes, and goes on with that until this is over.
    let mut writer = store.write().begin().await.unwrap();
    sqlx::query("UPDATE users SET email = email").execute(&mut *writer).await.unwrap();
    for at in 2000..2010 {
        assert_eq!(change(&store, "lgn_1", reached(), at).await, first);
    }
    writer.rollback().await.unwrap();
}
