//! The files that a finished login leaves, as the tools write them.
//!
//! Source: what Claude Code 2.1.330, Codex 0.169.0 and Gemini CLI 0.61.0 wrote.

use super::{
    ledger::Tokens,
    token::{self, CODEX_CLIENT},
};
use crate::Provider;
use serde::Serialize;
use std::collections::BTreeMap;

/// How long a refresh token of claude's is good for, in milliseconds.
const CLAUDE_REFRESH_MS: i64 = 30 * 24 * 3600 * 1000;

/// What a login of claude's is good for.
pub(crate) const CLAUDE_SCOPES: [&str; 5] =
    ["user:profile", "user:inference", "user:sessions:claude_code", "user:mcp_servers", "user:file_upload"];

/// What a login of gemini's is good for.
pub(crate) const GEMINI_SCOPE: &str = "https://www.googleapis.com/auth/userinfo.profile \
     https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/cloud-platform openid";

/// The files of a login: their names below the tool's own folder, and what is in them.
pub(crate) fn of(provider: Provider, tokens: &Tokens) -> BTreeMap<String, Vec<u8>> {
    match provider {
        Provider::Claude => BTreeMap::from([(".credentials.json".to_owned(), claude(tokens))]),
        Provider::Codex => BTreeMap::from([("auth.json".to_owned(), codex(tokens))]),
        Provider::Gemini => BTreeMap::from([
            ("oauth_creds.json".to_owned(), gemini(tokens)),
            ("google_accounts.json".to_owned(), google_accounts(tokens)),
        ]),
    }
}

fn claude(tokens: &Tokens) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct File<'a> {
        claude_ai_oauth: Login<'a>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Login<'a> {
        access_token: &'a str,
        refresh_token: &'a str,
        expires_at: i64,
        refresh_token_expires_at: i64,
        scopes: [&'a str; 5],
        subscription_type: &'a str,
        subscription_type_source: &'a str,
        rate_limit_tier: &'a str,
        account_uuid: String,
        organization_uuid: String,
    }
    let login = Login {
        access_token: &tokens.access,
        refresh_token: &tokens.refresh,
        expires_at: tokens.expires.as_millisecond(),
        refresh_token_expires_at: tokens.issued.as_millisecond() + CLAUDE_REFRESH_MS,
        scopes: CLAUDE_SCOPES,
        subscription_type: "max",
        subscription_type_source: "sign_in",
        rate_limit_tier: "default_claude_max_5x",
        account_uuid: tokens.person.uuid("claude account"),
        organization_uuid: tokens.person.uuid("claude organization"),
    };
    serde_json::to_vec(&File { claude_ai_oauth: login }).expect("plain fields are JSON")
}

fn codex(tokens: &Tokens) -> Vec<u8> {
    #[derive(Serialize)]
    struct File<'a> {
        auth_mode: &'a str,
        #[serde(rename = "OPENAI_API_KEY")]
        api_key: String,
        tokens: Login<'a>,
        last_refresh: String,
    }
    #[derive(Serialize)]
    struct Login<'a> {
        id_token: &'a str,
        access_token: &'a str,
        refresh_token: &'a str,
        oauth_provenance: Provenance<'a>,
        login_owner_id: String,
        account_id: String,
    }
    #[derive(Serialize)]
    struct Provenance<'a> {
        issuer: &'a str,
        client_id: &'a str,
    }
    let login = Login {
        id_token: tokens.id.as_deref().unwrap_or_default(),
        access_token: &tokens.access,
        refresh_token: &tokens.refresh,
        oauth_provenance: Provenance { issuer: "https://auth.openai.com", client_id: CODEX_CLIENT },
        login_owner_id: token::random(),
        account_id: tokens.person.uuid("chatgpt account"),
    };
    let file = File {
        auth_mode: "chatgpt",
        api_key: crate::codex::api_key(),
        tokens: login,
        last_refresh: tokens.issued.to_string(),
    };
    serde_json::to_vec_pretty(&file).expect("plain fields are JSON")
}

fn gemini(tokens: &Tokens) -> Vec<u8> {
    #[derive(Serialize)]
    struct File<'a> {
        access_token: &'a str,
        scope: &'a str,
        token_type: &'a str,
        id_token: &'a str,
        refresh_token: &'a str,
        expiry_date: i64,
    }
    let file = File {
        access_token: &tokens.access,
        scope: GEMINI_SCOPE,
        token_type: "Bearer",
        id_token: tokens.id.as_deref().unwrap_or_default(),
        refresh_token: &tokens.refresh,
        expiry_date: tokens.expires.as_millisecond(),
    };
    serde_json::to_vec_pretty(&file).expect("plain fields are JSON")
}

fn google_accounts(tokens: &Tokens) -> Vec<u8> {
    #[derive(Serialize)]
    struct File {
        active: String,
        old: [&'static str; 0],
    }
    let file = File { active: tokens.person.email(), old: [] };
    serde_json::to_vec_pretty(&file).expect("plain fields are JSON")
}
