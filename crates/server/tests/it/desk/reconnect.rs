//! Signing in again, as oneself and as another, and two people at a time.

use super::{
    WITHIN, ask, asks_about, blocking,
    hands::{authorizes_in_firefox, signs_in, sits_down, types},
    import, post, ready, server, to_the_end, until,
};
use crate::support::{host, server::Server};
use polydev_server::domain::login::EventBody;
use polydev_standin::Provider;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

async fn connection(server: &Server) -> Value {
    ask(server, Method::GET, "/connections").await.1["items"][0].clone()
}

/// The same server with another person's key.
async fn with_another_person(server: Server) -> (Server, String) {
    blocking(move || {
        let key = server.person("two@example.com");
        (server, key)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_is_asked_about_and_two_people_each_get_their_own() {
    let (server, standin) = server("").await;
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|name| standin.account(name));
    import(&server, "claude", &ada, Provider::Claude).await;
    ada.revoke(Provider::Claude);
    assert_eq!(post(&server, "/connections/claude/verify", json!({})).await.1["status"], "needs_reconnect");

    // Two people at once, with one provider.
    let (mut server, second) = with_another_person(server).await;
    let first = server.key.clone();
    let login = ready(&server, "claude").await;
    server.key = second.clone();
    let others = ready(&server, "claude").await;
    types(&server, &others, "claude auth login\n").await;
    authorizes_in_firefox(&server, &others, &standin).await;
    server.key = first.clone();
    sits_down(&server, &login, Provider::Claude).await;
    types(&server, &login, &signs_in(Provider::Claude, "bob", None)).await;
    server.key = second.clone();
    let all = to_the_end(&server, &others).await;
    assert!(matches!(all[all.len() - 1].body, EventBody::Connected { .. }), "{all:?}\n{}", server.log());
    assert_eq!(connection(&server).await["account"], json!(ada.email()));

    // Who had another account is asked, and the old one stays until they agree.
    server.key = first.clone();
    until(&server, &login, asks_about(&bob)).await;
    let path = format!("/logins/{login}");
    let (_, asked) = ask(&server, Method::GET, &path).await;
    assert_eq!(asked["status"], "verifying");
    assert_eq!(asked["question"], json!({ "account": bob.email(), "before": ada.email() }));
    let before = connection(&server).await;
    assert_eq!((&before["status"], &before["account"]), (&json!("needs_reconnect"), &json!(ada.email())));
    let confirm = format!("{path}/confirm");
    let (status, refused) = post(&server, &confirm, json!({ "account": eve.email() })).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("conflict")), "{refused}");
    // To sign in anew is an answer too, which is asked about again; a server that is killed meanwhile asks the same.
    types(&server, &login, &signs_in(Provider::Claude, "eve", None)).await;
    until(&server, &login, asks_about(&eve)).await;
    server = blocking(move || {
        server.kill();
        server.run();
        server
    })
    .await;
    until(&server, &login, asks_about(&eve)).await;
    let (status, refused) = post(&server, &confirm, json!({ "account": bob.email() })).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("conflict")), "{refused}");
    // The server that was started looks anew, and for that moment asks nothing.
    let agreed = async { while post(&server, &confirm, json!({ "account": eve.email() })).await.0 != 200 {} };
    timeout(WITHIN, agreed).await.expect("it is asked again");
    let all = to_the_end(&server, &login).await;
    assert!(matches!(all[all.len() - 1].body, EventBody::Connected { .. }), "{all:?}\n{}", server.log());
    let after = connection(&server).await;
    assert_eq!((&after["status"], &after["account"]), (&json!("active"), &json!(eve.email())), "{after}");
    let (status, over) = post(&server, &confirm, json!({ "account": eve.email() })).await;
    assert_eq!((status, &over["error"]["code"]), (410, &json!("gone")), "{over}");
    server.key = second;
    assert_eq!(connection(&server).await["account"], json!(ada.email()), "the other person has theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desktop_that_dies_with_a_login_in_it_says_what_is_left_of_it() {
    let (server, standin) = server("").await;
    let (ada, bob) = (standin.account("ada"), standin.account("bob"));
    import(&server, "claude", &ada, Provider::Claude).await;
    let login = ready(&server, "claude").await;
    sits_down(&server, &login, Provider::Claude).await;
    types(&server, &login, &signs_in(Provider::Claude, "bob", None)).await;
    until(&server, &login, asks_about(&bob)).await;
    for process in host::processes_of(&server.sandboxes()[0]) {
        // One may have gone with another.
        let _ = std::process::Command::new("kill").args(["-KILL", &process]).output().unwrap();
    }
    let all = to_the_end(&server, &login).await;
    let EventBody::Failed { error } = &all[all.len() - 1].body else { panic!("{all:?}") };
    let hint = error.hint.clone().unwrap_or_default();
    assert!(hint.contains("sign in again") && hint.contains("https://claude.ai/"), "{error:?}");
    let (_, over) = ask(&server, Method::GET, &format!("/logins/{login}")).await;
    assert_eq!(over["question"], Value::Null);
    let kept = connection(&server).await;
    assert_eq!((&kept["status"], &kept["account"]), (&json!("active"), &json!(ada.email())), "the old one is kept");
    let (status, again) = super::open(&server, "claude").await;
    assert_eq!(status, 201, "{again}");
}
