//! OpenAI's OAuth and ChatGPT's backend, as Codex uses them with a ChatGPT login.
//!
//! Source: what Codex 0.169.0 sends, reads and tells apart.

use super::error;
use crate::{
    Ledger, Provider,
    accounts::{Bad, Holder, NoGrant, Tokens, random},
    received::Received,
    reply::{Reply, json, late, with_header},
};
use serde_json::{Value, json};

/// `POST /oauth/token`: a form at sign-in, JSON for a refresh.
pub(super) fn token(request: &Received, ledger: &Ledger) -> Reply {
    let fields = request.fields();
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    match field("grant_type") {
        "authorization_code" => match ledger.redeem(Provider::Codex, &fields) {
            Ok(redeemed) => late(granted(&redeemed.tokens), redeemed.late),
            Err(NoGrant::Unknown | NoGrant::Expired | NoGrant::Elsewhere | NoGrant::Verifier | NoGrant::State) => {
                refused(400, "invalid_grant", "Invalid authorization code.")
            }
        },
        "refresh_token" => match ledger.refresh(Provider::Codex, field("refresh_token")) {
            Ok(tokens) => granted(&tokens),
            Err(Bad::Used) => {
                let message = "Your refresh token has already been used to generate a new access token. \
                               Please try signing in again.";
                refused(401, "refresh_token_reused", message)
            }
            Err(Bad::Revoked) => {
                let message = "Your refresh token has been invalidated. Please try signing in again.";
                refused(401, "refresh_token_invalidated", message)
            }
            Err(Bad::Unknown | Bad::Expired) => {
                let message = "Could not validate your token. Please try signing in again.";
                refused(401, "refresh_token_expired", message)
            }
        },
        // An id token for an API key: asked for once, right after signing in.
        "urn:ietf:params:oauth:grant-type:token-exchange" if ledger.is_mute(field("subject_token")) => {
            refused(500, "server_error", "The server had an error while processing your request.")
        }
        "urn:ietf:params:oauth:grant-type:token-exchange" => {
            json(200, &json!({"access_token": api_key(), "token_type": "Bearer"}))
        }
        _ => refused(400, "unsupported_grant_type", "Unsupported grant type."),
    }
}

/// An API key as a token exchange gives it.
pub(crate) fn api_key() -> String {
    format!("{}exchanged-{}", super::KEY, random())
}

/// `POST /oauth/revoke`: what `codex logout` asks for.
pub(super) fn revoke(request: &Received, ledger: &Ledger) -> Reply {
    if let Some(token) = request.fields().get("token") {
        ledger.give_back(token);
    }
    json(200, &json!({}))
}

/// Whose access token the request came with, or why it is refused.
pub(super) fn holder(request: &Received, ledger: &Ledger) -> Result<Holder, Box<Reply>> {
    let refused = |code, message| {
        let error = json!({"message": message, "type": null, "code": code, "param": null});
        let body = json!({"error": error, "status": 401});
        Err(Box::new(with_header(json(401, &body), "x-request-id", "req_standin")))
    };
    let Some(token) = request.bearer() else {
        return Err(Box::new(error(401, "invalid_request_error", "Unauthorized", None)));
    };
    match ledger.holder(Provider::Codex, token) {
        Ok(holder) => Ok(holder),
        Err(Bad::Expired) => {
            refused("token_expired", "Provided authentication token is expired. Please try signing in again.")
        }
        Err(Bad::Revoked) => {
            refused("token_invalidated", "Your authentication token has been invalidated. Please try signing in again.")
        }
        Err(Bad::Unknown | Bad::Used) => refused("invalid_token", "Could not parse your authentication token."),
    }
}

/// `GET /backend-api/wham/accounts/check`.
pub(super) fn accounts_check(holder: &Holder) -> Reply {
    // All that the person has, of which the token is for one: here the second.
    let [other, own] = ["chatgpt account of another workspace", "chatgpt account"].map(|id| holder.person.uuid(id));
    // Where the account's workspace is served: without it, no request for an answer is made.
    let account = |id: &str, plan: &str| {
        json!({
            "id": id, "name": null, "plan_type": plan, "structure": "personal", "profile_picture_url": null,
            "is_deactivated": false, "can_access_with_session": true, "sso_connection_name": null,
            "is_fedramp_compliant_workspace": false, "workspace_backend_origin": "https://chatgpt.com",
            "account_routing_override": "NO_CONSTRAINT",
        })
    };
    let accounts = [account(&other, "free"), account(&own, "plus")];
    json(200, &json!({"accounts": accounts, "account_ordering": [other, own], "default_account_id": other}))
}

/// `GET /backend-api/wham/usage`.
pub(super) fn usage() -> Reply {
    let window = json!({
        "used_percent": 1, "limit_window_seconds": 18_000, "reset_after_seconds": 18_000,
        "reset_at": 1_767_225_600,
    });
    let limit = json!({"allowed": true, "limit_reached": false, "primary_window": window, "secondary_window": null});
    json(200, &json!({"plan_type": "plus", "rate_limit": limit, "credits": null}))
}

fn granted(tokens: &Tokens) -> Reply {
    let body = json!({
        "access_token": tokens.access, "id_token": tokens.id, "refresh_token": tokens.refresh,
        "token_type": "Bearer", "expires_in": tokens.expires_in(),
        "scope": "openid profile email offline_access",
    });
    json(200, &body)
}

fn refused(status: u16, code: &str, message: &str) -> Reply {
    let error = json!({"message": message, "type": "invalid_request_error", "param": Value::Null, "code": code});
    json(status, &json!({"error": error}))
}
