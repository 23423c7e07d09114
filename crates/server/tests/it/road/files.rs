//! Files into a run and out of it, whatever the sandbox makes of them.

use super::{answer, blocking, connected, events, sound, standin};
use crate::support::server::{Server, text};
use base64::{Engine, prelude::BASE64_STANDARD};
use polydev_server::domain::event::{Event, EventBody, LogLevel};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a run is asked, so that claude runs this script in its workspace.
fn script(script: &str, given: &[(&str, &str)]) -> Value {
    let file = |path: &str, content: &str| json!({ "path": path, "content_base64": BASE64_STANDARD.encode(content) });
    let mut files = vec![file("make.sh", script)];
    files.extend(given.iter().map(|(path, content)| file(path, content)));
    json!({ "provider": "claude", "prompt": "use tool: sh make.sh", "files": files })
}

fn run_id(events: &[Event]) -> &str {
    match &events[0].body {
        EventBody::Queued { run_id } => run_id,
        other => panic!("{other:?}"),
    }
}

/// What was left out, as the run's events tell it.
fn left_out(events: &[Event]) -> Vec<&str> {
    let warned = events.iter().filter_map(|event| match &event.body {
        EventBody::Log { level: LogLevel::Warn, text } => Some(text.as_str()),
        _ => None,
    });
    warned.filter(|text| text.starts_with("left out")).collect()
}

async fn get(server: &Server, path: &str) -> Response {
    server.request(Method::GET, path).send().await.unwrap()
}

/// Every file of a run with its size, page by page.
async fn listed(server: &Server, run: &str, limit: usize) -> BTreeMap<String, i64> {
    let mut files = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let response = get(server, &format!("/runs/{run}/files?limit={limit}{cursor}")).await;
        assert_eq!(response.status(), 200);
        let page: Value = response.json().await.unwrap();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit);
        for item in items {
            let known = files.insert(item["path"].as_str().unwrap().to_owned(), item["size"].as_i64().unwrap());
            assert_eq!(known, None, "{item} comes twice");
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return files,
        }
    }
}

const ODD: &str = r#"
printf changed > changed.txt
printf same > rewritten.txt
mkdir -p deep/er && printf deep > deep/er/file.txt
printf 1 > 'Grüße 🌍.txt'; printf 2 > 'say "hi" 100%.txt'; printf 3 > ' -rf *'; : > .empty
ln -s /etc/passwd passwd; ln -s .. up; ln -s loop loop; ln -s deep again; ln -s changed.txt other
mkfifo pipe
truncate -s 20M large
printf n > "$(printf 'bad\033[2Jname')"; printf n > "$(printf 'a\377')"; printf n > 'back\slash'
mkdir closed && printf c > closed/file && chmod 000 closed
printf s > secret && chmod 000 secret
far=far; for n in $(seq 40); do far=$far/$n; done; mkdir -p $far && printf far > $far/file
rm gone.txt
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_made_or_changed_is_kept_and_nothing_else() {
    let (mut server, _standin) = connected("").await;
    let given = [
        ("changed.txt", "given"),
        ("rewritten.txt", "same"),
        ("alone.txt", "alone"),
        ("gone.txt", ""),
        ("in/side", ""),
    ];
    let all = events(&server, script(ODD, &given)).await;
    sound(&all);
    assert!(matches!(all[all.len() - 1].body, EventBody::Completed { .. }), "{:?}", all[all.len() - 1]);
    let run = run_id(&all);
    let made = [
        (" -rf *", "3"),
        (".empty", ""),
        ("Grüße 🌍.txt", "1"),
        ("changed.txt", "changed"),
        ("deep/er/file.txt", "deep"),
        ("say \"hi\" 100%.txt", "2"),
    ];
    let sizes: BTreeMap<String, i64> = made.map(|(path, content)| (path.to_owned(), content.len() as i64)).into();
    assert_eq!(listed(&server, run, 50).await, sizes);
    assert_eq!(listed(&server, run, 1).await, sizes, "one at a time");
    assert_eq!(
        left_out(&all),
        [concat!(
            "left out of the run's files: larger than 10 MiB (1): `large`; ",
            "folders that lie in 32 others (1): `far/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/21/22/23/…`; ",
            "unreadable (2): `secret`, `closed`; ",
            "names that are too long or not plain text (3): `a\u{fffd}`, `back\\\\slash`, `bad\\u{1b}[2Jname`; ",
            "links (5): `again`, `loop`, `other`, …; neither file nor folder (1): `pipe`"
        )]
    );

    // As bytes to be saved, and never as a page to be shown.
    for (path, content) in made {
        let encoded: String = path.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for encoded in [encoded.clone(), encoded.replace("%2F", "/")] {
            let response = get(&server, &format!("/runs/{run}/files/{encoded}")).await;
            assert_eq!(response.status(), 200, "{path}");
            let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
            assert_eq!(header("content-type"), "application/octet-stream");
            assert_eq!(header("x-content-type-options"), "nosniff");
            assert_eq!(header("content-length"), content.len().to_string());
            assert!(header("content-disposition").starts_with("attachment; filename=\""), "{path}");
            assert_eq!(response.text().await.unwrap(), content, "{path}");
        }
    }
    let response = get(&server, &format!("/runs/{run}/files/Gr%C3%BC%C3%9Fe%20%F0%9F%8C%8D.txt")).await;
    assert_eq!(
        response.headers()["content-disposition"],
        "attachment; filename=\"Gr__e _.txt\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe%20%F0%9F%8C%8D.txt"
    );

    let nothing =
        ["alone.txt", "make.sh", "passwd", "deep", "deep/", "%00", "..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd"];
    for path in nothing {
        assert_eq!(get(&server, &format!("/runs/{run}/files/{path}")).await.status(), 404, "{path}");
    }
    for (query, code) in [("limit=0", "bad_limit"), ("cursor=MSAA", "bad_cursor"), ("cursor=Li4", "bad_cursor")] {
        let refused = get(&server, &format!("/runs/{run}/files?{query}")).await;
        assert_eq!(refused.status(), 400, "{query}");
        assert_eq!(refused.json::<Value>().await.unwrap()["error"]["code"], code);
    }
    server = blocking(move || {
        server.key = server.person("two@example.com");
        server
    })
    .await;
    for path in [format!("/runs/{run}/files"), format!("/runs/{run}/files/changed.txt")] {
        assert_eq!(get(&server, &path).await.status(), 404, "another person's {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_a_limit_is_left_out_and_told() {
    let (server, _standin) = connected("").await;
    let make = "mkdir bulk many; for n in $(seq 7); do head -c 10M /dev/zero > bulk/$n; done
                for n in $(seq -w 1500); do echo $n > many/$n; done";
    let all =
        events(&server, script(make, &[("many/0003", "0003\n"), ("many/1400", "1400\n"), ("many/1401", "")])).await;
    sound(&all);
    let mut expected: BTreeMap<String, i64> = (1..=6).map(|n| (format!("bulk/{n}"), 10 << 20)).collect();
    // Those that are as they were given do not count.
    expected.extend((1..=995).filter(|n| *n != 3).map(|n| (format!("many/{n:04}"), 5)));
    assert_eq!(listed(&server, run_id(&all), 200).await, expected);
    assert_eq!(
        left_out(&all),
        [concat!(
            "left out of the run's files: beyond 1000 files (504): `many/0996`, `many/0997`, `many/0998`, …; ",
            "beyond 64 MiB in all (1): `bulk/7`"
        )]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tools_leave_nothing_of_their_own() {
    let standin = standin().await;
    let (server, _standin) = blocking(move || {
        let server = Server::start(&standin);
        for provider in ["claude", "codex", "gemini"] {
            server.connect(provider);
        }
        (server, standin)
    })
    .await;
    for provider in ["claude", "codex", "gemini"] {
        let all = events(&server, json!({ "provider": provider, "prompt": "What is 2+2?" })).await;
        sound(&all);
        assert_eq!((answer(&all).as_str(), left_out(&all).len()), ("4", 0), "{provider}");
        assert_eq!(listed(&server, run_id(&all), 50).await, BTreeMap::new(), "{provider}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fails_leaves_its_files_and_one_that_is_cancelled_none() {
    let (server, _standin) = connected("").await;
    let all = events(&server, script("echo half > half.txt; kill -9 $(pgrep -o claude || echo $PPID)", &[])).await;
    sound(&all);
    assert!(matches!(all[all.len() - 1].body, EventBody::Failed { .. }), "{:?}", all[all.len() - 1]);
    assert_eq!(listed(&server, run_id(&all), 50).await, BTreeMap::from([("half.txt".to_owned(), 5)]));

    let mut body = script("echo half > half.txt; sleep 1000", &[]);
    body["metadata"] = json!({});
    let run: Value = server.request(Method::POST, "/runs").json(&body).send().await.unwrap().json().await.unwrap();
    let id = run["id"].as_str().unwrap();
    let mut stream = get(&server, &format!("/runs/{id}/events")).await;
    let mut seen = String::new();
    while !seen.contains("tool.call") {
        seen += &text(&stream.chunk().await.unwrap().expect("the tool is called"));
    }
    assert_eq!(server.request(Method::POST, &format!("/runs/{id}/cancel")).send().await.unwrap().status(), 202);
    while let Some(more) = stream.chunk().await.unwrap() {
        seen += &text(&more);
    }
    assert!(seen.contains("run.cancelled"), "{seen}");
    assert_eq!(listed(&server, id, 50).await, BTreeMap::new());
}
