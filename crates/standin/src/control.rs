//! What scripts do to accounts, over plain HTTP to the proxy's own address (`polydev-standin account`).
//!
//! | | |
//! |---|---|
//! | `GET /accounts/NAME/PROVIDER` | `{email, id, refreshes, refresh_reuses}` |
//! | `POST /accounts/NAME/PROVIDER/login[?lives=SECONDS]` | signs in: `{files: {name: text}}` |
//! | `POST /accounts/NAME/PROVIDER/expire`, `…/revoke` | |
//! | `POST /accounts/NAME/PROVIDER/code` | what a sign-in page hands to the tool: `{code}` |
//! | `POST /accounts/NAME/claude/setup-token` | `{token}` |

use crate::{
    Account, Ledger, Provider,
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
            let (email, id) = (account.email(), account.id(provider));
            json(200, &json!({"email": email, "id": id, "refreshes": refreshes, "refresh_reuses": reuses}))
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
        (&Method::POST, Some("setup-token"), Provider::Claude) => json(200, &json!({"token": account.setup_token()})),
        _ => json(404, &json!({"error": {"message": "no such request"}})),
    })
}
