//! Runs and events: numbered without holes, ended once, listed newest first.

use crate::support::db;
use polydev_server::{
    control::progress::Progress,
    domain::{
        connections::SecretVersion,
        event::{EventBody, LogLevel},
        failure::{Code, Failure},
        run::{Status, Wish, WorkFile},
    },
    store::{
        Store,
        pages::{Filter, UnderWay},
        runs::{After, End},
    },
};

async fn person(store: &Store, id: &str) {
    sqlx::query("INSERT INTO users (id, email, role, password_hash, created_at) VALUES ($1, $1, 'member', '', 0)")
        .bind(id)
        .execute(store.write())
        .await
        .unwrap();
}

fn wish() -> Wish {
    Wish {
        provider: "claude".into(),
        prompt: "hi \u{1f600}".into(),
        metadata: Some(serde_json::json!({ "a": [1] })),
        files: vec![WorkFile { path: "a/b".into(), content: vec![0, 255] }],
        ..Wish::default()
    }
}

fn text(text: &str) -> EventBody {
    EventBody::Text { text: text.into() }
}

/// The ids of a person's runs, page by page.
async fn pages_of(store: &Store, filter: Filter<'_>, limit: i64) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut after: Option<After> = None;
    loop {
        let (page, more) = store.runs_of("usr_1", filter, after.as_ref(), limit).await.unwrap();
        after = page.last().map(|last| After { created_at: last.created_at, id: last.id.clone() });
        pages.push(page.into_iter().map(|run| run.id).collect());
        if !more {
            return pages;
        }
    }
}

#[tokio::test]
async fn a_run_lives_once() {
    db::each_database(async |store| {
        person(&store, "usr_1").await;
        store.insert_run("run_1", "usr_1", &wish(), 60, 100, 1000).await.unwrap();
        let run = store.run("run_1").await.unwrap().unwrap();
        assert_eq!((run.status, run.prompt.as_str(), run.metadata), (Status::Queued, "hi \u{1f600}", wish().metadata));
        assert_eq!(store.run_files("run_1").await.unwrap(), wish().files);

        assert!(store.start_run("run_1", "sbx_1", 1010).await.unwrap());
        assert!(!store.start_run("run_1", "sbx_2", 1011).await.unwrap(), "only once");
        let two = [text("nul \0 and"), text(" more")];
        assert_eq!(store.append_events("run_1", &two, None, 1020).await.unwrap(), Some(3));
        let end = End::Completed { text: "nul \0 and more".into(), usage: None };
        assert_eq!(store.finish_run("run_1", &end, 1510).await.unwrap().map(|ended| ended.seq), Some(4));

        assert_eq!(store.finish_run("run_1", &end, 1520).await.unwrap(), None, "it ends once");
        assert_eq!(store.append_events("run_1", &two, None, 1530).await.unwrap(), None, "nothing follows the end");
        assert!(!store.request_cancel("run_1", 1540).await.unwrap());
        let events = store.events_after("run_1", 0).await.unwrap();
        assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(events[1].body, text("nul \0 and"), "as it was said");
        assert!(matches!(&events[3].body, EventBody::Completed { duration_ms: 500, .. }), "{:?}", events[3]);
        assert_eq!(store.events_after("run_1", 2).await.unwrap()[0].seq, 3);
        let run = store.run("run_1").await.unwrap().unwrap();
        assert_eq!((run.status, run.finished_at), (Status::Completed, Some(1510)));
        assert_eq!(store.open_runs().await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn no_more_wait_than_may_and_each_person_has_a_queue_of_their_own() {
    db::each_database(async |store| {
        person(&store, "usr_1").await;
        person(&store, "usr_2").await;
        let one = wish();
        let at_once = (0..20).map(async |n| {
            let id = format!("run_{n}");
            store.insert_run(&id, "usr_1", &one, 60, 7, 1000).await.unwrap()
        });
        let accepted = futures_util::future::join_all(at_once).await;
        assert_eq!(accepted.iter().filter(|accepted| **accepted).count(), 7);
        assert_eq!(store.open_runs().await.unwrap().len(), 7);
        assert!(store.insert_run("run_b", "usr_2", &one, 60, 7, 1001).await.unwrap(), "it is another's queue");
        // A run that is under way waits no more.
        let first = store.open_runs().await.unwrap().swap_remove(0).id;
        store.start_run(&first, "sbx_1", 1010).await.unwrap();
        assert!(store.insert_run("run_c", "usr_1", &one, 60, 7, 1011).await.unwrap());
        assert!(!store.insert_run("run_d", "usr_1", &one, 60, 7, 1012).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn the_runs_of_whoever_is_switched_off_count_as_cancelled() {
    db::each_database(async |store| {
        for (run, who) in [("run_1", "usr_1"), ("run_2", "usr_2")] {
            person(&store, who).await;
            store.insert_run(run, who, &wish(), 60, 1000, 1000).await.unwrap();
        }
        let cancelled = async || {
            let open = store.open_runs().await.unwrap().into_iter();
            open.filter(|run| run.cancelled).map(|run| run.id).collect::<Vec<_>>()
        };
        assert_eq!(cancelled().await, Vec::<String>::new());
        polydev_server::store::people::disable_user(&store, "usr_2", 1010).await.unwrap();
        assert_eq!(cancelled().await, ["run_2"]);
    })
    .await;
}

#[tokio::test]
async fn people_take_turns() {
    db::each_database(async |store| {
        for who in ["usr_1", "usr_2", "usr_3"] {
            person(&store, who).await;
        }
        for (id, who, at) in
            [("a", "usr_1", 1), ("b", "usr_1", 2), ("c", "usr_1", 3), ("d", "usr_2", 4), ("e", "usr_3", 5)]
        {
            assert!(store.insert_run(id, who, &wish(), 60, 100, at).await.unwrap());
        }
        let order = async || store.open_runs().await.unwrap().into_iter().map(|run| run.id).collect::<String>();
        assert_eq!(order().await, "abcde", "the oldest, while nobody was served");
        store.start_run("a", "sbx_1", 10).await.unwrap();
        assert_eq!(order().await, "deabc", "who was served goes behind who was not");
        store.start_run("d", "sbx_2", 20).await.unwrap();
        assert_eq!(order().await, "eabcd");
        let end = End::Completed { text: String::new(), usage: None };
        store.finish_run("d", &end, 30).await.unwrap();
        store.start_run("e", "sbx_3", 40).await.unwrap();
        assert_eq!(order().await, "abce", "what is over takes no turn");
    })
    .await;
}

#[tokio::test]
async fn two_finishers_make_one_end() {
    db::each_database(async |store| {
        person(&store, "usr_1").await;
        for round in 0..20 {
            let id = format!("run_{round}");
            store.insert_run(&id, "usr_1", &wish(), 60, 100, 1000).await.unwrap();
            store.start_run(&id, "sbx_1", 1010).await.unwrap();
            let failed = End::Failed { error: Failure::new(Code::Timeout, "late") };
            let more = [text("x")];
            let cancelled = End::Cancelled;
            let (one, two, appended) = tokio::join!(
                store.finish_run(&id, &failed, 1100),
                store.finish_run(&id, &cancelled, 1100),
                store.append_events(&id, &more, None, 1100),
            );
            assert_eq!(one.unwrap().is_some() as u8 + two.unwrap().is_some() as u8, 1);
            let events = store.events_after(&id, 0).await.unwrap();
            assert_eq!(events.len(), 2 + appended.unwrap().is_some() as usize);
            assert_eq!(events.iter().filter(|event| event.body.is_last()).count(), 1);
            assert!(events[events.len() - 1].body.is_last());
            // Whoever ended it may not have heard what was said: it is told by what is stored.
            let said = store.run(&id).await.unwrap().unwrap().text;
            assert_eq!(said.as_deref(), (events.len() == 3).then_some("x"), "{events:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_run_is_not_started() {
    db::each_database(async |store| {
        person(&store, "usr_1").await;
        store.insert_run("run_1", "usr_1", &wish(), 60, 100, 1000).await.unwrap();
        assert!(store.request_cancel("run_1", 1001).await.unwrap());
        assert!(store.request_cancel("run_1", 1002).await.unwrap(), "asking twice changes nothing");
        assert_eq!(store.run("run_1").await.unwrap().unwrap().cancel_requested_at, Some(1001));
        assert!(!store.start_run("run_1", "sbx_1", 1010).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn pages_are_newest_first_and_whole() {
    db::each_database(async |store| {
        person(&store, "usr_1").await;
        person(&store, "usr_2").await;
        for n in 0..7 {
            // Pairs of the same millisecond: the id decides.
            store.insert_run(&format!("run_{n}"), "usr_1", &wish(), 60, 100, 1000 + n / 2).await.unwrap();
        }
        store.insert_run("run_other", "usr_2", &wish(), 60, 100, 1000).await.unwrap();
        let pages = pages_of(&store, Filter::default(), 3).await;
        assert_eq!(
            pages,
            [&["run_6", "run_5", "run_4"][..], &["run_3", "run_2", "run_1"], &["run_0"]],
            "as many as asked for"
        );
        assert_eq!(pages_of(&store, Filter::default(), 7).await.len(), 1, "the last page says that it is the last");
    })
    .await;
}

#[tokio::test]
async fn a_page_of_long_texts_ends_early_and_goes_on() {
    db::each_database(async |store| {
        person(&store, "usr_1").await;
        let long = |bytes: usize| Wish { prompt: "\u{e9}".repeat(bytes / 2), ..wish() };
        for (n, bytes) in [1024, 5 << 20, 1024, 3 << 20, 2 << 20, 1024].into_iter().enumerate() {
            store.insert_run(&format!("run_{n}"), "usr_1", &long(bytes), 60, 100, 1000).await.unwrap();
        }
        let pages = pages_of(&store, Filter::default(), 200).await;
        assert_eq!(pages, [&["run_5", "run_4", "run_3"][..], &["run_2", "run_1"], &["run_0"]]);
        // Answers count as well.
        for id in ["run_0", "run_2"] {
            store.start_run(id, "sbx_1", 1010).await.unwrap();
            let end = End::Completed { text: "x".repeat(5 << 20), usage: None };
            store.finish_run(id, &end, 1020).await.unwrap();
        }
        let pages = pages_of(&store, Filter::default(), 200).await;
        assert_eq!(pages, [&["run_5", "run_4", "run_3"][..], &["run_2"], &["run_1"], &["run_0"]]);
    })
    .await;
}

#[tokio::test]
async fn runs_are_picked_and_counted_by_state_and_provider() {
    db::each_database(async |store| {
        person(&store, "usr_1").await;
        person(&store, "usr_2").await;
        for (n, provider) in ["claude", "codex", "claude", "codex"].into_iter().enumerate() {
            let wish = Wish { provider: provider.into(), ..wish() };
            store.insert_run(&format!("run_{n}"), "usr_1", &wish, 60, 100, 1000).await.unwrap();
        }
        store.insert_run("run_other", "usr_2", &wish(), 60, 100, 1000).await.unwrap();
        for id in ["run_0", "run_1"] {
            store.start_run(id, "sbx_1", 1010).await.unwrap();
        }
        store.finish_run("run_1", &End::Cancelled, 1020).await.unwrap();
        let queued = Filter { status: Some(Status::Queued), ..Filter::default() };
        assert_eq!(pages_of(&store, queued, 1).await, [["run_3"], ["run_2"]]);
        let codex = Filter { provider: Some("codex"), ..Filter::default() };
        assert_eq!(pages_of(&store, codex, 9).await, [["run_3", "run_1"]]);
        let both = Filter { status: Some(Status::Running), provider: Some("codex") };
        assert_eq!(pages_of(&store, both, 9).await, [Vec::<String>::new()]);
        assert_eq!(store.under_way(Some("usr_1")).await.unwrap(), UnderWay { queued: 2, running: 1 });
        assert_eq!(store.under_way(Some("usr_3")).await.unwrap(), UnderWay::default());
    })
    .await;
}

#[tokio::test]
async fn events_are_read_a_page_at_a_time() {
    db::each_database(async |store| {
        person(&store, "usr_1").await;
        store.insert_run("run_1", "usr_1", &wish(), 60, 100, 1000).await.unwrap();
        store.start_run("run_1", "sbx_1", 1010).await.unwrap();
        let small: Vec<EventBody> = (0..600).map(|n| text(&format!("{n} "))).collect();
        store.append_events("run_1", &small, None, 1020).await.unwrap();
        let large: Vec<EventBody> = (0..4).map(|_| text(&"\u{20ac}".repeat(50_000))).collect();
        store.append_events("run_1", &large, None, 1030).await.unwrap();
        store.append_events("run_1", &[text(&"x".repeat(3 << 20)), text("end")], None, 1040).await.unwrap();
        let (mut sizes, mut seqs) = (Vec::new(), Vec::new());
        while let Some(page) = Some(store.events_after("run_1", seqs.last().copied().unwrap_or(0)).await.unwrap())
            .filter(|p| !p.is_empty())
        {
            sizes.push(page.len());
            seqs.extend(page.into_iter().map(|event| event.seq));
        }
        assert_eq!(seqs, (1..=607).collect::<Vec<_>>(), "none is left out or comes twice");
        assert_eq!(sizes, [256, 256, 91, 2, 1, 1], "256 events, or 256 KiB and what goes over it");
        assert!(store.has_events_after("run_1", 606).await.unwrap());
        assert!(!store.has_events_after("run_1", 607).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_run_that_is_over_can_be_deleted_with_all_that_it_had() {
    db::each_database(async |store| {
        person(&store, "usr_1").await;
        for id in ["run_1", "run_2"] {
            store.insert_run(id, "usr_1", &wish(), 60, 100, 1000).await.unwrap();
        }
        assert_eq!(store.delete_run("run_1").await.unwrap(), None, "it waits");
        store.start_run("run_1", "sbx_1", 1010).await.unwrap();
        assert_eq!(store.delete_run("run_1").await.unwrap(), None, "it runs");
        let end = End::Completed { text: "done".into(), usage: None };
        store.finish_run("run_1", &end, 1020).await.unwrap();
        sqlx::query("INSERT INTO run_outputs (run_id, path, size, content) VALUES ('run_1', 'a', 1, $1)")
            .bind(&b"x"[..])
            .execute(store.write())
            .await
            .unwrap();
        assert_eq!(store.delete_run("run_1").await.unwrap().as_deref(), Some("usr_1"));
        assert_eq!(store.delete_run("run_1").await.unwrap(), None, "it is gone");
        for table in ["runs WHERE id", "run_events WHERE run_id", "run_files WHERE run_id", "run_outputs WHERE run_id"]
        {
            let left = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table} = 'run_1'"));
            let left: i64 = sqlx::query_scalar(left).fetch_one(store.read()).await.unwrap();
            assert_eq!(left, 0, "{table}");
        }
        assert_eq!(store.run_files("run_2").await.unwrap(), wish().files, "the other one keeps what it has");
    })
    .await;
}

#[tokio::test]
async fn how_far_the_tool_was_heard_is_kept_with_what_it_said() {
    db::each_database(async |store| {
        person(&store, "usr_1").await;
        store.insert_run("run_1", "usr_1", &wish(), 60, 1000, 1000).await.unwrap();
        let why = EventBody::Log { level: LogLevel::Warn, text: "again".into() };
        assert_eq!(store.requeue_run("run_1", &why, 1001).await.unwrap(), None, "it waits anyway");
        store.start_run("run_1", "sbx_1", 1010).await.unwrap();
        let open = store.open_runs().await.unwrap();
        assert_eq!((open[0].sandbox_id.as_deref(), open[0].began, open[0].attempts), (Some("sbx_1"), false, 1));

        // Its server stops before its tool is started: it begins anew.
        assert_eq!(store.requeue_run("run_1", &why, 1020).await.unwrap(), Some(2));
        let open = store.open_runs().await.unwrap();
        assert_eq!((open[0].status, open[0].sandbox_id.as_deref(), open[0].attempts), (Status::Queued, None, 1));
        store.start_run("run_1", "sbx_2", 1030).await.unwrap();
        assert_eq!(store.progress("run_1").await.unwrap(), None);
        let secret = SecretVersion { connection: "crd_1".into(), version: 3 };
        let mut progress =
            Progress { stdout: 7, unsaid: "AP8=".into(), connection: Some(secret), ..Progress::default() };
        progress.dialogue = serde_json::json!({ "said": "nul \0" });
        assert_eq!(store.append_events("run_1", &[text("a")], Some(&progress), 1040).await.unwrap(), Some(3));
        assert_eq!(store.append_events("run_1", &[text("b")], None, 1050).await.unwrap(), Some(4));
        assert_eq!(store.progress("run_1").await.unwrap(), Some(progress.clone()));
        progress.stdout = 9;
        assert_eq!(store.append_events("run_1", &[], Some(&progress), 1060).await.unwrap(), Some(4), "no event");
        assert_eq!(store.progress("run_1").await.unwrap(), Some(progress));
        assert!(store.open_runs().await.unwrap()[0].began);
        assert_eq!(store.requeue_run("run_1", &why, 1070).await.unwrap(), None, "its tool was started");
    })
    .await;
}
