//! Anthropic's OAuth, as a Claude subscription is signed in with.
//!
//! Source: what Claude Code 2.1.330 sends, reads and tells apart.

use super::error;
use crate::{
    Ledger, Provider,
    accounts::{Bad, CLAUDE_SCOPES, Holder, NoGrant, Scope, Tokens},
    received::Received,
    reply::{Reply, json, late, with_header},
};
use serde_json::json;

/// What an API call by OAuth must name in `anthropic-beta`.
const BETA: &str = "oauth-2025-04-20";

/// How long a refresh token is said to be good for, in seconds.
const REFRESH_S: i64 = 30 * 24 * 3600;

/// `POST /v1/oauth/token`.
pub(super) fn token(request: &Received, ledger: &Ledger) -> Reply {
    let fields = request.fields();
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    match field("grant_type") {
        "authorization_code" => match ledger.redeem(Provider::Claude, &fields) {
            Ok(redeemed) => late(granted(&redeemed.tokens), redeemed.late),
            // One answer for all, with one exception that a tool in the making would want to know.
            Err(NoGrant::Unknown | NoGrant::Expired | NoGrant::Elsewhere | NoGrant::State) => {
                refused("invalid_grant", "Invalid authorization code")
            }
            Err(NoGrant::Verifier) => refused("invalid_grant", "Invalid code_verifier"),
        },
        "refresh_token" => match ledger.refresh(Provider::Claude, field("refresh_token")) {
            Ok(tokens) => granted(&tokens),
            // One answer for all: a token that was used, revoked or never given out.
            Err(Bad::Unknown | Bad::Used | Bad::Revoked) => {
                refused("invalid_grant", "Refresh token not found or invalid")
            }
            Err(Bad::Expired) => refused("invalid_grant", "Refresh token expired"),
        },
        _ => refused("unsupported_grant_type", "Unsupported grant type"),
    }
}

/// `POST /v1/oauth/token/revoke`: what `claude auth logout` asks for.
pub(super) fn revoke(request: &Received, ledger: &Ledger) -> Reply {
    if let Some(token) = request.fields().get("token") {
        ledger.give_back(token);
    }
    with_header(json(200, &json!({})), "request-id", "req_standin")
}

/// `GET /api/oauth/profile`.
pub(super) fn profile(holder: &Holder) -> Reply {
    let person = &holder.person;
    let body = json!({
        "account": {
            "uuid": person.uuid("claude account"), "email": person.email(), "full_name": person.name,
            "display_name": person.name, "has_claude_max": true, "has_claude_pro": false,
            "created_at": "2025-01-01T00:00:00Z",
        },
        "organization": {
            "uuid": person.uuid("claude organization"), "name": format!("{}'s organization", person.name),
            "organization_type": "claude_max", "rate_limit_tier": "default_claude_max_5x",
            "billing_type": "stripe_subscription", "subscription_created_at": "2025-01-01T00:00:00Z",
            "has_extra_usage_enabled": false, "cc_onboarding_flags": {}, "claude_code_trial_ends_at": null,
            "claude_code_trial_duration_days": null, "seat_tier": null,
        },
        "application": {"name": "Claude Code", "slug": "claude-code"},
    });
    with_header(json(200, &body), "request-id", "req_standin")
}

/// `GET /api/oauth/claude_cli/roles`.
pub(super) fn roles(holder: &Holder) -> Reply {
    let name = format!("{}'s organization", holder.person.name);
    let body = json!({"organization_role": "admin", "workspace_role": null, "organization_name": name});
    with_header(json(200, &body), "request-id", "req_standin")
}

/// Whose access token the request came with, or why it is refused.
pub(super) fn holder(request: &Received, token: &str, ledger: &Ledger) -> Result<Holder, Box<Reply>> {
    let refused = |message| Err(Box::new(error(401, "authentication_error", message)));
    match ledger.holder(Provider::Claude, token) {
        Ok(_) if needs_beta(request) && !allows_oauth(request) => {
            refused("OAuth authentication is currently not supported.")
        }
        Ok(holder) if holder.scope == Scope::Inference && request.path.starts_with("/api/oauth/") => {
            let message = "OAuth token does not meet scope requirement user:profile";
            Err(Box::new(error(403, "permission_error", message)))
        }
        Ok(holder) => Ok(holder),
        Err(Bad::Expired) => {
            refused("OAuth token has expired. Please obtain a new token or refresh your existing token.")
        }
        Err(Bad::Revoked) => refused("OAuth access token has been revoked. Please obtain a new token."),
        Err(Bad::Unknown | Bad::Used) => refused("Invalid bearer token"),
    }
}

/// The API proper. What is a login's own anyway, such as `/v1/mcp_servers`, has betas of its own.
fn needs_beta(request: &Received) -> bool {
    request.path.starts_with("/v1/messages") || request.path == "/v1/models"
}

fn allows_oauth(request: &Received) -> bool {
    let betas = request.header("anthropic-beta").unwrap_or_default();
    betas.split(',').any(|beta| beta.trim() == BETA)
}

fn granted(tokens: &Tokens) -> Reply {
    let person = &tokens.person;
    let scope = match tokens.scope {
        Scope::Login => CLAUDE_SCOPES.join(" "),
        Scope::Inference => "user:inference".to_owned(),
    };
    let mut body = json!({
        "token_type": "Bearer", "access_token": tokens.access, "expires_in": tokens.expires_in(), "scope": scope,
        "organization": {
            "uuid": person.uuid("claude organization"), "name": format!("{}'s organization", person.name),
        },
        "account": {"uuid": person.uuid("claude account"), "email_address": person.email()},
    });
    if !tokens.refresh.is_empty() {
        body["refresh_token"] = json!(tokens.refresh);
        body["refresh_token_expires_in"] = json!(REFRESH_S);
    }
    with_header(json(200, &body), "request-id", "req_standin")
}

fn refused(code: &str, description: &str) -> Reply {
    let body = json!({"error": code, "error_description": description});
    with_header(json(400, &body), "request-id", "req_standin")
}
