//! Logins that are left, cancelled and killed at any moment: nothing is left of them, and what is kept is a login.

use super::{
    ask, blocking,
    hands::{shows, signs_in, sits_down, types},
    id, open, server, to_the_end,
};
use crate::support::{
    chance::{chance, shuffle},
    host,
    server::Server,
};
use polydev_server::domain::login::EventBody;
use polydev_standin::{Provider, Standin};
use proptest::{prelude::RngExt, test_runner::TestRng};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    fs,
    time::{Duration, Instant},
};
use tokio::time::{interval, timeout};

/// How long a login may take to come as far as it is to, and all of it to be gone.
const WITHIN: Duration = Duration::from_secs(60);

/// How far a login comes before something happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Requested,
    Preparing,
    Ready,
    /// The tool was asked to sign in.
    Asked,
    /// The provider has agreed: the tool has a code, and may have more.
    Granted,
    /// What the tool has was found, and is looked at: from now on it can be lost by the end of its sandbox alone.
    Found,
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Cancelled,
    SandboxKilled,
    AgentKilled,
    ServerKilled,
    /// Its person goes away, or has done all that is to be done.
    Left,
}

const STAGES: [Stage; 6] =
    [Stage::Requested, Stage::Preparing, Stage::Ready, Stage::Asked, Stage::Granted, Stage::Found];
const DEEDS: [Deed; 5] = [Deed::Cancelled, Deed::SandboxKilled, Deed::AgentKilled, Deed::ServerKilled, Deed::Left];

/// One login of one person.
#[derive(Debug)]
struct One {
    key: String,
    /// Who signs in at the provider.
    account: String,
    login: String,
    stage: Stage,
    deed: Deed,
}

impl One {
    /// Whether it can only end as a connection.
    fn connects(&self) -> bool {
        match self.deed {
            Deed::Left => self.stage >= Stage::Asked,
            Deed::ServerKilled => self.stage >= Stage::Found,
            Deed::Cancelled | Deed::SandboxKilled | Deed::AgentKilled => false,
        }
    }
}

/// A login as it is now.
async fn look(server: &Server, login: &str) -> Value {
    ask(server, Method::GET, &format!("/logins/{login}")).await.1
}

/// Waits until a login has come as far as it is to.
async fn comes_to(server: &Server, standin: &Standin, one: &One) {
    let since = Instant::now();
    let until = async |stage: Stage, is_there: &dyn Fn(&str) -> bool| loop {
        let login = look(server, &one.login).await;
        if is_there(login["status"].as_str().unwrap()) {
            return;
        }
        if since.elapsed() > WITHIN || !login["completed_at"].is_null() {
            let shown = if stage > Stage::Ready { shows(server, &one.login).await } else { String::new() };
            panic!("{one:?} does not come to {stage:?}: {login} {shown}\n{}", server.log());
        }
    };
    if one.stage >= Stage::Preparing {
        until(Stage::Preparing, &|status| status != "requested").await;
    }
    if one.stage >= Stage::Ready {
        until(Stage::Ready, &|status| status == "ready").await;
    }
    if one.stage >= Stage::Asked {
        sits_down(server, &one.login, Provider::Codex).await;
        types(server, &one.login, &signs_in(Provider::Codex, &one.account, None)).await;
    }
    if one.stage >= Stage::Granted {
        let account = standin.account(&one.account);
        until(Stage::Granted, &|_| account.logins(Provider::Codex) > 0).await;
    }
    if one.stage >= Stage::Found {
        until(Stage::Found, &|status| matches!(status, "verifying" | "connected")).await;
    }
}

/// Every sandbox that this person ever had.
async fn sandboxes(server: &Server) -> Vec<String> {
    let all = ask(server, Method::GET, "/sandboxes").await.1;
    all["items"].as_array().unwrap().iter().map(id).collect()
}

async fn does(mut server: Server, one: &One) -> Server {
    match one.deed {
        Deed::Left => {}
        Deed::Cancelled => {
            assert_eq!(ask(&server, Method::DELETE, &format!("/logins/{}", one.login)).await.0, 204);
        }
        Deed::SandboxKilled | Deed::AgentKilled => {
            let name = |process: &String| fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
            let is_meant =
                |process: &String| one.deed == Deed::SandboxKilled || name(process).starts_with("polydev-agent");
            let processes =
                sandboxes(&server).await.iter().flat_map(|sandbox| host::processes_of(sandbox)).collect::<Vec<_>>();
            for process in processes.iter().filter(|process| is_meant(process)) {
                // One may have gone with another.
                let _ = std::process::Command::new("kill").args(["-KILL", process]).output().unwrap();
            }
        }
        Deed::ServerKilled => {
            server = blocking(move || {
                server.kill();
                server.run();
                server
            })
            .await;
        }
    }
    server
}

/// Each deed once, at any stage, and one more who does all there is to do; in any order.
fn wishes(chance: &mut TestRng) -> Vec<(Stage, Deed)> {
    let mut deeds = DEEDS.to_vec();
    shuffle(&mut deeds, chance);
    let mut wishes: Vec<_> =
        deeds.into_iter().map(|deed| (STAGES[chance.random_range(0..STAGES.len())], deed)).collect();
    let at = chance.random_range(0..=wishes.len());
    wishes.insert(at, (Stage::Granted, Deed::Left));
    wishes
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_that_end_anyhow_leave_nothing_and_what_is_kept_is_a_login() {
    let mut chance = chance();
    let wishes = wishes(&mut chance);
    // Those who leave are not waited for.
    end_anyhow(&wishes, (2, 30), false).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make soak`"]
async fn a_hundred_logins_that_end_anyhow_leave_nothing_and_what_is_kept_is_a_login() {
    let mut chance = chance();
    let mut wish = || match chance.random::<bool>() {
        true => (Stage::Granted, Deed::Left),
        false => (STAGES[chance.random_range(0..STAGES.len())], DEEDS[chance.random_range(0..DEEDS.len())]),
    };
    let wishes: Vec<_> = (0..100).map(|_| wish()).collect();
    // Some find a desktop that was made ahead, and a server that is killed leaves one asleep, or half made.
    end_anyhow(&wishes, (6, 180), true).await;
}

/// Opens a login as soon as there is a place: who left it open has one until its time is over.
async fn opens(server: &Server, ttl_s: u32) -> String {
    let mut often = interval(Duration::from_secs(1));
    let open = async {
        loop {
            often.tick().await;
            let (_, login) = open(server, "codex").await;
            if login["error"]["code"] != "queue_full" {
                return id(&login);
            }
        }
    };
    timeout(WITHIN + Duration::from_secs(ttl_s.into()), open).await.expect("a place is free again")
}

/// As many logins as there are wishes, some at once, each with so many seconds, and desktops made ahead or not.
async fn end_anyhow(wishes: &[(Stage, Deed)], (at_once, ttl_s): (usize, u32), warm: bool) {
    let (mut server, standin) = server(&format!("[login]\nttl_s = {ttl_s}\n")).await;
    if warm {
        server = blocking(move || {
            server.stop();
            server.env.push(("POLYDEV__POOL__DESKTOP", "1".to_owned()));
            server.run();
            server
        })
        .await;
    }
    eprintln!("{wishes:?}");
    let mut all = Vec::new();
    for wishes in wishes.chunks(at_once) {
        let mut some = Vec::new();
        for (stage, deed) in wishes {
            let n = all.len() + some.len();
            let (again, key) = blocking(move || {
                let key = server.person(&format!("p{n}@example.com"));
                (server, key)
            })
            .await;
            server = again;
            server.key = key.clone();
            let login = opens(&server, ttl_s).await;
            some.push(One { key, account: format!("a{n}"), login, stage: *stage, deed: *deed });
        }
        for one in &some {
            server.key = one.key.clone();
            comes_to(&server, &standin, one).await;
            server = does(server, one).await;
            if one.connects() {
                // Before something happens to everybody: a tool whose server is killed may not get its tokens.
                let events = to_the_end(&server, &one.login).await;
                let last = &events[events.len() - 1].body;
                assert!(matches!(last, EventBody::Connected { .. }), "{one:?}: {events:?}\n{}", server.log());
            }
        }
        all.extend(some);
    }

    let mut used = Vec::new();
    for one in &all {
        server.key = one.key.clone();
        let events = to_the_end(&server, &one.login).await;
        let connected = matches!(events[events.len() - 1].body, EventBody::Connected { .. });
        used.extend(sandboxes(&server).await);
        let connections = ask(&server, Method::GET, "/connections").await.1;
        let connection = &connections["items"][0];
        assert_eq!(connection.is_object(), connected, "{one:?}: {events:?}");
        if connected {
            assert_eq!(connection["account"], json!(standin.account(&one.account).email()), "{one:?}");
            let verify = server.request(Method::POST, "/connections/codex/verify").json(&json!({}));
            let verified: Value = verify.send().await.unwrap().json().await.unwrap();
            assert_eq!(verified["status"], "active", "{one:?}");
        }
    }
    assert!(used.len() >= all.iter().filter(|one| one.stage >= Stage::Ready).count(), "{used:?}");
    let left = blocking(move || {
        let left = || used.iter().flat_map(|sandbox| host::leftovers(sandbox)).collect::<Vec<_>>();
        host::until(WITHIN, || server.sandboxes().len() <= usize::from(warm) && left().is_empty());
        server.stop_and_left()
    })
    .await;
    assert_eq!(left, (Some(0), vec![]));
}
