//! Requests that are sent twice: of a key there is one run, and one answer.

use crate::support::db;
use polydev_server::{
    domain::{
        idempotency::{Claim, KEPT_MS},
        run::Wish,
    },
    store::{
        Store,
        idempotency::{Answer, Kept},
        runs::End,
    },
};

async fn person(store: &Store, id: &str) {
    sqlx::query("INSERT INTO users (id, email, role, password_hash, created_at) VALUES ($1, $1, 'member', '', 0)")
        .bind(id)
        .execute(store.write())
        .await
        .unwrap();
}

fn claim(user: &str, endpoint: &str, key: &str) -> Claim {
    Claim { user_id: user.into(), endpoint: endpoint.into(), key: key.into(), request_hash: [7; 32] }
}

fn wish(claim: &Claim) -> Wish {
    Wish { provider: "claude".into(), prompt: "hi".into(), claim: Some(claim.clone()), ..Wish::default() }
}

fn answer(body: &str) -> Answer {
    let headers = vec![("content-type".into(), "application/json".into())];
    Answer { status: 202, headers, body: body.as_bytes().to_vec() }
}

const RUNS: &str = "POST /api/v1/runs";

#[tokio::test]
async fn a_run_and_its_key_are_stored_together_or_not_at_all() {
    db::each_database(async |store| {
        person(&store, "usr_1").await;
        let one = claim("usr_1", RUNS, "key");
        store.insert_run("run_1", "usr_1", &wish(&one), 60, 100, 1000).await.unwrap();
        // As a server would find it that was killed before the first answer.
        let kept = store.kept(&one, 1001).await.unwrap();
        let made = Kept { request_hash: vec![7; 32], run_id: Some("run_1".into()), answer: None };
        assert_eq!(kept, Some(made.clone()));

        let error = store.insert_run("run_2", "usr_1", &wish(&one), 60, 100, 1002).await.unwrap_err();
        assert!(error.is_duplicate(), "{error:?}");
        assert_eq!(store.run("run_2").await.unwrap(), None, "the key has its run");
        assert_eq!(store.kept(&one, 1003).await.unwrap(), Some(made));

        // A run that cannot be stored leaves no key behind: its owner is nobody.
        let nobody = claim("usr_1", RUNS, "other");
        store.insert_run("run_3", "usr_0", &wish(&nobody), 60, 100, 1004).await.unwrap_err();
        assert_eq!(store.kept(&nobody, 1005).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn of_many_requests_at_once_one_makes_a_run() {
    db::each_database(async |store| {
        person(&store, "usr_1").await;
        let one = claim("usr_1", RUNS, "key");
        let ids: Vec<String> = (0..8).map(|n| format!("run_{n}")).collect();
        let wish = wish(&one);
        let made = ids.iter().map(|id| store.insert_run(id, "usr_1", &wish, 60, 100, 1000));
        let made = futures_util::future::join_all(made).await;
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
        assert!(
            made.iter()
                .all(|made| made.as_ref().is_ok_and(|made| *made) || made.as_ref().is_err_and(|e| e.is_duplicate()))
        );
        assert_eq!(store.under_way(Some("usr_1")).await.unwrap().queued, 1);
    })
    .await;
}

#[tokio::test]
async fn an_answer_is_kept_a_day_for_its_person_and_endpoint() {
    db::each_database(async |store| {
        person(&store, "usr_1").await;
        person(&store, "usr_2").await;
        let put = claim("usr_1", "PUT /api/v1/connections/claude", "key ~");
        assert_eq!(store.kept(&put, 1000).await.unwrap(), None);
        store.keep(&put, &answer("one\0\u{fffd}"), 1000).await.unwrap();
        let kept = store.kept(&put, 1000 + KEPT_MS - 1).await.unwrap().unwrap();
        assert_eq!((kept.run_id, kept.answer), (None, Some(answer("one\0\u{fffd}"))));
        for other in [claim("usr_2", &put.endpoint, &put.key), claim("usr_1", RUNS, &put.key)] {
            assert_eq!(store.kept(&other, 1001).await.unwrap(), None);
        }

        // After its time it is free, for an answer as for a run.
        assert_eq!(store.kept(&put, 1000 + KEPT_MS).await.unwrap(), None);
        let again = Claim { request_hash: [8; 32], ..put.clone() };
        store.keep(&again, &answer("two"), 1000 + KEPT_MS).await.unwrap();
        let kept = store.kept(&again, 1001 + KEPT_MS).await.unwrap().unwrap();
        assert_eq!((kept.request_hash, kept.answer), (vec![8; 32], Some(answer("two"))));
        let run = claim("usr_1", RUNS, "key");
        store.insert_run("run_1", "usr_1", &wish(&run), 60, 100, 1000).await.unwrap();
        store.insert_run("run_2", "usr_1", &wish(&run), 60, 100, 1000 + KEPT_MS).await.unwrap();
        assert_eq!(store.kept(&run, 1001 + KEPT_MS).await.unwrap().unwrap().run_id.as_deref(), Some("run_2"));

        assert_eq!(store.purge_idempotency_keys(1000 + KEPT_MS).await.unwrap(), 0);
        assert_eq!(store.purge_idempotency_keys(1001 + KEPT_MS).await.unwrap(), 2);
        assert_eq!(store.kept(&run, 1001 + KEPT_MS).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn answers_that_speak_of_a_deleted_run_are_gone_and_its_key_stays_used() {
    db::each_database(async |store| {
        person(&store, "usr_1").await;
        let one = claim("usr_1", RUNS, "key");
        let cancel = claim("usr_1", "POST /api/v1/runs/run_1/cancel", "key");
        let other = claim("usr_1", "POST /api/v1/runs/run_2/cancel", "key");
        store.insert_run("run_1", "usr_1", &wish(&one), 60, 100, 1000).await.unwrap();
        for claim in [&one, &cancel, &other] {
            store.keep(claim, &answer("hi"), 1001).await.unwrap();
        }
        let kept = store.kept(&one, 1002).await.unwrap().unwrap();
        assert_eq!((kept.run_id.as_deref(), kept.answer), (Some("run_1"), Some(answer("hi"))));
        store.finish_run("run_1", &End::Cancelled, 1003).await.unwrap();
        store.delete_run("run_1").await.unwrap();
        let kept = store.kept(&one, 1004).await.unwrap().unwrap();
        assert_eq!((kept.run_id.as_deref(), kept.answer), (Some("run_1"), None));
        assert_eq!(store.kept(&cancel, 1004).await.unwrap(), None);
        assert_eq!(store.kept(&other, 1004).await.unwrap().unwrap().answer, Some(answer("hi")));
    })
    .await;
}
