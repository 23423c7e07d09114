//! Why something did not work, with the codes of the public surface.

use super::redact::Redactor;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A code of the public surface: stable, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// No, or no valid, key or session.
    Unauthenticated,
    /// The key or the person may not do this.
    Forbidden,
    /// No such thing, or another person's.
    NotFound,
    /// Bad JSON, type, value or an unknown field.
    InvalidRequest,
    /// A `cursor` that this server did not give.
    BadCursor,
    /// A `limit` outside 1 to 200.
    BadLimit,
    /// It cannot be done in the state that the thing is in.
    Conflict,
    /// The person has not connected this provider.
    NotConnected,
    /// The provider no longer accepts the connection.
    NeedsReconnect,
    /// Signing in to this provider is switched off here.
    LoginDisabled,
    /// The same `Idempotency-Key` with another body.
    IdempotencyConflict,
    /// The same `Idempotency-Key` while the first request is still running.
    IdempotencyInProgress,
    /// Another run of the conversation is under way.
    ConversationBusy,
    /// Not yet usable.
    NotReady,
    /// Over, and not to be had again.
    Gone,
    /// Too many requests, here or at the provider.
    RateLimited,
    /// Too many runs are waiting.
    QueueFull,
    /// The provider cannot be reached, or has a fault.
    ProviderUnavailable,
    /// The time allowed is over.
    Timeout,
    /// Nothing came for too long.
    Stalled,
    /// The provider's tool ended without an answer.
    ToolCrashed,
    /// The server stopped meanwhile.
    Interrupted,
    /// The sandbox's memory was used up.
    OutOfMemory,
    /// The sandbox's disk was used up.
    DiskFull,
    /// The image has not been built, or is broken.
    ImageMissing,
    /// No driver can make sandboxes on this host.
    DriverUnavailable,
    /// The tool cannot do this.
    Unsupported,
    /// To come in a later version.
    NotYet,
    /// A fault of the server.
    Internal,
}

impl Code {
    /// As it stands in JSON.
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| Some(name.as_str()?.to_owned())).unwrap_or_default()
    }
}

/// Why a run, a login or a connection did not work, as people and programs are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// For programs.
    pub code: Code,
    /// What happened, to what.
    pub message: String,
    /// What to do next.
    #[serde(default)]
    pub hint: Option<String>,
    /// The request that it belongs to, if it was one.
    #[serde(default)]
    pub request_id: Option<String>,
    /// With `rate_limited`: when to try again (RFC 3339 UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<String>,
}

impl Failure {
    /// A failure with a message and no hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, request_id: None, retry_at: None }
    }

    /// The same without these secrets, for words that came from outside.
    #[must_use]
    pub fn without(mut self, secrets: &Redactor) -> Self {
        self.message = secrets.text(&self.message).into_owned();
        self.hint = self.hint.map(|hint| secrets.text(&hint).into_owned());
        self
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
