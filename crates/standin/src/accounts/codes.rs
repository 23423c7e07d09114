//! Codes that a sign-in page hands to a tool: each is for one tool's one request, works once, and not for long.

use super::{ledger::Scope, person::Person, token};
use crate::{Provider, clock, signin::SignInFault};
use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};

/// How long a code can be redeemed: enough for a person who copies it from one window to another.
const CODE_LIVES: SignedDuration = SignedDuration::from_mins(5);

/// What a person has agreed to.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) person: Person,
    pub(crate) provider: Provider,
    pub(crate) scope: Scope,
    /// The request that was agreed to. A code that a test made by itself has none, and is good for any.
    pub(crate) asked: Option<Asked>,
    pub(crate) fault: Option<SignInFault>,
}

/// What a tool said of itself when it sent the person to the page, and has to say again with the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) client: String,
    pub(crate) redirect: String,
    /// The SHA-256 of what only the tool knows (PKCE).
    pub(crate) challenge: Option<String>,
    /// Checked where the tool repeats it: not all do, and claude's short link leaves it out.
    pub(crate) state: Option<String>,
}

/// Why a code gives nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoGrant {
    /// It was never given out by this provider, or was redeemed before.
    Unknown,
    /// It was not redeemed in time.
    Expired,
    /// It was given out to another client, or for another address.
    Elsewhere,
    /// The verifier is not what the challenge was made of.
    Verifier,
    /// The state is not the one that it was asked for with.
    State,
}

/// The codes that were given out and not redeemed.
#[derive(Debug, Default)]
pub(crate) struct Codes(HashMap<String, (Grant, Timestamp)>);

impl Codes {
    /// A code for a grant.
    pub(crate) fn issue(&mut self, grant: Grant) -> String {
        let now = clock::now();
        let ends = match grant.fault {
            Some(SignInFault::ExpiredCode) => now,
            _ => now.checked_add(CODE_LIVES).unwrap_or(now),
        };
        let code = format!("code-standin-{}", token::random());
        self.0.insert(code.clone(), (grant, ends));
        code
    }

    /// What the code of a token request was given out for. It is used up, also where the rest is wrong.
    pub(crate) fn take(&mut self, provider: Provider, fields: &BTreeMap<String, String>) -> Result<Grant, NoGrant> {
        let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
        let code = field("code");
        if self.0.get(code).is_none_or(|(grant, _)| grant.provider != provider) {
            return Err(NoGrant::Unknown);
        }
        let (grant, ends) = self.0.remove(code).ok_or(NoGrant::Unknown)?;
        if ends <= clock::now() {
            return Err(NoGrant::Expired);
        }
        if let Some(asked) = &grant.asked {
            asked.check(field("client_id"), field("redirect_uri"), field("code_verifier"), fields.get("state"))?;
        }
        Ok(grant)
    }
}

impl Asked {
    fn check(&self, client: &str, redirect: &str, verifier: &str, state: Option<&String>) -> Result<(), NoGrant> {
        if self.client != client || self.redirect != redirect {
            return Err(NoGrant::Elsewhere);
        }
        if self.challenge.as_ref().is_some_and(|challenge| *challenge != challenge_of(verifier)) {
            return Err(NoGrant::Verifier);
        }
        match (&self.state, state) {
            (Some(asked), Some(said)) if asked != said => Err(NoGrant::State),
            _ => Ok(()),
        }
    }
}

/// What a verifier's challenge is (PKCE's `S256`).
pub(crate) fn challenge_of(verifier: &str) -> String {
    BASE64URL_NOPAD.encode(&Sha256::digest(verifier.as_bytes()))
}
