//! What runs have used is summed without holding them all.

use super::insert_user;
use crate::support::db;
use polydev_server::{
    domain::{
        time::{self, DAY_MS},
        usage::{self, Day},
    },
    store::Store,
};

/// So many runs of this provider on one day, three a millisecond, each of which has used this.
async fn runs(store: &Store, provider: &str, day: i64, many: i64, usage: &str) {
    let insert = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < $1)
                  INSERT INTO runs (id, user_id, provider, status, prompt, tools, timeout_s, usage, created_at, last_seq)
                  SELECT 'run_' || CAST($2 AS TEXT) || CAST($3 AS BIGINT) || '_' || n, 'usr_1', CAST($2 AS TEXT),
                         'completed', '', 'all', 1, CAST($4 AS TEXT), CAST($3 AS BIGINT) + n / 3, 1 FROM n";
    let insert = sqlx::query(insert).bind(many).bind(provider).bind(day).bind(usage);
    insert.execute(store.write()).await.unwrap();
}

#[tokio::test]
async fn days_are_summed_a_page_at_a_time() {
    db::each_database(async |store| {
        insert_user(&store, "usr_1").await;
        let today = time::midnight(time::now_ms());
        let used =
            |cost: &str| format!(r#"{{"input_tokens":3,"output_tokens":2,"cached_tokens":1,"cost_usd":{cost}}}"#);
        runs(&store, "claude", today, 1500, &used("0.5")).await;
        runs(&store, "codex", today - DAY_MS, 1200, &used("null")).await;
        runs(&store, "claude", today - DAY_MS, 300, &used("0.25")).await;
        let of = |back: i64, provider: &str, runs: i64, cost_usd: Option<f64>| Day {
            day: time::day(today - back * DAY_MS),
            provider: provider.into(),
            runs,
            input_tokens: 3 * runs,
            output_tokens: 2 * runs,
            cached_tokens: runs,
            cost_usd,
        };
        let all = [of(0, "claude", 1500, Some(750.0)), of(1, "codex", 1200, None), of(1, "claude", 300, Some(75.0))];
        let ask = async |days, after: Option<&Day>, limit| {
            let after = after.map(|day| (day.day.clone(), day.provider.clone()));
            usage::usage(&store, "usr_1", days, after.as_ref(), limit).await
        };
        assert_eq!(ask(30, None, 10).await.unwrap(), all);
        assert_eq!(ask(1, None, 10).await.unwrap(), all[..1]);
        assert_eq!(ask(30, Some(&all[0]), 10).await.unwrap(), all[1..]);
        assert_eq!(ask(30, Some(&all[1]), 10).await.unwrap(), all[2..]);
        assert_eq!(ask(30, Some(&all[2]), 10).await.unwrap(), []);
        assert_eq!(usage::usage(&store, "usr_2", 30, None, 10).await.unwrap(), []);

        // What is not asked for is not read: this could not be.
        runs(&store, "claude", today - 2 * DAY_MS, 1, "no JSON").await;
        assert_eq!(ask(30, None, 1).await.unwrap(), all[..1]);
        ask(30, None, 4).await.unwrap_err();
    })
    .await;
}
