//! Signing in on a device without a browser: `codex login --device-auth`.
//!
//! Source: what Codex 0.169.0 sends and reads. It is OpenAI's own, not RFC 8628: the tool gets an authorization code
//! and the verifier to redeem it with.

use super::{error, pages::APP};
use crate::{
    Ledger, Provider, SignInFault,
    accounts::{Asked, CODEX_CLIENT, DeviceAnswer, Grant, Person, Polled, Scope, challenge_of},
    received::Received,
    reply::{Reply, json},
    signin::{Decision, decide, named, page},
};
use serde_json::json;

/// Where a tool asks for a code to show.
pub(super) const BEGIN: &str = "/api/accounts/deviceauth/usercode";

/// Where it asks what became of it.
pub(super) const POLL: &str = "/api/accounts/deviceauth/token";

/// What the tool gives as its address when it redeems the code.
const REDIRECT: &str = "https://auth.openai.com/deviceauth/callback";

/// How often it is to ask, in seconds. OpenAI says 5; a test need not wait that long.
const INTERVAL_S: &str = "1";

/// `POST` [`BEGIN`].
pub(super) fn begin(ledger: &Ledger) -> Reply {
    let device = ledger.begin_device();
    let body = json!({
        "device_auth_id": device.id, "user_code": device.user_code, "interval": INTERVAL_S,
        "expires_at": device.ends.to_string(),
    });
    json(200, &body)
}

/// `POST` [`POLL`]. 403 and 404 make the tool ask again, any other refusal makes it give up.
pub(super) fn poll(request: &Received, ledger: &Ledger) -> Reply {
    let fields = request.fields();
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    match ledger.poll_device(field("device_auth_id"), field("user_code")) {
        Polled::Waiting => refused(403, "deviceauth_authorization_pending", "The person has not answered yet."),
        Polled::Agreed { code, verifier } => {
            let challenge = challenge_of(&verifier);
            let body = json!({
                "authorization_code": code, "code_verifier": verifier, "code_challenge": challenge,
            });
            json(200, &body)
        }
        Polled::Refused => refused(400, "access_denied", "The person has denied the request."),
        Polled::Expired => refused(400, "expired_token", "The code has expired."),
        Polled::Unknown => refused(400, "invalid_request", "There is no such code."),
    }
}

fn refused(status: u16, code: &str, message: &str) -> Reply {
    error(status, "invalid_request_error", message, Some(code))
}

/// The page on which a person enters the code that their tool shows, and then decides.
pub(super) fn page(request: &Received, ledger: &Ledger) -> Reply {
    let parameters = request.parameters();
    let Some(user_code) = named(&parameters, "user_code") else {
        return enter(200, "Enter the code that Codex shows", "");
    };
    if ledger.device(user_code).is_none() {
        return enter(404, "There is no such code, or it has expired", user_code);
    }
    decide(&APP, request, ledger, |decision| {
        let (answer, said) = match decision {
            Decision::Agreed(_, Some(SignInFault::ExpiredCode)) => (DeviceAnswer::Expire, "This code has expired"),
            Decision::Agreed(person, fault) => {
                (agreed(ledger, user_code, &person, fault), "You are signed in to Codex")
            }
            Decision::Refused(_) => (DeviceAnswer::Refuse, "You are not signed in to Codex"),
        };
        if ledger.answer_device(user_code, answer) {
            page::note(200, said, "You can close this window and go back to your terminal.")
        } else {
            enter(404, "There is no such code, or it has expired", user_code)
        }
    })
}

/// Agrees for a person without the page. Tells whether a device waits for it.
pub(crate) fn approve(ledger: &Ledger, user_code: &str, person: &Person, fault: Option<SignInFault>) -> bool {
    let answer = agreed(ledger, user_code, person, fault);
    ledger.answer_device(user_code, answer)
}

fn agreed(ledger: &Ledger, user_code: &str, person: &Person, fault: Option<SignInFault>) -> DeviceAnswer {
    let asked = ledger.device(user_code).map(|device| Asked {
        client: CODEX_CLIENT.to_owned(),
        redirect: REDIRECT.to_owned(),
        challenge: Some(challenge_of(&device.verifier)),
        state: None,
    });
    DeviceAnswer::Agree(Grant { person: person.clone(), provider: Provider::Codex, scope: Scope::Login, asked, fault })
}

fn enter(status: u16, heading: &str, written: &str) -> Reply {
    let body = format!(
        "<form method=\"get\">\n<label for=\"code\">Code</label> \
         <input id=\"code\" name=\"user_code\" value=\"{}\" required autofocus autocomplete=\"off\">\n\
         <button class=\"main\">Continue</button>\n</form>",
        page::escape(written)
    );
    page::page(status, heading, &body)
}
