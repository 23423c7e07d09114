//! A hostile desktop: where a whole login lay, and its person was asked about it, something else lies when they agree.

use super::{WITHIN, ask, asks_about, guest, import, post, ready, server, until_after};
use crate::support::{guest::shell, server::Server};
use futures_util::future::join_all;
use polydev_sandbox::{Guest, image::HOME};
use polydev_server::{
    domain::login::{Event, EventBody},
    providers::by_name,
};
use polydev_standin::{Account, Provider, Standin};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::time::timeout;

/// What is put where the file `$F` is, and why it is not kept. The link leads to the same login.
const INSTEAD: [(&str, &str); 4] = [
    ("cp $F /tmp/whole; ln -sfT /tmp/whole $F.new; mv -T $F.new $F", "it is no regular file"),
    ("mkfifo $F.new; mv -T $F.new $F", "it is no regular file"),
    // With nearly no time in between, in which nothing would lie there.
    ("F=$F node -e 'f=process.env.F;fs.mkdirSync(f+1);fs.unlinkSync(f);fs.renameSync(f+1,f)'", "it is no regular file"),
    ("truncate -s 200M $F", "it is far too large"),
];

/// A login, and the sandbox where somebody has all rights that a person at its desktop has.
struct Desk<'a> {
    server: &'a Server,
    login: String,
    guest: Guest,
    account: &'a Account,
    provider: Provider,
    /// Where the tool keeps its login, and whether it must.
    files: BTreeMap<&'static str, (String, bool)>,
    /// The last event that was looked at.
    seen: i64,
}

impl<'a> Desk<'a> {
    async fn at(server: &'a Server, name: &str, provider: Provider, account: &'a Account) -> Self {
        let login = ready(server, name).await;
        let (_, of) = ask(server, Method::GET, &format!("/sandboxes?login_id={login}")).await;
        let guest = guest(server, of["items"][0]["id"].as_str().unwrap_or_else(|| panic!("{of}")));
        let files = by_name(name).unwrap().sign_in().files().iter();
        let files = files.map(|file| (file.name, (format!("{HOME}/{}", file.path), file.required))).collect();
        Self { server, login, guest, account, provider, files, seen: 0 }
    }

    /// The next event that is such, and the ones before it.
    async fn next(&mut self, is_such: impl Fn(&Event) -> bool) -> Vec<Event> {
        let events = timeout(WITHIN, until_after(self.server, &self.login, self.seen, is_such)).await;
        let events = events.unwrap_or_else(|_| panic!("it is not told\n{}", self.server.log()));
        self.seen = events[events.len() - 1].seq;
        events
    }

    /// Has a whole login of another account than is connected, which its person is asked about.
    async fn is_asked(&mut self) {
        for (name, content) in self.account.login_files(self.provider) {
            let (path, _) = &self.files[name.as_str()];
            shell(&self.guest, &format!("clear{}{name}", self.seen), &format!("rm -rf {path}")).await;
            self.guest.write_file(path, 0o600, &content).await.unwrap();
        }
        self.next(asks_about(self.account)).await;
    }

    /// Says yes to that.
    async fn agrees(&self) -> u16 {
        let body = json!({ "account": self.account.email() });
        post(self.server, &format!("/logins/{}/confirm", self.login), body).await.0
    }

    async fn puts(&self, what: &str, at: &str) {
        let put = shell(&self.guest, &format!("put{}", self.seen), &format!("set -e; F={at}; {what}; echo put")).await;
        assert_eq!(put, "put\n", "{what}");
    }
}

/// Tries all of it at this provider's desktop, and signs in there in the end.
async fn nothing_else_is_kept(server: &Server, standin: &Standin, name: &str, provider: Provider) {
    let (ada, bob) = (standin.account("ada"), standin.account("bob"));
    import(server, name, &ada, provider).await;
    let mut desk = Desk::at(server, name, provider, &bob).await;
    let connected = async || {
        let all = ask(server, Method::GET, "/connections").await.1["items"].as_array().unwrap().clone();
        all.into_iter().find(|one| one["provider"] == name).unwrap()["account"].clone()
    };
    let first = desk.files.values().find(|(_, required)| *required).unwrap().0.clone();
    for (what, why) in INSTEAD {
        desk.is_asked().await;
        desk.puts(what, &first).await;
        // It may have been looked at meanwhile, and then nothing is asked any more.
        let agreed = desk.agrees().await;
        assert!(matches!(agreed, 200 | 409), "{name}, {what}: {agreed}");
        let events = desk.next(|event| matches!(event.body, EventBody::NotProven { .. })).await;
        let EventBody::NotProven { error } = &events[events.len() - 1].body else {
            panic!("{name}, {what}: {events:?}")
        };
        assert!(error.message.contains(why), "{name}, {what}: {error:?}");
        let open = async || ask(server, Method::GET, &format!("/logins/{}", desk.login)).await.1;
        let again = async { while open().await["status"] != "ready" {} };
        timeout(WITHIN, again).await.expect("it is open as before");
        assert_eq!(open().await["question"], Value::Null);
        assert_eq!(connected().await, json!(ada.email()), "{name}, {what}");
    }
    // What there may be beside it holds up nobody.
    desk.is_asked().await;
    for (path, required) in desk.files.values() {
        if !required {
            desk.puts("rm -f $F; mkfifo $F", path).await;
        }
    }
    assert_eq!(desk.agrees().await, 200);
    let events = desk.next(|event| event.body.is_last()).await;
    assert!(matches!(events[events.len() - 1].body, EventBody::Connected { .. }), "{name}: {events:?}");
    assert_eq!(connected().await, json!(bob.email()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_a_logins_place_is_not_followed_waited_for_or_kept() {
    let (server, standin) = server("").await;
    let all = [("claude", Provider::Claude), ("codex", Provider::Codex), ("gemini", Provider::Gemini)];
    join_all(all.map(|(name, provider)| nothing_else_is_kept(&server, &standin, name, provider))).await;
}
