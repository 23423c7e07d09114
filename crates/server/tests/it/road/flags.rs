//! Every flag of `polydev run`, through the road.

use super::{blocking, standin};
use crate::support::{
    host,
    server::{Server, text},
};
use polydev_server::store::{Store, sqlite_url};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

fn tree(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut look = vec![dir.to_owned()];
    while let Some(folder) = look.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                look.push(entry.path());
            } else {
                let path = entry.path();
                let content = fs::read_to_string(&path).unwrap();
                found.push(format!("{}={content}", path.strip_prefix(dir).unwrap().display()));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_in_and_come_out() {
    let standin = standin().await;
    blocking(move || {
        let server = Server::start(&standin);
        server.connect("claude");
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("work/deep")).unwrap();
        fs::write(at("work/given.txt"), "given").unwrap();
        fs::write(at("work/deep/alone.txt"), "alone").unwrap();
        fs::write(
            at("make.sh"),
            "cat work/given.txt work/deep/alone.txt > both.txt; echo new > work/given.txt; ln -s both.txt link",
        )
        .unwrap();
        let run = |more: &[&str], prompt: &str| -> Output {
            let (script, work, out) = (at("make.sh"), at("work"), at("new/out"));
            let files = ["--file", script.to_str().unwrap(), "--file", work.to_str().unwrap()];
            let args = [&["run", "claude", prompt, "--out", out.to_str().unwrap()], &files[..], more].concat();
            server.polydev(&args)
        };
        let saved = format!("saved 2 files to {}\n", at("new/out").display());
        let made = ["both.txt=givenalone", "work/given.txt=new\n"];

        let out = run(&[], "use tool: sh make.sh");
        let said = text(&out.stderr);
        assert!(out.status.success() && said.ends_with(&saved), "{said}");
        assert!(said.contains("left out of the run's files: links (1): `link`"), "{said}");
        assert_eq!(tree(&at("new/out")), made);

        // Again, over what is there; and for programs, standard output is theirs alone.
        fs::write(at("new/out/both.txt"), "something longer than what comes").unwrap();
        let out = run(&["--output", "json"], "use tool: sh make.sh");
        let json: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!((&json["status"], text(&out.stderr)), (&"completed".into(), saved.clone()));
        assert_eq!(tree(&at("new/out")), made);
        let out = run(&["--output", "stream-json"], "use tool: sh make.sh");
        assert!(text(&out.stdout).lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
        assert_eq!(text(&out.stderr), saved);

        // What a run made before it failed is saved too, and it has failed all the same.
        fs::remove_dir_all(at("new")).unwrap();
        let out = run(&[], "use tool: sh make.sh; kill -9 $PPID");
        let said = text(&out.stderr);
        assert_eq!((out.status.code(), said.contains(&saved)), (Some(1), true), "{said}");
        assert!(said.lines().last().unwrap_or_default().starts_with("hint: ") && said.contains("\nerror: "), "{said}");
        assert_eq!(tree(&at("new/out")), made);

        let out = run(&[], "What is 2+2?");
        assert_eq!((text(&out.stdout).as_str(), text(&out.stderr).as_str()), ("4\n", "the run made no files\n"));

        // Nothing is sent that cannot work.
        let before = standin.requests().len();
        let (script, full) = (at("make.sh").display().to_string(), at("make.sh/out").display().to_string());
        for args in [&["--file", &script][..], &["--file", "/dev/zero"], &["--out", &full]] {
            let out = run(args, "hi");
            assert_eq!(out.status.code(), Some(2), "{args:?}: {}", text(&out.stderr));
        }
        assert_eq!(standin.requests().len(), before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_of_a_file_leads_out_of_the_folder() {
    let standin = standin().await;
    blocking(move || {
        let server = Server::start(&standin);
        server.connect("claude");
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("outside")).unwrap();
        fs::write(at("outside/file"), "outside").unwrap();
        fs::create_dir(at("out")).unwrap();
        symlink("../outside", at("out/link")).unwrap();
        symlink("../outside/file", at("out/file")).unwrap();
        let out = at("out").display().to_string();
        let mut run = server.command(&["run", "claude", "[fault:slow 300] count to 10", "--out", &out]);
        let run = run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let id = || {
            let out = server.polydev(&["runs", "--output", "json"]);
            let list: Value = serde_json::from_slice(&out.stdout).unwrap();
            list["items"][0]["id"].as_str().map(str::to_owned)
        };
        host::until(Duration::from_secs(30), || id().is_some());
        // As a server would tell that is hostile, or was deceived by a sandbox.
        let absolute = at("outside/new").display().to_string();
        let paths =
            ["../outside/new", "a/../../outside/file", &absolute, "link/new", "file", "..", "fine.txt", "z\u{1b}[2J"];
        tokio::runtime::Handle::current().block_on(async {
            let store = Store::open(&sqlite_url(&server.data_dir().join("polydev.db"))).await.unwrap();
            for path in paths {
                store.put_output(&id().unwrap(), path, b"hostile").await.unwrap();
            }
            store.close().await;
        });
        let ended = run.wait_with_output().unwrap();
        let said = text(&ended.stderr);
        assert_eq!((ended.status.code(), text(&ended.stdout).as_str()), (Some(1), "1 2 3 4 5 6 7 8 9 10\n"), "{said}");
        assert!(said.contains(&format!("saved 1 file to {out}\nerror: 7 of 8 files were not saved\n")), "{said}");
        assert!(said.contains("`../outside/new` was not saved: its path must be relative"), "{said}");
        assert!(said.contains("`link/new` was not saved: `link` on its way is not a folder here"), "{said}");
        assert!(!said.contains('\u{1b}'), "{said}");
        assert_eq!(tree(&at("outside")), ["file=outside"]);
        assert_eq!(fs::read_to_string(at("out/fine.txt")).unwrap(), "hostile");
        assert_eq!((fs::read_dir(at("out")).unwrap().count(), fs::read_dir(dir.path()).unwrap().count()), (3, 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn model_tools_system_and_prompt_reach_the_provider() {
    let standin = standin().await;
    blocking(move || {
        let server = Server::start(&standin);
        server.connect("claude");
        let asked = |args: &[&str], stdin: &str| -> Value {
            let before = standin.requests().len();
            let out = server.polydev_with(&[&["run", "claude"], args].concat(), stdin);
            assert!(out.status.success(), "{}", text(&out.stderr));
            let requests = standin.requests().split_off(before);
            let bodies = requests.iter().filter(|request| request.path.starts_with("/v1/messages"));
            let bodies: Vec<Value> = bodies.filter_map(|request| serde_json::from_str(&request.body).ok()).collect();
            let ours = bodies.into_iter().rfind(|body| body["messages"].to_string().contains("from standard input"));
            ours.expect("the prompt reaches the provider")
        };
        let body =
            asked(&["--model", "claude-sonnet-4-5", "--system", "Answer as a pirate."], "echo from standard input");
        assert_eq!(body["model"], "claude-sonnet-4-5");
        assert!(body["system"].to_string().contains("Answer as a pirate."), "{}", body["system"]);
        assert!(body["tools"].as_array().is_some_and(|tools| !tools.is_empty()), "all tools when nothing is said");
        let body = asked(&["--tools", "none", "--timeout", "10m"], "echo from standard input");
        assert!(body["tools"].as_array().is_none_or(Vec::is_empty), "{}", body["tools"]);

        let out =
            server.polydev(&["run", "claude", "[fault:stall] count to 10", "--timeout", "2s", "--output", "json"]);
        let run: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!((out.status.code(), &run["error"]["code"]), (Some(1), &"timeout".into()), "{run}");
        let out = server.polydev(&["run", "claude", "hi", "--conversation", "new"]);
        assert_eq!(out.status.code(), Some(2), "conversations are to come");
        assert!(text(&out.stderr).contains("conversations are to come"), "{}", text(&out.stderr));
        for (args, status) in [
            (&["run", "claude", "hi", "--tools", "some"][..], 2),
            (&["run", "claude", "hi", "--timeout", "0"], 2),
            (&["run", "codex", "hi"], 3),
        ] {
            let out = server.polydev(args);
            assert_eq!(out.status.code(), Some(status), "{args:?}: {}", text(&out.stderr));
        }
    })
    .await;
}
