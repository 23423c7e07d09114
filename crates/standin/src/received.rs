//! A request, read whole, and what of it may be written down.

use crate::record::{Recorded, credential_id};
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;
use std::collections::BTreeMap;
use url::form_urlencoded;

/// What a request to an OAuth endpoint carries that is a credential.
const SECRET_FIELDS: [&str; 8] = [
    "refresh_token",
    "code",
    "token",
    "subject_token",
    "code_verifier",
    "client_secret",
    "device_auth_id",
    "user_code",
];

/// A request, read whole.
pub(crate) struct Received {
    pub(crate) host: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The token of `Authorization: Bearer`.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// A parameter of the query, as it was sent.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// The fields of the body: of a form, or the texts of a JSON object. OAuth endpoints are asked with either.
    pub(crate) fn fields(&self) -> BTreeMap<String, String> {
        match serde_json::from_slice::<BTreeMap<String, Value>>(&self.body) {
            Ok(object) => {
                object.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect()
            }
            Err(_) => form_urlencoded::parse(&self.body).into_owned().collect(),
        }
    }

    /// The parameters of the query, understood.
    pub(crate) fn parameters(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(self.query.as_bytes()).into_owned().collect()
    }

    /// Whether it is one to an OAuth endpoint, whose body is made of credentials.
    fn is_oauth(&self) -> bool {
        self.method == Method::POST
            && [
                "/oauth/token",
                "/oauth/token/revoke",
                "/oauth/revoke",
                "/token",
                "/revoke",
                "/api/accounts/deviceauth/token",
            ]
            .contains(&self.path.strip_prefix("/v1").unwrap_or(&self.path))
    }

    /// The key or token that came with it.
    fn secret(&self) -> Option<&str> {
        self.header("x-api-key")
            .or_else(|| self.header("x-goog-api-key"))
            .or_else(|| self.bearer())
            .or_else(|| self.parameter("key"))
    }

    /// What is written down of it.
    pub(crate) fn record(&self) -> Recorded {
        let query: Vec<String> = self.query.split('&').map(without_secret).collect();
        let mark = if self.query.is_empty() { "" } else { "?" };
        let path = format!("{}{mark}{}", self.path, query.join("&"));
        let method = self.method.as_str();
        if !self.is_oauth() {
            return Recorded::new(&self.host, method, &path, self.secret(), &self.headers, &self.body);
        }
        let mut fields = self.fields();
        let secret = SECRET_FIELDS.iter().find_map(|name| fields.get(*name)).cloned();
        for name in SECRET_FIELDS {
            fields.entry(name.to_owned()).and_modify(|value| *value = credential_id(value));
        }
        let body = serde_json::to_vec(&fields).unwrap_or_default();
        Recorded::new(&self.host, method, &path, secret.as_deref(), &self.headers, &body)
    }
}

/// A parameter as it may be told.
fn without_secret(pair: &str) -> String {
    match pair.split_once('=') {
        // `code=true` is a wish of claude's, and no code.
        Some(("code", "true")) => pair.to_owned(),
        Some((name @ ("key" | "code" | "user_code"), _)) => format!("{name}=…"),
        _ => pair.to_owned(),
    }
}
