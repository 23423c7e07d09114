//! A login of Claude Code: `~/.claude/.credentials.json`.
//!
//! A refused refresh blanks both tokens in the file; a refresh renames a new file into place.

use super::ABOUT;
use crate::{
    domain::failure::Failure,
    providers::{
        ProbeRequest,
        fault::Fault,
        json::text,
        link::{ByLink, LinkMeans},
        login::{Account, Files, Finished, Login, LoginFile, NotALogin, SignIn, bearer, parse},
        probe,
    },
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

const FILE: &str = ".credentials.json";

/// The header without which the API takes no login.
pub(super) const BETA: (&str, &str) = ("anthropic-beta", "oauth-2025-04-20");

/// How long before its end the tool refreshes an access token: five minutes (read in 2.1.330, and measured).
const EARLY_MS: i64 = 5 * 60 * 1000;

/// How Claude Code keeps a login.
#[derive(Debug)]
pub(super) struct ClaudeLogin;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credentials {
    claude_ai_oauth: OAuth,
}

/// The fields that sign in, or that the tool asks for.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OAuth {
    access_token: String,
    refresh_token: String,
    expires_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token_expires_at: Option<i64>,
    scopes: Vec<String>,
    subscription_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_type_source: Option<String>,
    rate_limit_tier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_uuid: Option<String>,
}

impl SignIn for ClaudeLogin {
    fn files(&self) -> &'static [LoginFile] {
        &[LoginFile { name: FILE, path: ".claude/.credentials.json", required: true }]
    }

    fn command(&self) -> &'static str {
        "claude auth login"
    }

    fn link(&self) -> Option<&'static ByLink> {
        static LINK: ByLink = ByLink {
            argv: &["claude", "auth", "login"],
            // Without it the link has no `state` of the tool's.
            env: &[("CLAUDE_CODE_FULL_SIGN_IN_LINK", "1")],
            pages: &["https://claude.com/cai/oauth/authorize", "https://platform.claude.com/oauth/authorize"],
            means: LinkMeans::PastedCode,
        };
        Some(&LINK)
    }

    fn finished(&self) -> Finished {
        Finished {
            has: &["/claudeAiOauth/accessToken", "/claudeAiOauth/refreshToken"],
            // It writes `{}` first, and the login over it within 150 ms.
            quiet_ms: 250,
            status: Some(&["claude", "auth", "status"]),
        }
    }

    fn read(&self, files: &Files) -> Result<Login, NotALogin> {
        // What is left of a login that had no refresh token, and of one that was ended.
        if parse::<serde_json::Value>(files, FILE)? == serde_json::json!({}) {
            return Err(NotALogin::Blank(FILE));
        }
        let credentials: Credentials = parse(files, FILE)?;
        let oauth = &credentials.claude_ai_oauth;
        if oauth.access_token.is_empty() || oauth.refresh_token.is_empty() {
            return Err(NotALogin::Blank(FILE));
        }
        let account = Account {
            id: oauth.account_uuid.clone().unwrap_or_default(),
            email: None,
            plan: oauth.subscription_type.clone(),
        };
        Ok(Login::new(account, oauth.expires_at, oauth.refresh_token_expires_at).with(FILE, &credentials))
    }

    fn whose(&self, login: &Login) -> ProbeRequest {
        let credentials: Credentials = login.parsed(FILE);
        ProbeRequest {
            url: "https://api.anthropic.com/api/oauth/profile".to_owned(),
            headers: vec![bearer(&credentials.claude_ai_oauth.access_token), (BETA.0, BETA.1.into())],
        }
    }

    fn account(&self, _login: &Login, status: u16, body: &[u8]) -> Result<Account, Failure> {
        let answer = probe::answer(&ABOUT, status, body, |_| false)?;
        let id = text(&answer, "/account/uuid").to_owned();
        if id.is_empty() {
            return Err(Fault::Unavailable.failure(&ABOUT, "its profile names no account"));
        }
        let said = |pointer| Some(text(&answer, pointer).to_owned()).filter(|said| !said.is_empty());
        Ok(Account {
            id,
            email: said("/account/email"),
            plan: said("/organization/organization_type").map(|kind| kind.trim_start_matches("claude_").to_owned()),
        })
    }

    fn tokens(&self, login: &Login) -> Vec<SecretString> {
        let OAuth { access_token, refresh_token, .. } = login.parsed::<Credentials>(FILE).claude_ai_oauth;
        vec![access_token.into(), refresh_token.into()]
    }

    fn lent(&self, login: &Login) -> Option<Login> {
        let mut credentials: Credentials = login.parsed(FILE);
        credentials.claude_ai_oauth.refresh_token = String::new();
        Some(login.clone().with(FILE, &credentials))
    }

    fn refreshes_early_ms(&self) -> i64 {
        EARLY_MS
    }
}

/// The credentials file of a setup token: an access token that nothing refreshes.
pub(super) fn of_setup_token(token: &SecretString) -> SecretString {
    let oauth = serde_json::json!({
        "accessToken": token.expose_secret(),
        "refreshToken": null,
        "expiresAt": null,
        "scopes": ["user:inference"],
        "subscriptionType": null,
    });
    serde_json::json!({ "claudeAiOauth": oauth }).to_string().into()
}
