//! Google's OAuth, as Gemini CLI uses it.
//!
//! Source: the public reference of Google's OAuth, and what Gemini CLI 0.61.0 sends. A refresh token of Google's
//! is not used up: it stays until it is revoked, and an answer to a refresh has none.

use super::error;
use crate::{
    Ledger, Provider,
    accounts::{Bad, GEMINI_SCOPE, Holder, NoGrant, Tokens},
    clock,
    received::Received,
    reply::{Reply, json, late},
};
use serde_json::json;

/// `POST https://oauth2.googleapis.com/token`, a form.
pub(super) fn token(request: &Received, ledger: &Ledger) -> Reply {
    let fields = request.fields();
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    match field("grant_type") {
        "authorization_code" => match ledger.redeem(Provider::Gemini, &fields) {
            Ok(redeemed) => late(granted(&redeemed.tokens, true), redeemed.late),
            Err(NoGrant::Unknown | NoGrant::Expired | NoGrant::State) => {
                refused("invalid_grant", "Malformed auth code.")
            }
            Err(NoGrant::Elsewhere) => refused("redirect_uri_mismatch", "Bad Request"),
            Err(NoGrant::Verifier) => refused("invalid_grant", "Invalid code verifier."),
        },
        "refresh_token" => match ledger.refresh(Provider::Gemini, field("refresh_token")) {
            Ok(tokens) => granted(&tokens, false),
            Err(Bad::Unknown | Bad::Used | Bad::Expired) => refused("invalid_grant", "Bad Request"),
            Err(Bad::Revoked) => refused("invalid_grant", "Token has been expired or revoked."),
        },
        _ => refused("unsupported_grant_type", "Invalid grant_type: "),
    }
}

/// `POST https://oauth2.googleapis.com/revoke`.
pub(super) fn revoke(request: &Received, ledger: &Ledger) -> Reply {
    if let Some(token) = request.fields().get("token") {
        ledger.give_back(token);
    }
    json(200, &json!({}))
}

/// `POST https://oauth2.googleapis.com/tokeninfo`.
pub(super) fn token_info(request: &Received, ledger: &Ledger) -> Reply {
    let token = request.bearer().unwrap_or_default();
    match ledger.holder(Provider::Gemini, token) {
        Ok(holder) if holder.mute => error(500, "INTERNAL", super::INTERNAL, &[]),
        Ok(holder) => {
            let body = json!({
                "sub": holder.person.number("google"), "scope": GEMINI_SCOPE, "email": holder.person.email(),
                "email_verified": "true", "access_type": "offline",
                "exp": holder.expires.as_second().to_string(),
                "expires_in": (holder.expires.as_second() - clock::now().as_second()).to_string(),
            });
            json(200, &body)
        }
        Err(_) => json(400, &json!({"error": "invalid_token", "error_description": "Invalid Value"})),
    }
}

/// `GET https://www.googleapis.com/oauth2/v2/userinfo`.
pub(super) fn user_info(holder: &Holder) -> Reply {
    let person = &holder.person;
    let body = json!({
        "id": person.number("google"), "email": person.email(), "verified_email": true, "name": person.name,
        "given_name": person.name, "picture": "",
    });
    json(200, &body)
}

/// Whose access token the request came with, or why it is refused: Google says the same of an expired one.
pub(super) fn holder(request: &Received, ledger: &Ledger) -> Result<Holder, Box<Reply>> {
    let token = request.bearer().unwrap_or_default();
    ledger.holder(Provider::Gemini, token).map_err(|_| {
        let details = json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "ACCESS_TOKEN_EXPIRED",
            "domain": "googleapis.com", "metadata": {"service": request.host},
        });
        Box::new(error(401, "UNAUTHENTICATED", super::UNAUTHENTICATED, &[details]))
    })
}

fn granted(tokens: &Tokens, first: bool) -> Reply {
    let mut body = json!({
        "access_token": tokens.access, "expires_in": tokens.expires_in(), "scope": GEMINI_SCOPE,
        "token_type": "Bearer", "id_token": tokens.id,
    });
    if first && !tokens.refresh.is_empty() {
        body["refresh_token"] = json!(tokens.refresh);
    }
    json(200, &body)
}

fn refused(code: &str, description: &str) -> Reply {
    json(400, &json!({"error": code, "error_description": description}))
}
