//! A desktop whose agent does what a test says, and a provider that is the stand-in.

mod agent;

use super::*;
use crate::{
    app,
    config::{Config, Env, Flags},
    control::Runs,
    domain::{
        id,
        login::{Event, EventBody},
    },
    providers,
    store::people,
};
use agent::Agent;
use polydev_sandbox::testing;
use polydev_standin::{Options, Provider as At, Standin};
use std::collections::BTreeMap;
use tokio::task::JoinHandle;

/// Somebody at a desktop, to sign in at claude.
struct Room {
    standin: Standin,
    runs: Runs,
    agent: Arc<Agent>,
    login: Login,
    user: String,
    watch: JoinHandle<Failure>,
    _dir: tempfile::TempDir,
}

impl Room {
    async fn new() -> Self {
        let standin = Standin::start(Options::default()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("polydev.toml");
        let config = format!(
            "[server]\ndata_dir = {:?}\n[sandbox]\ndriver = \"sim\"\nca_file = {:?}\n[egress]\nupstream_proxy = {:?}\n",
            dir.path(),
            standin.ca_file(),
            standin.proxy_url()
        );
        std::fs::write(&file, config).unwrap();
        let flags = Flags { config: Some(file), ..Flags::default() };
        let config = Arc::new(Config::load(&flags, &Env::default()).unwrap());
        let parts = app::parts(&config).await.unwrap();
        let agent = Arc::new(Agent::default());
        let runs = parts.runs;
        let user = id::new("usr");
        let row = people::UserRow {
            id: user.clone(),
            email: "one@example.com".into(),
            role: "member".into(),
            password_hash: String::new(),
            created_at: 0,
            disabled_at: None,
        };
        people::insert_user(&runs.0.store, &row).await.unwrap();
        let provider = providers::by_name("claude").unwrap();
        let (login, _) = runs.logins().open(&user, provider).await.unwrap();
        for change in [Change::Take { sandbox: testing::sandbox().to_string() }, Change::Ready { at: time::now_ms() }] {
            runs.0.change_login(&login.id, &change).await.unwrap();
        }
        let login = runs.0.store.login(&login.id).await.unwrap().unwrap();
        let (inner, its, guest) = (runs.0.clone(), login.clone(), agent.guest());
        let watch = tokio::spawn(async move {
            let hello = guest.hello().await.unwrap();
            watch(&inner, &its, provider, &guest, &hello).await
        });
        Self { standin, runs, agent, login, user, watch, _dir: dir }
    }

    /// This person signs in.
    fn signs_in(&self, name: &str) {
        let mut files: BTreeMap<String, Vec<u8>> = self.standin.account(name).login_files(At::Claude);
        self.agent.write(files.remove(".credentials.json").unwrap());
    }

    /// All that was told since the desktop was ready, once it is at least so much.
    async fn told(&mut self, least: usize) -> Vec<EventBody> {
        let mut follower = self.runs.hub().subscribe(&self.login.id);
        loop {
            follower.look();
            let all = self.runs.0.store.login_events_after(&self.login.id, self.login.last_seq).await.unwrap();
            if all.len() >= least {
                return all.into_iter().map(|Event { body, .. }| body).collect();
            }
            tokio::select! {
                is_there = follower.woken() => assert!(is_there),
                failure = &mut self.watch => panic!("{failure:?}"),
            }
        }
    }

    /// The number of the newest event.
    async fn seq(&self) -> i64 {
        self.runs.0.store.login(&self.login.id).await.unwrap().unwrap().last_seq
    }

    /// The kinds of what was told, once it is at least so much.
    async fn kinds(&mut self, least: usize) -> Vec<&'static str> {
        self.told(least).await.iter().map(|body| &body.kind()["login.".len()..]).collect()
    }

    /// The database answers this to whatever writes to a table; or writes again.
    async fn writes_of(&self, table: &str, fail: bool) {
        let change = match fail {
            true => format!(
                "CREATE TRIGGER t1 BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, 'away'); END;
                 CREATE TRIGGER t2 BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'away'); END"
            ),
            false => "DROP TRIGGER t1; DROP TRIGGER t2".to_owned(),
        };
        sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(self.runs.0.store.write()).await.unwrap();
    }

    /// How many entries of the record say that what was found was not kept.
    async fn entries_of_failed(&self) -> i64 {
        self.count("AND outcome = 'failed'").await
    }

    /// How many say that somebody's login was to be kept.
    async fn entries(&self) -> i64 {
        self.count("").await
    }

    async fn count(&self, such: &str) -> i64 {
        let count = format!("SELECT COUNT(*) FROM audit WHERE action = 'connection.login' {such}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(self.runs.0.store.read()).await.unwrap()
    }

    /// Time passes, in such steps, until it is so.
    async fn passes_until(&self, step: Duration, is_so: impl AsyncFn(&Self) -> bool) {
        for _ in 0..100_000 {
            if is_so(self).await {
                return;
            }
            passes(step).await;
            self.runs.0.store.ping().await.unwrap();
        }
        panic!("it never comes to that");
    }

    async fn connected_as(&self) -> Option<String> {
        connections::get(&self.runs.0.store, &self.user, "claude").await.unwrap().and_then(|it| it.account)
    }
}

/// So much time passes, for whoever waits for a time.
async fn passes(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

fn last_failure(told: &[EventBody]) -> &Failure {
    match told.last() {
        Some(EventBody::NotProven { error }) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_database_that_is_away_costs_nobody_their_login() {
    let mut room = Room::new().await;
    room.writes_of("auth_sessions", true).await;
    room.signs_in("ada");
    room.agent.was_read(1).await;
    for _ in 0..5 {
        passes(OFTEN).await;
        room.runs.0.store.ping().await.unwrap();
    }
    room.writes_of("auth_sessions", false).await;
    passes(AGAIN).await;
    assert_eq!(room.kinds(2).await[..2], ["verifying", "checked"]);
    assert_eq!(room.kinds(3).await, ["verifying", "checked", "connected"]);
}

#[tokio::test]
async fn what_could_not_be_stored_is_stored_later() {
    let mut room = Room::new().await;
    room.writes_of("encrypted_credentials", true).await;
    room.signs_in("ada");
    assert_eq!(room.kinds(2).await, ["verifying", "checked"]);
    // The provider answers, and it is begun.
    room.passes_until(Duration::ZERO, async |room| room.entries().await > 0).await;
    // It is tried some times, given up, and found again.
    room.passes_until(OFTEN, async |room| room.entries_of_failed().await > 0).await;
    let verifying = room.runs.0.store.login(&room.login.id).await.unwrap().unwrap().status;
    assert_eq!(verifying, Status::Verifying);
    room.writes_of("encrypted_credentials", false).await;
    passes(KEPT_AGAIN).await;
    assert_eq!(room.kinds(4).await, ["verifying", "checked", "checked", "connected"]);
    assert_eq!(room.connected_as().await, Some(room.standin.account("ada").email()));
}

#[tokio::test]
async fn an_agent_that_does_not_answer_is_asked_again() {
    let mut room = Room::new().await;
    // Twice nobody is told of it.
    room.agent.hangs_up(2);
    room.signs_in("ada");
    room.agent.was_read(1).await;
    room.passes_until(OFTEN, async |room| room.agent.reads() == 3).await;
    assert_eq!(room.kinds(3).await, ["verifying", "checked", "connected"]);

    let mut room = Room::new().await;
    room.agent.hangs_up(3);
    room.signs_in("ada");
    room.agent.was_read(1).await;
    room.passes_until(OFTEN, async |room| room.agent.reads() == 3).await;
    let told = room.told(2).await;
    let failure = last_failure(&told);
    assert_eq!(failure.code, Code::Timeout, "{failure:?}");
    assert!(failure.message.contains("could not be read"), "{failure:?}");
    assert!(failure.hint.as_ref().unwrap().contains("looked at again every 30 s"), "{failure:?}");
    passes(AGAIN).await;
    assert_eq!(room.kinds(5).await[2..], ["verifying", "checked", "connected"]);
}

#[tokio::test]
async fn only_a_tool_that_says_no_has_said_no() {
    let mut room = Room::new().await;
    // Ended by a signal, as for want of memory.
    room.agent.exits([None, None, Some(1), Some(0)]);
    room.signs_in("ada");
    for unsaid in [3, 6] {
        let told = room.told(unsaid).await;
        let failure = last_failure(&told);
        assert_eq!((told.len(), failure.code), (unsaid, Code::Timeout), "{told:?}");
        assert!(failure.message.contains("`claude auth status` did not come to say"), "{failure:?}");
        passes(AGAIN).await;
    }
    let told = room.told(9).await;
    assert_eq!(last_failure(&told).code, Code::NotConnected, "{told:?}");
    // That is an answer: the same is not asked about again.
    passes(2 * AGAIN).await;
    room.signs_in("ada");
    assert_eq!(room.kinds(12).await[9..], ["verifying", "checked", "connected"]);
    assert_eq!(room.agent.jobs(), (4, 4), "started, and acknowledged");
}

#[tokio::test]
async fn who_agreed_is_not_asked_again_where_nobody_answers() {
    let mut room = Room::new().await;
    let ada = room.standin.account("ada");
    let bob = room.standin.account("bob");
    let claude = providers::by_name("claude").unwrap();
    let adas = Credential::Login(claude.sign_in().read(&ada.login_files(At::Claude)).unwrap());
    let account = Account { id: ada.id(At::Claude), email: Some(ada.email()), plan: None };
    let inner = &room.runs.0;
    let connect = connections::put(
        &inner.store,
        &inner.vault,
        (&room.user, "claude"),
        crate::providers::Method::Import,
        &adas,
        Some(&account),
    );
    connect.await.unwrap();
    room.signs_in("bob");
    assert_eq!(room.kinds(3).await, ["verifying", "checked", "other_account"]);
    bob.silence(At::Claude, true);
    let logins = room.runs.logins();
    logins.confirm(&room.login.id, bob.email()).await.unwrap();
    room.told(5).await;
    // However long it is waited for what says nothing.
    room.passes_until(OFTEN, async |room| room.seq().await > room.login.last_seq + 5).await;
    assert_eq!(room.kinds(6).await[3..], ["confirmed", "checked", "not_proven"]);
    logins.confirm(&room.login.id, bob.email()).await.unwrap();
    bob.silence(At::Claude, false);
    passes(AGAIN).await;
    assert_eq!(room.kinds(9).await[6..], ["verifying", "checked", "connected"]);
    assert_eq!(room.connected_as().await, Some(bob.email()));
}

#[tokio::test]
async fn however_often_something_else_is_found_a_login_is_one() {
    let mut room = Room::new().await;
    for n in 1..=LOOKS_MAX + 2 {
        room.agent.write(format!("{{\"n\": {n}}}").into_bytes());
        passes(if n > LOOKS_MAX { AGAIN } else { OFTEN }).await;
        assert_eq!(room.kinds(2 * n).await[2 * n - 2..], ["verifying", "not_proven"]);
    }
    room.signs_in("ada");
    passes(AGAIN).await;
    let from = 2 * (LOOKS_MAX + 2);
    assert_eq!(room.kinds(from + 3).await[from..], ["verifying", "checked", "connected"]);
}

#[tokio::test]
async fn who_cancels_and_asks_again_has_another() {
    let mut room = Room::new().await;
    let claude = providers::by_name("claude").unwrap();
    let logins = room.runs.logins();
    let first = &room.login.id;
    assert_eq!(logins.open(&room.user, claude).await.unwrap().0.id, *first);
    assert!(logins.cancel(first).await.unwrap());
    let (second, is_new) = logins.open(&room.user, claude).await.unwrap();
    assert!(is_new && second.id != *first);
    assert_eq!(room.kinds(1).await, ["cancelled"], "who follows the first is told of its end");
    assert_eq!(logins.open(&room.user, claude).await.unwrap(), (second, false));
}
