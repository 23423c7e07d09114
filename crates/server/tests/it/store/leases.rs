//! Leases: who may refresh is alone, and what a run made of its login is taken over from that run only.

use crate::support::db;
use polydev_server::{
    domain::{lease::Kind, run::Wish},
    store::{Store, StoreError, credentials, leases::Lease, runs::End},
};

const OF: (&str, &str) = ("usr_1", "claude");

/// A person with a login whose access token ends at 5000, and three runs under way.
async fn login(store: &Store) -> String {
    sqlx::query(
        "INSERT INTO users (id, email, role, password_hash, created_at) VALUES ('usr_1', 'a', 'member', '', 0)",
    )
    .execute(store.write())
    .await
    .unwrap();
    let described = credentials::Described { method: "import", fresh_until: Some(5000), ..Default::default() };
    let put = credentials::put(store, OF, &described, 1000, |_, _| Ok::<_, StoreError>(b"one".to_vec()));
    let row = put.await.unwrap();
    for run in ["run_1", "run_2", "run_3"] {
        let wish = Wish { provider: "claude".into(), prompt: "hi".into(), ..Wish::default() };
        store.insert_run(run, "usr_1", &wish, 60, 1000, 1000).await.unwrap();
        assert!(store.start_run(run, &format!("sbx_{run}"), 1001).await.unwrap());
    }
    row.id
}

async fn held(store: &Store) -> (i64, i64) {
    let logins = store.logins().await.unwrap();
    (logins[0].shared, logins[0].exclusive)
}

#[tokio::test]
async fn who_has_it_alone_has_it_alone() {
    db::each_database(async |store| {
        login(&store).await;
        let take = async |run: &str, version, kind| store.take_lease(run, OF, version, kind, 1100).await.unwrap();
        assert!(!take("run_1", 2, Kind::Shared).await, "there is no such version");
        assert!(take("run_1", 1, Kind::Shared).await);
        assert!(take("run_2", 1, Kind::Shared).await);
        assert!(!take("run_3", 1, Kind::Exclusive).await, "others share it");
        assert_eq!(held(&store).await, (2, 0));
        // A lease is lost with its run, however that ends.
        store.finish_run("run_1", &End::Cancelled, 1200).await.unwrap();
        let why = polydev_server::domain::event::EventBody::Cancelled;
        store.requeue_run("run_2", &why, 1200).await.unwrap();
        assert_eq!(held(&store).await, (0, 0));
        assert!(take("run_3", 1, Kind::Exclusive).await);
        assert!(!take("run_2", 1, Kind::Shared).await, "one has it alone");
        let lease = store.lease_of("run_3").await.unwrap();
        assert_eq!(lease, Some(Lease { kind: "exclusive".into(), version: 1, fresh_until: Some(5000) }));
        assert_eq!(held(&store).await, (0, 1));
    })
    .await;
}

#[tokio::test]
async fn only_who_has_it_alone_changes_it_and_only_that_version() {
    db::each_database(async |store| {
        let id = login(&store).await;
        let back = async |run: &str, version, kind| {
            let of = (run, id.as_str(), version);
            let seal = |_: Option<&str>| Ok::<_, StoreError>(b"two".to_vec());
            credentials::write_back(&store, of, (Some(9000), None), kind, 1300, seal).await.unwrap()
        };
        assert!(!back("run_1", 1, Kind::Shared).await, "it has no lease");
        store.take_lease("run_1", OF, 1, Kind::Shared, 1100).await.unwrap();
        assert!(!back("run_1", 1, Kind::Shared).await, "it shares");
        store.finish_run("run_1", &End::Cancelled, 1200).await.unwrap();
        store.take_lease("run_2", OF, 1, Kind::Exclusive, 1100).await.unwrap();
        assert!(!back("run_2", 2, Kind::Shared).await, "another version");
        assert!(back("run_2", 1, Kind::Keeper).await);
        let row = credentials::get(&store, "usr_1", "claude").await.unwrap().unwrap();
        assert_eq!((row.version, row.encrypted_data, row.fresh_until), (2, b"two".to_vec(), Some(9000)));
        // It shares from now on, and others may.
        assert_eq!(held(&store).await, (1, 0));
        assert!(!back("run_2", 1, Kind::Keeper).await, "once");
        assert!(store.take_lease("run_3", OF, 2, Kind::Shared, 1400).await.unwrap());
        // It alone has what refreshes, and may do so again.
        assert!(!back("run_3", 2, Kind::Keeper).await, "it shares");
        assert!(back("run_2", 2, Kind::Keeper).await);
    })
    .await;
}
