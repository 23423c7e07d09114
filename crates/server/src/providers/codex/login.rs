//! A ChatGPT login of Codex: `~/.codex/auth.json`.
//!
//! A refused refresh leaves the file as it was; a refresh renames a new file into place.

use super::ABOUT;
use crate::{
    domain::failure::Failure,
    providers::{
        ProbeRequest,
        fault::Fault,
        json::{items, text},
        link::{ByLink, LinkMeans},
        login::{Account, Files, Finished, Login, LoginFile, NotALogin, SignIn, bearer, claims, parse},
        probe,
    },
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const FILE: &str = "auth.json";

/// Who may have issued it: a run must not leave a login behind that refreshes elsewhere.
const ISSUER: &str = "https://auth.openai.com";

/// How long before its end the tool refreshes an access token: five minutes.
const EARLY_MS: i64 = 5 * 60 * 1000;

/// How Codex keeps a login.
#[derive(Debug)]
pub(super) struct CodexLogin;

/// The fields that sign in.
#[derive(Serialize, Deserialize)]
struct Auth {
    auth_mode: Option<String>,
    #[serde(rename = "OPENAI_API_KEY")]
    api_key: Option<String>,
    tokens: Option<Tokens>,
    last_refresh: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Tokens {
    id_token: String,
    access_token: String,
    refresh_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    oauth_provenance: Option<Provenance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_owner_id: Option<String>,
    account_id: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Provenance {
    issuer: String,
    client_id: String,
}

impl SignIn for CodexLogin {
    fn files(&self) -> &'static [LoginFile] {
        &[LoginFile { name: FILE, path: ".codex/auth.json", required: true }]
    }

    fn command(&self) -> &'static str {
        "codex login"
    }

    fn link(&self) -> Option<&'static ByLink> {
        static LINK: ByLink = ByLink {
            argv: &["codex", "login", "--device-auth"],
            env: &[],
            pages: &["https://auth.openai.com/codex/device"],
            means: LinkMeans::DeviceCode,
        };
        Some(&LINK)
    }

    fn finished(&self) -> Finished {
        Finished {
            has: &["/tokens/id_token", "/tokens/access_token", "/tokens/refresh_token"],
            // It is renamed into place once, and whole.
            quiet_ms: 250,
            status: Some(&["codex", "login", "status"]),
        }
    }

    fn read(&self, files: &Files) -> Result<Login, NotALogin> {
        let mut auth: Auth = parse(files, FILE)?;
        let malformed = |reason| NotALogin::Malformed { name: FILE, reason };
        let Some(tokens) = auth.tokens.as_ref().filter(|_| auth.auth_mode.as_deref() != Some("apikey")) else {
            return Err(match auth.api_key {
                Some(_) => NotALogin::OtherKind { name: FILE, found: "an API key" },
                None => NotALogin::Blank(FILE),
            });
        };
        if tokens.access_token.is_empty() || tokens.refresh_token.is_empty() || tokens.id_token.is_empty() {
            return Err(NotALogin::Blank(FILE));
        }
        if tokens.oauth_provenance.as_ref().is_some_and(|provenance| provenance.issuer != ISSUER) {
            return Err(malformed("it was issued elsewhere than at OpenAI"));
        }
        let id = claims(&tokens.id_token).ok_or_else(|| malformed("its `id_token` is no token"))?;
        let access = claims(&tokens.access_token).ok_or_else(|| malformed("its `access_token` is no token"))?;
        let fresh_until = access["exp"].as_i64().ok_or_else(|| malformed("its `access_token` has no end"))?;
        let account = account_of(&id).ok_or_else(|| malformed("its `id_token` names no account"))?;
        if tokens.account_id.as_ref().is_some_and(|told| *told != account.id) {
            return Err(malformed("it names two accounts"));
        }
        // The key that goes with a ChatGPT login is another credential, which no run needs.
        auth.api_key = None;
        Ok(Login::new(account, fresh_until.saturating_mul(1000), None).with(FILE, &auth))
    }

    fn whose(&self, login: &Login) -> ProbeRequest {
        let auth: Auth = login.parsed(FILE);
        let token = auth.tokens.map(|tokens| tokens.access_token).unwrap_or_default();
        ProbeRequest {
            url: "https://chatgpt.com/backend-api/wham/accounts/check".to_owned(),
            headers: vec![bearer(&token), ("chatgpt-account-id", login.account.id.as_str().into())],
        }
    }

    fn account(&self, login: &Login, status: u16, body: &[u8]) -> Result<Account, Failure> {
        let answer = probe::answer(&ABOUT, status, body, |_| false)?;
        // A person has several: their own, and those of their teams. The token is for the one that the login names.
        let all = items(&answer, "/accounts");
        let own = all.iter().find(|account| text(account, "/id") == login.account.id).or(all.first());
        let own = own.cloned().unwrap_or_default();
        let id = text(&own, "/id").to_owned();
        if id.is_empty() {
            return Err(Fault::Unavailable.failure(&ABOUT, "it names no account"));
        }
        let said = |pointer| Some(text(&own, pointer).to_owned()).filter(|said| !said.is_empty());
        Ok(Account { id, email: None, plan: said("/plan_type") })
    }

    fn tokens(&self, login: &Login) -> Vec<SecretString> {
        let tokens = login.parsed::<Auth>(FILE).tokens;
        tokens.map_or_else(Vec::new, |Tokens { id_token, access_token, refresh_token, .. }| {
            vec![id_token.into(), access_token.into(), refresh_token.into()]
        })
    }

    fn lent(&self, login: &Login) -> Option<Login> {
        let mut auth: Auth = login.parsed(FILE);
        if let Some(tokens) = &mut auth.tokens {
            tokens.refresh_token = String::new();
        }
        Some(login.clone().with(FILE, &auth))
    }

    fn refreshes_early_ms(&self) -> i64 {
        EARLY_MS
    }
}

fn account_of(id_token: &Value) -> Option<Account> {
    let auth = &id_token["https://api.openai.com/auth"];
    let id = text(auth, "/chatgpt_account_id");
    let said = |value: &str| Some(value.to_owned()).filter(|said| !said.is_empty());
    let account = Account {
        id: id.to_owned(),
        email: said(text(id_token, "/email")),
        plan: said(text(auth, "/chatgpt_plan_type")),
    };
    Some(account).filter(|account| !account.id.is_empty())
}
