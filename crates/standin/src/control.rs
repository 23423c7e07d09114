//! What scripts do to accounts, over plain HTTP to the proxy's own address (`polydev-standin account`).
//!
//! | | |
//! |---|---|
//! | `GET /accounts/NAME/PROVIDER` | `{email, id, logins, refreshes, refresh_reuses}` |
//! | `POST /accounts/NAME/PROVIDER/login[?lives=SECONDS]` | signs in: `{files: {name: text}}` |
//! | `POST /accounts/NAME/PROVIDER/expire`, `…/revoke` | |
//! | `POST /accounts/NAME/PROVIDER/code` | what a sign-in page hands to the tool: `{code}` |
//! | `POST /accounts/NAME/claude/setup-token` | `{token}` |
//! | `POST /accounts/NAME/codex/approve?user_code=CODE` | agrees to what a tool's device code stands for |
//! | `POST /accounts/NAME/PROVIDER/first` | sign-in pages offer this account first |
//! | `POST /accounts/NAME/PROVIDER/fault?is=FAULT` | what goes wrong when it signs in ([`SignInFault`]); nothing without `is` |
//!
//! Whoever is named here or in a test is offered on the sign-in pages.

use crate::{
    Account, Ledger, Provider, SignInFault, UnknownFault,
    reply::{Reply, json},
};
use http::{Method, Request};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

/// The answer, if this is a request of a script.
pub(crate) fn answer<B>(request: &Request<B>, ledger: &Ledger) -> Option<Reply> {
    let uri = request.uri();
    if uri.host().is_some() {
        return None;
    }
    let mut path = uri.path().strip_prefix("/accounts/")?.split('/');
    let account = Account::new(path.next().filter(|name| !name.is_empty())?, ledger.clone());
    let provider: Provider = path.next()?.parse().ok()?;
    let lives = uri.query().and_then(|query| query.strip_prefix("lives=")?.parse().ok()).map(Duration::from_secs);
    let done = || json(200, &json!({}));
    Some(match (request.method(), path.next(), provider) {
        (&Method::GET, None, _) => {
            let (refreshes, reuses) = (account.refreshes(provider), account.refresh_reuses(provider));
            let (email, id, logins) = (account.email(), account.id(provider), account.logins(provider));
            let counts = json!({
                "email": email, "id": id, "logins": logins, "refreshes": refreshes, "refresh_reuses": reuses,
            });
            json(200, &counts)
        }
        (&Method::POST, Some("login"), _) => {
            let files = match lives {
                Some(lives) => account.login_files_for(provider, lives),
                None => account.login_files(provider),
            };
            let files: BTreeMap<_, _> =
                files.iter().map(|(name, bytes)| (name, String::from_utf8_lossy(bytes))).collect();
            json(200, &json!({"files": files}))
        }
        (&Method::POST, Some("code"), _) => json(200, &json!({"code": account.authorization_code(provider)})),
        (&Method::POST, Some("expire"), _) => {
            account.expire(provider);
            done()
        }
        (&Method::POST, Some("revoke"), _) => {
            account.revoke(provider);
            done()
        }
        (&Method::POST, Some("approve"), Provider::Codex) => {
            let code = uri.query().and_then(|query| query.strip_prefix("user_code=")).unwrap_or_default();
            if account.approve_device(code) {
                done()
            } else {
                json(404, &json!({"error": {"message": "no such code"}}))
            }
        }
        (&Method::POST, Some("first"), _) => {
            account.put_first(provider);
            done()
        }
        (&Method::POST, Some("fault"), _) => match uri.query().map(fault) {
            Some(Err(unknown)) => json(400, &json!({"error": {"message": unknown.to_string()}})),
            Some(Ok(fault)) => {
                account.fault(provider, Some(fault));
                done()
            }
            None => {
                account.fault(provider, None);
                done()
            }
        },
        (&Method::POST, Some("setup-token"), Provider::Claude) => json(200, &json!({"token": account.setup_token()})),
        _ => json(404, &json!({"error": {"message": "no such request"}})),
    })
}

fn fault(query: &str) -> Result<SignInFault, UnknownFault> {
    query.strip_prefix("is=").unwrap_or(query).parse()
}
