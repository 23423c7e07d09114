//! What admins may, and what nobody may but them.

use super::{Browser, PASSWORD, blocking, json_of, key, member, refused, said, with_admin};
use crate::support::server::deeds;
use polydev_sandbox::machine::State;
use polydev_server::{
    domain::sandbox::Work,
    store::{Store, sqlite_url},
};
use reqwest::Method;
use serde_json::{Value, json};

async fn patch(browser: &Browser, id: &str, body: Value) -> reqwest::Response {
    browser.request(Method::PATCH, &format!("/users/{id}")).json(&body).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_cannot_do_what_admins_do() {
    let (server, _standin, admin) = with_admin().await;
    let (id, bob) = member(&server, &admin, "bob@example.com").await;
    let me = admin.get("/me").await["id"].as_str().unwrap().to_owned();
    let (_, key) = key(&bob, &["runs:read", "runs:write", "connections", "logins"]).await;
    for ask in
        [&|method, path: &str| bob.request(method, path), &|method, path: &str| server.request_as(&key, method, path)]
            as [&dyn Fn(Method, &str) -> reqwest::RequestBuilder; 2]
    {
        for (method, path, body) in [
            (Method::GET, "/users".to_owned(), Value::Null),
            (Method::POST, "/users".into(), json!({ "email": "eve@example.com" })),
            (Method::PATCH, format!("/users/{me}"), json!({ "disabled": true })),
            (Method::PATCH, format!("/users/{id}"), json!({ "role": "admin" })),
            (Method::GET, format!("/audit?user_id={me}"), Value::Null),
            (Method::GET, format!("/runs?user_id={me}"), Value::Null),
            (Method::GET, "/runs?user_id=all".into(), Value::Null),
            (Method::GET, "/sandboxes?user_id=all".into(), Value::Null),
        ] {
            let request = ask(method.clone(), &path);
            let request = if body.is_null() { request } else { request.json(&body) };
            refused(request.send().await.unwrap(), 403, "forbidden").await;
        }
    }
    refused(bob.post("/keys", json!({ "scopes": ["admin"] })).await, 403, "forbidden").await;
    let audit = bob.get("/audit").await.to_string();
    assert!(!audit.contains(&me) || audit.contains(&id), "{audit}");
    for entry in bob.get("/audit").await["items"].as_array().unwrap() {
        assert!(entry["user_id"] == json!(id) || entry["actor"]["user_id"] == json!(id), "{entry}");
    }
    assert_eq!(bob.get(&format!("/audit?user_id={id}")).await["items"], bob.get("/audit").await["items"]);

    // Nor does an admin by a key that was not made for it.
    let (_, token) = self::key(&admin, &["runs:read"]).await;
    for path in ["/users", "/runs?user_id=all"] {
        refused(server.request_as(&token, Method::GET, path).send().await.unwrap(), 403, "forbidden").await;
    }
    let own = server.request_as(&token, Method::GET, "/audit").send().await.unwrap();
    for entry in json_of(own, 200).await["items"].as_array().unwrap() {
        assert!(entry["user_id"] == json!(me) || entry["actor"]["user_id"] == json!(me), "{entry}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logins_sandboxes_are_found_by_its_person_and_seen_by_admins() {
    let (server, _standin, admin) = with_admin().await;
    let me = admin.get("/me").await["id"].as_str().unwrap().to_owned();
    let (id, bob) = member(&server, &admin, "bob@example.com").await;
    let store = Store::open(&sqlite_url(&server.data_dir().join("polydev.db"))).await.unwrap();
    // Long gone, so that nobody looks after them.
    for (sandbox, user, login) in
        [("sbx_1", &id, "lgn_bob"), ("sbx_2", &id, "lgn_bob"), ("sbx_3", &id, "lgn_next"), ("sbx_4", &me, "lgn_mine")]
    {
        store.insert_sandbox(sandbox, Some((user, Work::Login(login))), "oci", "desktop-1", 1000).await.unwrap();
        store.set_sandbox(sandbox, &State::Gone, 2000).await.unwrap();
    }
    store.close().await;
    let ids = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    let first = bob.get("/sandboxes?login_id=lgn_bob&limit=1").await;
    assert_eq!((ids(&first), &first["items"][0]["login_id"]), (vec!["sbx_2".to_owned()], &json!("lgn_bob")), "{first}");
    let cursor = first["next_cursor"].as_str().unwrap();
    let next = bob.get(&format!("/sandboxes?login_id=lgn_bob&limit=1&cursor={cursor}")).await;
    assert_eq!((ids(&next), &next["next_cursor"]), (vec!["sbx_1".to_owned()], &Value::Null), "{next}");
    // What there is not, or is another's, is in no list of one's own; nor is nothing a filter.
    for none in ["lgn_mine", "lgn_none", "", "%00", "lgn%27%20OR%20%27%27=%27"] {
        assert_eq!(ids(&bob.get(&format!("/sandboxes?login_id={none}")).await), Vec::<String>::new(), "{none:?}");
    }
    assert_eq!(bob.get("/sandboxes").await["items"].as_array().unwrap().len(), 3);

    let others = format!("/sandboxes?login_id=lgn_bob&user_id={id}");
    assert_eq!(ids(&admin.get(&others).await), ["sbx_2", "sbx_1"]);
    assert_eq!(ids(&admin.get("/sandboxes?login_id=lgn_next&user_id=all").await), ["sbx_3"]);
    assert_eq!(
        ids(&admin.get("/sandboxes?login_id=lgn_bob").await),
        Vec::<String>::new(),
        "theirs is asked for by name"
    );
    for whose in [&me, "all"] {
        let asked = bob.request(Method::GET, &format!("/sandboxes?login_id=lgn_mine&user_id={whose}"));
        refused(asked.send().await.unwrap(), 403, "forbidden").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_switched_off_is_out_at_once() {
    let (server, _standin, admin) = with_admin().await;
    let (id, mut bob) = member(&server, &admin, "bob@example.com").await;
    let (_, token) = key(&bob, &["runs:read"]).await;
    let by_key = async || server.request_as(&token, Method::GET, "/me").send().await.unwrap().status().as_u16();
    let stream = bob.request(Method::GET, "/events").send().await.unwrap();
    let off = json_of(patch(&admin, &id, json!({ "disabled": true })).await, 200).await;
    assert!(off["disabled_at"].is_string(), "{off}");
    assert_eq!((bob.status("/me").await, by_key().await), (401, 401));
    assert_eq!(stream.text().await.unwrap(), "retry: 1000\n\n", "it has ended");
    let password = json_of(admin.post("/users", json!({ "email": "eve@example.com" })).await, 201).await;
    refused(bob.sign_in("bob@example.com", password["password"].as_str().unwrap()).await, 401, "unauthenticated").await;

    let on = json_of(patch(&admin, &id, json!({ "disabled": false, "role": "admin" })).await, 200).await;
    assert_eq!((&on["disabled_at"], &on["role"]), (&Value::Null, &json!("admin")));
    assert_eq!((bob.status("/me").await, by_key().await), (401, 200), "a key works again, a session does not");
    refused(patch(&admin, &id, json!({})).await, 422, "invalid_request").await;
    refused(patch(&admin, &id, json!({ "role": "boss" })).await, 422, "invalid_request").await;
    refused(patch(&admin, "usr_none", json!({ "disabled": true })).await, 404, "not_found").await;
    refused(admin.post("/users", json!({ "email": "BOB@example.com" })).await, 409, "conflict").await;

    // Two admins: each may go, but not both.
    let me = admin.get("/me").await["id"].as_str().unwrap().to_owned();
    assert_eq!(patch(&admin, &id, json!({ "role": "member" })).await.status(), 200);
    for last in [json!({ "disabled": true }), json!({ "role": "member" })] {
        let error = refused(patch(&admin, &me, last).await, 409, "conflict").await;
        assert_eq!(error["message"], "the last admin must stay one");
    }
    assert_eq!(admin.status("/users").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_is_on_record() {
    let (server, _standin, admin) = with_admin().await;
    let me = admin.get("/me").await["id"].as_str().unwrap().to_owned();
    let (id, mut bob) = member(&server, &admin, "bob@example.com").await;
    let newest = async |browser: &Browser| deeds(&browser.get("/audit").await).swap_remove(0);
    let entry = newest(&admin).await;
    assert_eq!((&entry["action"], &entry["outcome"]), (&json!("session.create"), &json!("ok")));
    assert_eq!((&entry["user_id"], &entry["actor"]["kind"]), (&json!(id), &json!("anonymous")));
    assert!(entry["target"].as_str().unwrap().starts_with("ses_"), "{entry}");
    assert_eq!(entry["actor"]["address"], "127.0.0.1");

    refused(bob.sign_in("bob@example.com", "something else").await, 401, "unauthenticated").await;
    let entry = newest(&bob).await;
    assert_eq!((&entry["outcome"], &entry["code"]), (&json!("failed"), &json!("unauthenticated")), "bob sees that too");
    refused(bob.sign_in("nobody@example.com", PASSWORD).await, 401, "unauthenticated").await;
    let entry = newest(&admin).await;
    assert_eq!((&entry["user_id"], &entry["target"], &entry["detail"]), (&Value::Null, &Value::Null, &Value::Null));

    let made = bob.post("/keys", json!({ "name": "ci", "scopes": ["runs:read"] })).await;
    let request_id = made.headers()["x-request-id"].to_str().unwrap().to_owned();
    let made = json_of(made, 201).await;
    let entry = newest(&bob).await;
    assert_eq!((&entry["action"], &entry["target"]), (&json!("key.create"), &made["id"]));
    assert_eq!((&entry["detail"], &entry["request_id"]), (&json!("runs:read"), &json!(request_id)));
    assert_eq!((&entry["actor"]["kind"], &entry["actor"]["user_id"]), (&json!("session"), &json!(id)));
    assert_eq!(entry["actor"]["token_id"], bob.get("/sessions").await["items"][0]["id"]);

    refused(patch(&admin, &me, json!({ "disabled": true })).await, 409, "conflict").await;
    let entry = newest(&admin).await;
    assert_eq!((&entry["action"], &entry["detail"]), (&json!("user.update"), &json!("disabled=true")));
    assert_eq!((&entry["outcome"], &entry["code"]), (&json!("failed"), &json!("conflict")));

    // On the server's machine.
    let key = made["id"].as_str().unwrap().to_owned();
    let _server = blocking(move || {
        said(&server, &["key", "revoke", &key]);
        said(&server, &["user", "password", "bob@example.com"]);
        said(&server, &["user", "disable", "bob@example.com"]);
        server
    })
    .await;
    let entries = admin.get(&format!("/audit?user_id={id}&limit=3")).await;
    let actions: Vec<_> = entries["items"].as_array().unwrap().iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(actions, ["user.update", "password.reset", "key.revoke"]);
    for entry in entries["items"].as_array().unwrap() {
        assert_eq!((&entry["actor"]["kind"], &entry["outcome"]), (&json!("local"), &json!("ok")), "{entry}");
    }

    // Connections: kept, asked about, refused, forgotten.
    let put = async |key: &str| {
        let put = admin.request(Method::PUT, "/connections/claude").json(&json!({ "api_key": key }));
        put.send().await.unwrap().status().as_u16()
    };
    assert_eq!(put("sk-ant-standin-test").await, 200);
    assert_eq!(put("sk-ant-standin-revoked").await, 409);
    assert_eq!(admin.post("/connections/claude/verify", json!({})).await.status(), 200);
    assert_eq!(admin.delete("/connections/claude").await, 204);
    let said: Vec<_> = deeds(&admin.get("/audit").await)
        .iter()
        .take(4)
        .map(|entry| json!([entry["action"], entry["target"], entry["outcome"], entry["code"]]))
        .collect();
    assert_eq!(
        said,
        [
            json!(["connection.delete", "claude", "ok", null]),
            json!(["connection.verify", "claude", "ok", null]),
            json!(["connection.put", "claude", "failed", "needs_reconnect"]),
            json!(["connection.put", "claude", "ok", null]),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_under_way_when_the_server_was_killed_stays_open() {
    // A provider that is never heard of again.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", silent.local_addr().unwrap()).leak();
    let env = vec![("POLYDEV__EGRESS__UPSTREAM_PROXY", &*proxy)].leak();
    let (mut server, _standin) = super::empty(env).await;
    let mut browser = Browser::new(&server);
    assert_eq!(browser.set_up(&super::token_of(&server), "ann@example.com").await.status(), 201);
    let put = browser.request(Method::PUT, "/connections/claude").json(&json!({ "api_key": "sk-ant-test" }));
    let put = tokio::spawn(put.send());
    let asked = silent.accept().await.unwrap();
    let server = blocking(move || {
        server.kill();
        server.run();
        server
    })
    .await;
    assert!(put.await.unwrap().is_err());
    browser.moved_to(&server);
    // A new server may have found something of its host meanwhile, and put that on record too.
    let audit = browser.get("/audit").await;
    let entry = audit["items"].as_array().unwrap().iter().find(|entry| entry["action"] == "connection.put");
    let entry = entry.unwrap_or_else(|| panic!("{audit}"));
    assert_eq!(entry["target"], "claude", "{entry}");
    assert_eq!((&entry["outcome"], &entry["finished_at"]), (&Value::Null, &Value::Null), "{entry}");
    drop(asked);
}
