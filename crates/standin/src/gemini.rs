//! Google's API, as Gemini CLI uses it.
use crate::{
    proxy::Received,
    reply::{Reply, json},
};
/// The hosts that are played here.
pub(crate) const HOSTS: &[&str] = &["generativelanguage.googleapis.com"];
/// Answers one request.
pub(crate) fn answer(_request: &Received) -> Reply {
    json(404, &serde_json::json!({}))
}
