//! What tokens look like, at each provider.

use super::person::Person;
use crate::Provider;
use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Codex's own id at OpenAI.
pub(crate) const CODEX_CLIENT: &str = "app_EMoamEEZ73f0CkXaXp7hrann";

/// Gemini CLI's own id at Google.
pub(crate) const GEMINI_CLIENT: &str = "681255809395-oo8ft2oprdrnp9e3aqf6av3hmdib135j.apps.googleusercontent.com";

/// How long an id token is good for, in seconds: at OpenAI and Google alike.
const ID_TOKEN_S: i64 = 3600;

/// Text that nobody can guess, of letters, digits, `-` and `_`.
pub(crate) fn random() -> String {
    let mut bytes = [0; 24];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(&mut bytes).expect("the operating system gives random bytes");
    BASE64URL_NOPAD.encode(&bytes)
}

/// A new access token.
pub(crate) fn access(provider: Provider, person: &Person, issued: Timestamp, expires: Timestamp) -> String {
    match provider {
        Provider::Claude => format!("sk-ant-oat01-standin-{}", random()),
        Provider::Codex => {
            let mut claims = codex_claims(person, issued, expires);
            claims["aud"] = json!(["https://api.openai.com/v1"]);
            claims["client_id"] = json!(CODEX_CLIENT);
            jwt(&claims)
        }
        Provider::Gemini => format!("ya29.standin-{}", random()),
    }
}

/// A new refresh token.
pub(crate) fn refresh(provider: Provider) -> String {
    match provider {
        Provider::Claude => format!("sk-ant-ort01-standin-{}", random()),
        Provider::Codex => format!("rt_standin_{}", random()),
        Provider::Gemini => format!("1//standin-{}", random()),
    }
}

/// A new id token, where the provider gives one.
pub(crate) fn id(provider: Provider, person: &Person, issued: Timestamp) -> Option<String> {
    let expires = Timestamp::from_second(issued.as_second() + ID_TOKEN_S).unwrap_or(issued);
    let claims = match provider {
        Provider::Claude => return None,
        Provider::Codex => {
            let mut claims = codex_claims(person, issued, expires);
            claims["aud"] = json!([CODEX_CLIENT]);
            claims
        }
        Provider::Gemini => json!({
            "iss": "https://accounts.google.com", "azp": GEMINI_CLIENT, "aud": GEMINI_CLIENT,
            "sub": person.number("google"), "email": person.email(), "email_verified": true, "name": person.name,
            "iat": issued.as_second(), "exp": expires.as_second(),
        }),
    };
    Some(jwt(&claims))
}

fn codex_claims(person: &Person, issued: Timestamp, expires: Timestamp) -> Value {
    let user = format!("user-{}", person.uuid("openai user"));
    json!({
        "iss": "https://auth.openai.com", "sub": user, "jti": random(),
        "iat": issued.as_second(), "exp": expires.as_second(), "email": person.email(), "email_verified": true,
        "https://api.openai.com/auth": {
            "chatgpt_plan_type": "plus", "chatgpt_user_id": user, "chatgpt_account_id": person.uuid("chatgpt account"),
            "user_id": user, "organization_id": format!("org-{}", person.uuid("openai organization")),
            "project_id": format!("proj-{}", person.uuid("openai project")),
            "completed_platform_onboarding": true, "is_org_owner": false,
        },
        "https://api.openai.com/profile": {"email": person.email(), "email_verified": true},
    })
}

/// A token of JSON. Its signature is none: no tool checks it, for it comes straight from its issuer.
fn jwt(claims: &Value) -> String {
    let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": "standin"});
    format!("{}.{}.{}", encode(&header), encode(claims), BASE64URL_NOPAD.encode(b"standin"))
}
