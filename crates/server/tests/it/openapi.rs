//! The OpenAPI document that is committed is the one that is served, and says of itself what holds of all endpoints.

use std::path::Path;

#[test]
fn the_committed_document_is_the_served_one() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi/polydev.json");
    let served = serde_json::to_string_pretty(&polydev_server::api::document()).unwrap() + "\n";
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == served,
        "openapi/polydev.json is not what the server serves; see that the change is meant, then write it anew with \
         `cargo run -p polydev-server -- openapi > openapi/polydev.json`"
    );
}

#[test]
fn what_is_asked_for_twice_is_done_once_but_where_secrets_pass() {
    let document = serde_json::to_value(polydev_server::api::document()).unwrap();
    let mut twice = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["post", "put"] {
            let parameters = item[method]["parameters"].as_array();
            let once = parameters.into_iter().flatten().any(|parameter| parameter["name"] == "Idempotency-Key");
            if item[method].is_object() && !once {
                twice.push(path.as_str());
            }
        }
    }
    let secret = ["/keys", "/me/password", "/session", "/setup", "/users"].map(|path| format!("/api/v1{path}"));
    assert_eq!(twice, secret);
}
