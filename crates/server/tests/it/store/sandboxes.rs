//! Sandboxes: listed as runs are, and what they leave.

use super::insert_user;
use crate::support::db;
use polydev_sandbox::machine::{Fault, State};
use polydev_server::{
    domain::{
        login::{Change, Login, Status},
        sandbox::{self, Flow, Host, Network, Verdict, Work},
    },
    store::{Store, runs::After},
};

async fn made(store: &Store, id: &str, user: &str, at: i64) {
    store.insert_sandbox(id, Some((user, Work::Run("run_1"))), "oci", "cli-1", at).await.unwrap();
}

#[tokio::test]
async fn a_sandbox_that_was_made_for_nobody_is_given_once() {
    db::each_database(async |store| {
        insert_user(&store, "usr_1").await;
        insert_user(&store, "usr_2").await;
        store.insert_sandbox("sbx_1", None, "oci", "cli-1", 1000).await.unwrap();
        store.set_sandbox("sbx_1", &State::Ready, 1001).await.unwrap();
        assert_eq!(store.sandboxes_of("usr_1", None, None, 10).await.unwrap(), []);
        for user in ["usr_1", "usr_2"] {
            store.give_sandbox("sbx_1", user, Work::Run("run_1")).await.unwrap();
        }
        let sandbox = store.sandbox("sbx_1").await.unwrap().unwrap();
        assert_eq!((sandbox.user_id.as_deref(), sandbox.run_id.as_deref()), (Some("usr_1"), Some("run_1")));
        assert_eq!(sandbox.state, sandbox::State::Ready);
    })
    .await;
}

#[tokio::test]
async fn a_sandbox_leaves_its_console_and_what_it_reached() {
    db::each_database(async |store| {
        insert_user(&store, "usr_1").await;
        assert_eq!(store.sandbox("sbx_1").await.unwrap(), None);
        made(&store, "sbx_1", "usr_1", 1000).await;
        let sandbox = store.sandbox("sbx_1").await.unwrap().unwrap();
        assert_eq!((sandbox.state, sandbox.ended_at), (sandbox::State::Creating, None));
        assert_eq!((sandbox.user_id.as_deref(), sandbox.run_id.as_deref()), (Some("usr_1"), Some("run_1")));
        assert_eq!((store.console("sbx_1").await.unwrap(), store.network("sbx_1").await.unwrap()), (None, None));

        let host = Host {
            host: "api.example.com".into(),
            connections: 2,
            denied: 1,
            failed: 0,
            reason: Some("not_tls".into()),
            bytes_up: 10,
            bytes_down: 1 << 40,
        };
        let flow = Flow {
            at: "2026-01-01T00:00:00.000Z".into(),
            host: "10.0.0.1".into(),
            port: 80,
            verdict: Verdict::Denied,
            reason: Some("it is private".into()),
            bytes_up: 0,
            bytes_down: 0,
        };
        let network = Network { hosts: vec![host], connections: vec![flow] };
        let console = b"nul \0, no UTF-8 \xff";
        store.keep_console("sbx_1", console, Some(&network)).await.unwrap();
        store.keep_console("sbx_1", b"later", None).await.unwrap();
        assert_eq!(store.console("sbx_1").await.unwrap().unwrap(), console, "the first that was kept stays");
        assert_eq!(store.network("sbx_1").await.unwrap(), Some(network.clone()));
        let later = network.clone().and_then(network);
        assert_eq!((later.hosts.len(), later.hosts[0].connections, later.connections.len()), (1, 4, 2));
        store.keep_network("sbx_1", &later).await.unwrap();
        assert_eq!(store.network("sbx_1").await.unwrap(), Some(later), "the last that was seen counts");

        let fault = Fault { stage: "creating", reason: "nul \0".into() };
        store.set_sandbox("sbx_1", &State::Failed(fault), 2000).await.unwrap();
        let sandbox = store.sandbox("sbx_1").await.unwrap().unwrap();
        assert_eq!((sandbox.state, sandbox.ended_at), (sandbox::State::Failed, Some(2000)));
        assert_eq!(sandbox.error.as_deref(), Some("creating: nul \u{fffd}"));

        // Of one that nobody knows nothing is kept, and that is no error.
        store.keep_console("sbx_2", b"words", None).await.unwrap();
        assert_eq!(store.console("sbx_2").await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn pages_are_ones_own_newest_first_and_whole() {
    db::each_database(async |store| {
        insert_user(&store, "usr_1").await;
        insert_user(&store, "usr_2").await;
        for n in 0..7 {
            made(&store, &format!("sbx_{n}"), "usr_1", 1000 + n / 2).await;
        }
        made(&store, "sbx_other", "usr_2", 1000).await;
        let mut seen = Vec::new();
        let mut after: Option<After> = None;
        loop {
            let page = store.sandboxes_of("usr_1", None, after.as_ref(), 3).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(After { created_at: last.created_at, id: last.id.clone() });
            seen.extend(page.into_iter().map(|sandbox| sandbox.id));
        }
        assert_eq!(seen, ["sbx_6", "sbx_5", "sbx_4", "sbx_3", "sbx_2", "sbx_1", "sbx_0"]);
    })
    .await;
}

#[tokio::test]
async fn those_of_one_login_are_found_among_all_others() {
    db::each_database(async |store| {
        for user in ["usr_1", "usr_2"] {
            insert_user(&store, user).await;
        }
        // One that a server of before had begun to make, and one that came of it.
        for (id, user, work, at) in [
            ("sbx_1", "usr_1", Work::Login("lgn_1"), 1000),
            ("sbx_2", "usr_1", Work::Login("lgn_1"), 1001),
            ("sbx_3", "usr_1", Work::Login("lgn_2"), 1002),
            ("sbx_4", "usr_1", Work::Run("lgn_1"), 1003),
            ("sbx_5", "usr_2", Work::Login("lgn_3"), 1004),
        ] {
            store.insert_sandbox(id, Some((user, work)), "oci", "desktop-1", at).await.unwrap();
        }
        let ids = |found: Vec<sandbox::Sandbox>| found.into_iter().map(|sandbox| sandbox.id).collect::<Vec<_>>();
        let own = async |login, after| ids(store.sandboxes_of("usr_1", Some(login), after, 9).await.unwrap());
        assert_eq!(own("lgn_1", None).await, ["sbx_2", "sbx_1"]);
        let after = After { created_at: 1001, id: "sbx_2".into() };
        assert_eq!(own("lgn_1", Some(&after)).await, ["sbx_1"]);
        for nothing in ["lgn_3", "lgn_none"] {
            assert_eq!(own(nothing, None).await, Vec::<String>::new(), "{nothing}");
        }
        let seen = async |whose, login| ids(store.sandboxes_seen(whose, login, None, 9).await.unwrap());
        assert_eq!(seen(None, Some("lgn_3")).await, ["sbx_5"]);
        assert_eq!(seen(Some("usr_1"), Some("lgn_3")).await, Vec::<String>::new());
        assert_eq!(seen(Some("usr_1"), Some("lgn_2")).await, ["sbx_3"]);
        assert_eq!(seen(None, None).await.len(), 5);
    })
    .await;
}

#[tokio::test]
async fn a_run_is_cancelled_by_the_sandbox_that_it_works_in_alone() {
    db::each_database(async |store| {
        insert_user(&store, "usr_1").await;
        let wish = polydev_server::domain::run::Wish { provider: "claude".into(), ..Default::default() };
        store.insert_run("run_1", "usr_1", &wish, 60, 100, 1000).await.unwrap();
        store.start_run("run_1", "sbx_2", 1010).await.unwrap();
        store.request_cancel_in("run_1", "sbx_1", 1020).await.unwrap();
        assert_eq!(store.run("run_1").await.unwrap().unwrap().cancel_requested_at, None, "an earlier attempt's");
        store.request_cancel_in("run_1", "sbx_2", 1030).await.unwrap();
        assert_eq!(store.run("run_1").await.unwrap().unwrap().cancel_requested_at, Some(1030));
    })
    .await;
}

#[tokio::test]
async fn those_that_stand_are_counted_of_one_and_of_all() {
    db::each_database(async |store| {
        insert_user(&store, "usr_1").await;
        insert_user(&store, "usr_2").await;
        for (id, user) in [("sbx_1", "usr_1"), ("sbx_2", "usr_1"), ("sbx_3", "usr_2")] {
            made(&store, id, user, 1000).await;
        }
        store.insert_sandbox("sbx_warm", None, "oci", "cli-1", 1000).await.unwrap();
        store.set_sandbox("sbx_2", &State::Gone, 2000).await.unwrap();
        assert_eq!(store.standing(Some("usr_1")).await.unwrap(), 1);
        assert_eq!(store.standing(None).await.unwrap(), 3);
        for user in ["usr_1", "usr_2"] {
            let connection = sqlx::query(
                "INSERT INTO encrypted_credentials (id, user_id, provider, encrypted_data, version, status, method, \
                 created_at, connected_at, updated_at) VALUES ($1, $2, 'claude', $3, 1, 'active', 'api_key', 1, 1, 1)",
            );
            let connection = connection.bind(format!("crd_{user}")).bind(user).bind(vec![1u8]);
            connection.execute(store.write()).await.unwrap();
        }
        for (login, user, over) in [("lgn_1", "usr_1", true), ("lgn_2", "usr_1", false), ("lgn_3", "usr_2", false)] {
            let new = Login::new(login.into(), user, "claude", "claude auth login", 600_000, 1000);
            store.open_login(&new, 9, |_| true).await.unwrap();
            if over {
                store.change_login(login, &Change::Cancel, 2000).await.unwrap();
            }
        }
        let counts = store.counts().await.unwrap();
        assert_eq!(counts.logins, [(Status::Requested, 2)]);
        assert_eq!(counts.sandboxes, [(sandbox::State::Creating, 3)]);
        assert_eq!(counts.connections, [("claude".to_owned(), "active".to_owned(), 2)]);
    })
    .await;
}
