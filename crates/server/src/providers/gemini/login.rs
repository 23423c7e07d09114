//! A Google login of Gemini CLI: `~/.gemini/oauth_creds.json`, and beside it `google_accounts.json`.
//!
//! The tool writes in place. A refused refresh leaves the file as it was.

use super::ABOUT;
use crate::{
    domain::failure::Failure,
    providers::{
        ProbeRequest,
        fault::Fault,
        json::text,
        link::ByLink,
        login::{Account, Files, Finished, Login, LoginFile, NotALogin, SignIn, bearer, claims, parse},
        probe,
    },
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

const FILE: &str = "oauth_creds.json";
const ACCOUNTS: &str = "google_accounts.json";

/// How long before its end the tool refreshes an access token: five minutes (google-auth-library's default).
const EARLY_MS: i64 = 5 * 60 * 1000;

/// How Gemini CLI keeps a login.
#[derive(Debug)]
pub(super) struct GeminiLogin;

/// The fields that sign in.
#[derive(Serialize, Deserialize)]
struct Credentials {
    access_token: String,
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    token_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    expiry_date: i64,
}

/// Which of its accounts the tool takes. Those of before are not kept.
#[derive(Serialize, Deserialize)]
struct Accounts {
    active: Option<String>,
    #[serde(default)]
    old: Vec<String>,
}

impl SignIn for GeminiLogin {
    fn files(&self) -> &'static [LoginFile] {
        &[
            LoginFile { name: FILE, path: ".gemini/oauth_creds.json", required: true },
            LoginFile { name: ACCOUNTS, path: ".gemini/google_accounts.json", required: false },
        ]
    }

    fn command(&self) -> &'static str {
        "gemini"
    }

    fn command_again(&self) -> &'static str {
        // It asks nobody while it has this.
        "rm ~/.gemini/oauth_creds.json; gemini"
    }

    fn link(&self) -> Option<&'static ByLink> {
        // With `NO_BROWSER` it shows one in a terminal's alternate screen alone.
        None
    }

    fn finished(&self) -> Finished {
        Finished {
            has: &["/access_token", "/refresh_token", "/expiry_date"],
            // It writes in place.
            quiet_ms: 1000,
            // No command of it tells: that the file is whole and Google says whose it is, must do.
            status: None,
        }
    }

    fn read(&self, files: &Files) -> Result<Login, NotALogin> {
        let credentials: Credentials = parse(files, FILE)?;
        if credentials.access_token.is_empty() || credentials.refresh_token.as_ref().is_none_or(String::is_empty) {
            return Err(NotALogin::Blank(FILE));
        }
        let claims = credentials.id_token.as_deref().and_then(claims).unwrap_or_default();
        // It is written in place, after the other, and nothing depends on it.
        let active = parse::<Accounts>(files, ACCOUNTS).ok().and_then(|accounts| accounts.active);
        let email = Some(text(&claims, "/email").to_owned()).filter(|email| !email.is_empty()).or(active);
        let account = Account { id: text(&claims, "/sub").to_owned(), email: email.clone(), plan: None };
        let login = Login::new(account, credentials.expiry_date, None).with(FILE, &credentials);
        Ok(match email {
            Some(email) => login.with(ACCOUNTS, &Accounts { active: Some(email), old: Vec::new() }),
            None => login,
        })
    }

    fn whose(&self, login: &Login) -> ProbeRequest {
        let credentials: Credentials = login.parsed(FILE);
        ProbeRequest {
            url: "https://www.googleapis.com/oauth2/v2/userinfo".to_owned(),
            headers: vec![bearer(&credentials.access_token)],
        }
    }

    fn account(&self, _login: &Login, status: u16, body: &[u8]) -> Result<Account, Failure> {
        let answer = probe::answer(&ABOUT, status, body, |_| false)?;
        let id = text(&answer, "/id").to_owned();
        if id.is_empty() {
            return Err(Fault::Unavailable.failure(&ABOUT, "it names no account"));
        }
        Ok(Account { id, email: Some(text(&answer, "/email").to_owned()).filter(|e| !e.is_empty()), plan: None })
    }

    fn tokens(&self, login: &Login) -> Vec<SecretString> {
        let Credentials { access_token, refresh_token, id_token, .. } = login.parsed(FILE);
        [Some(access_token), refresh_token, id_token].into_iter().flatten().map(Into::into).collect()
    }

    fn lent(&self, login: &Login) -> Option<Login> {
        let mut credentials: Credentials = login.parsed(FILE);
        credentials.refresh_token = None;
        Some(login.clone().with(FILE, &credentials))
    }

    fn refreshes_early_ms(&self) -> i64 {
        EARLY_MS
    }
}
