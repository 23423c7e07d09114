//! The OpenAPI document that is committed is the one that is served.

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
