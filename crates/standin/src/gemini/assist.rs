//! Google's Code Assist, which Gemini CLI asks with a login instead of an API key.
//!
//! Source: what Gemini CLI 0.61.0 sends and reads. A request wraps one of the Generative Language API's, and so does
//! an answer.

use super::{GenerateRequest, Shape, error, generate, not_found};
use crate::{
    accounts::Holder,
    received::Received,
    reply::{Reply, json},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// The paths that are played begin so; the method's name follows.
pub(super) const PATH: &str = "/v1internal:";

#[derive(Deserialize)]
struct Wrapped {
    #[serde(default)]
    model: String,
    request: GenerateRequest,
}

/// Answers a call of a method.
pub(super) fn answer(request: &Received, method: &str, holder: &Holder) -> Reply {
    match method {
        "loadCodeAssist" => json(200, &load(holder)),
        "onboardUser" => {
            let response = json!({"cloudaicompanionProject": {"id": project(holder), "name": project(holder)}});
            json(200, &json!({"name": "operations/standin", "done": true, "response": response}))
        }
        "streamGenerateContent" => wrapped(request, true),
        "generateContent" => wrapped(request, false),
        "countTokens" => json(200, &json!({"totalTokens": 12})),
        "listExperiments" => json(200, &json!({"experimentIds": [], "flags": []})),
        "retrieveUserQuota" => json(200, &json!({"buckets": []})),
        "fetchAdminControls" | "recordCodeAssistMetrics" | "setCodeAssistGlobalUserSetting" => json(200, &json!({})),
        _ => not_found(),
    }
}

fn wrapped(request: &Received, stream: bool) -> Reply {
    match serde_json::from_slice::<Wrapped>(&request.body) {
        Ok(asked) => generate(asked.request, &asked.model, stream, Shape::Wrapped),
        Err(e) => error(400, "INVALID_ARGUMENT", &e.to_string(), &[]),
    }
}

/// Someone who is signed up, with a licence for Code Assist Standard.
fn load(holder: &Holder) -> Value {
    let tier = json!({
        "id": "standard-tier", "name": "Gemini Code Assist",
        "description": "Unlimited coding assistant with the most powerful Gemini models",
        "userDefinedCloudaicompanionProject": true, "privacyNotice": {},
    });
    json!({
        "currentTier": tier, "allowedTiers": [tier], "cloudaicompanionProject": project(holder), "gcpManaged": false,
    })
}

fn project(holder: &Holder) -> String {
    format!("standin-{}", holder.person.name)
}
