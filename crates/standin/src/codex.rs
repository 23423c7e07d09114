//! OpenAI's API, as Codex uses it.
use crate::{
    proxy::Received,
    reply::{Reply, json},
};
/// The hosts that are played here.
pub(crate) const HOSTS: &[&str] = &["api.openai.com", "chatgpt.com", "auth.openai.com"];
/// Answers one request.
pub(crate) fn answer(_request: &Received) -> Reply {
    json(404, &serde_json::json!({}))
}
