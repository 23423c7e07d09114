//! The record of what was done.

use crate::support::db;
use polydev_server::{
    domain::{
        audit::{self, Action, Actor, Audit, By, Coded, Deed},
        failure::Code,
        time,
    },
    store::{Store, StoreError, audit::AuditRow, runs::After},
};

#[derive(Debug)]
enum No {
    Refused,
    Store,
}

impl Coded for No {
    fn code(&self) -> Code {
        match self {
            Self::Refused => Code::Forbidden,
            Self::Store => Code::Internal,
        }
    }
}

impl From<StoreError> for No {
    fn from(_: StoreError) -> Self {
        Self::Store
    }
}

fn ann() -> Actor {
    Actor {
        by: By::Key,
        user_id: Some("usr_ann".into()),
        token_id: Some("key_1".into()),
        address: Some("192.0.2.1".into()),
        request_id: Some("req_1".into()),
    }
}

async fn all(store: &Store) -> Vec<AuditRow> {
    store.audit(None, None, 100).await.unwrap()
}

#[tokio::test]
async fn an_entry_is_there_before_the_work_and_completed_after_it() {
    db::each_database(async |store| {
        let deed = Deed::new(ann(), Action::KeyCreate).how("runs:read");
        let seen = async {
            let [entry] = &all(&store).await[..] else { panic!("one entry") };
            assert_eq!((entry.outcome.as_deref(), entry.finished_at), (None, None));
            Ok::<_, No>("key_2".to_owned())
        };
        audit::record(&store, deed, seen, |made| Some(made.clone())).await.unwrap();
        let [entry] = &all(&store).await[..] else { panic!("one entry") };
        assert_eq!(entry.action, "key.create");
        assert_eq!((entry.target.as_deref(), entry.detail.as_deref()), (Some("key_2"), Some("runs:read")));
        assert_eq!((entry.actor.as_str(), entry.actor_user_id.as_deref()), ("key", Some("usr_ann")));
        assert_eq!((entry.actor_token_id.as_deref(), entry.address.as_deref()), (Some("key_1"), Some("192.0.2.1")));
        assert_eq!((entry.user_id.as_deref(), entry.request_id.as_deref()), (Some("usr_ann"), Some("req_1")));
        assert_eq!((entry.outcome.as_deref(), entry.code.as_deref()), (Some("ok"), None));
        assert!(entry.finished_at >= Some(entry.created_at));

        let deed = Deed::new(ann(), Action::RunCancel).to("run_1").of("usr_bob");
        let refused = audit::record(&store, deed, async { Err::<(), _>(No::Refused) }, |()| None).await;
        assert!(matches!(refused, Err(No::Refused)));
        let entry = &all(&store).await[0];
        assert_eq!((entry.outcome.as_deref(), entry.code.as_deref()), (Some("failed"), Some("forbidden")));
        assert_eq!((entry.target.as_deref(), entry.user_id.as_deref()), (Some("run_1"), Some("usr_bob")));
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_done() {
    db::each_database(async |store| {
        sqlx::query("DROP TABLE audit").execute(store.write()).await.unwrap();
        let mut done = false;
        let work = async {
            done = true;
            Ok::<_, No>(())
        };
        let refused = audit::record(&store, Deed::new(Actor::LOCAL, Action::KeyRevoke), work, |()| None).await;
        assert!(matches!(refused, Err(No::Store)));
        assert!(!done);
    })
    .await;
}

#[tokio::test]
async fn work_goes_on_to_its_end_when_its_caller_leaves() {
    db::each_database(async |store| {
        let record = Audit::new(store.clone());
        let (begun, wait) = tokio::sync::oneshot::channel();
        let (go_on, gone) = tokio::sync::oneshot::channel::<()>();
        let caller = tokio::spawn({
            let record = record.clone();
            async move {
                let work = async move {
                    begun.send(()).unwrap();
                    gone.await.map_err(|_| No::Refused)
                };
                record.record(Deed::new(ann(), Action::KeyCreate), work, |()| None).await
            }
        });
        wait.await.unwrap();
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        assert_eq!(all(&store).await[0].outcome, None);
        go_on.send(()).unwrap();
        record.drain().await;
        assert_eq!(all(&store).await[0].outcome.as_deref(), Some("ok"));
    })
    .await;
}

#[tokio::test]
async fn everybody_sees_what_they_did_and_what_was_done_to_them() {
    db::each_database(async |store| {
        for (action, of) in
            [(Action::KeyCreate, "usr_ann"), (Action::RunCancel, "usr_bob"), (Action::SignOut, "usr_ann")]
        {
            audit::open(&store, Deed::new(ann(), action).of(of)).await.unwrap().done(&store, None).await;
        }
        audit::open(&store, Deed::new(Actor::LOCAL, Action::UserUpdate).of("usr_bob"))
            .await
            .unwrap()
            .done(&store, None)
            .await;
        let seen = async |user: Option<&str>| {
            let (mut seen, mut after) = (Vec::new(), None);
            // A page at a time.
            while let Some(row) = store.audit(user, after.as_ref(), 1).await.unwrap().pop() {
                after = Some(After { created_at: row.created_at, id: row.id });
                seen.push(row.action);
            }
            seen.sort();
            seen
        };
        assert_eq!(seen(Some("usr_ann")).await, ["key.create", "run.cancel", "session.delete"]);
        assert_eq!(seen(Some("usr_bob")).await, ["run.cancel", "user.update"]);
        assert_eq!(seen(Some("usr_eve")).await, [""; 0]);
        assert_eq!(seen(None).await.len(), 4);

        assert_eq!(store.purge_audit(time::now_ms() - audit::KEPT_MS).await.unwrap(), 0);
        assert_eq!(store.purge_audit(i64::MAX).await.unwrap(), 4);
    })
    .await;
}

#[tokio::test]
async fn old_entries_go_a_thousand_at_a_time() {
    let fresh = db::sqlite();
    let store = Store::open(&fresh.url).await.unwrap();
    let entries = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2500)
                   INSERT INTO audit (id, created_at, action, actor) SELECT 'aud_' || n, n, 'setup', 'server' FROM n";
    sqlx::query(entries).execute(store.write()).await.unwrap();
    // One statement that took them all would take none.
    let held = "CREATE TRIGGER held BEFORE DELETE ON audit WHEN OLD.created_at = 2500 \
                BEGIN SELECT RAISE(ABORT, 'held'); END";
    sqlx::query(held).execute(store.write()).await.unwrap();
    store.purge_audit(i64::MAX).await.unwrap_err();
    let left =
        async || sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM audit").fetch_one(store.read()).await.unwrap();
    assert_eq!(left().await, 500);
    sqlx::query("DROP TRIGGER held").execute(store.write()).await.unwrap();
    assert_eq!((store.purge_audit(2500).await.unwrap(), left().await), (499, 1));
}
