//! The events of a login.
//!
//! ```text
//!   login.stage ─► (login.stage | login.verifying | login.checked | login.other_account | login.confirmed |
//!        │          login.not_proven | login.warning | login.extended |
//!        │          login.link_asked | login.link | login.link_over)*
//!        └──────────────────────────┴─► login.connected | login.failed | login.expired | login.cancelled
//! ```

use super::{LinkPage, Stage, Status};
use crate::domain::{connections, failure::Failure};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One event of a login, as it is stored and sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = LoginEvent)]
pub struct Event {
    /// From 1, without holes.
    pub seq: i64,
    /// When it was stored, Unix milliseconds.
    pub at: i64,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What happened in a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type")]
#[schema(as = LoginEventBody)]
pub enum EventBody {
    /// A stage was begun, is over, or waits for something else.
    #[serde(rename = "login.stage")]
    Stage {
        /// Where the login stands by that.
        status: Status,
        /// The stage.
        #[serde(flatten)]
        stage: Stage,
    },
    /// The tool has left what looks like a login: it is looked at.
    #[serde(rename = "login.verifying")]
    Verifying,
    /// The tool itself was asked whether somebody is signed in.
    #[serde(rename = "login.checked")]
    Checked {
        /// The command that was run.
        command: String,
        /// Its exit status, if it exited.
        exit_code: Option<i32>,
        /// The beginning of what it said.
        said: String,
    },
    /// Somebody has signed in with another account than the one that is connected: nothing is kept before they agree
    /// (`POST /logins/{id}/confirm`) or sign in anew.
    #[serde(rename = "login.other_account")]
    OtherAccount {
        /// The account that they have signed in with.
        account: String,
        /// The one that is connected.
        before: String,
    },
    /// They have agreed.
    #[serde(rename = "login.confirmed")]
    Confirmed {
        /// To which account.
        account: String,
    },
    /// It was none: the desktop stays open.
    #[serde(rename = "login.not_proven")]
    NotProven {
        /// Why.
        error: Failure,
    },
    /// Its person wants to sign in with a browser of their own (`POST /logins/{id}/link`): the tool is asked for a page.
    #[serde(rename = "login.link_asked")]
    LinkAsked,
    /// The tool has one.
    #[serde(rename = "login.link")]
    LinkShown {
        /// What to open, and what to enter there.
        #[serde(flatten)]
        link: LinkPage,
    },
    /// Nobody can sign in by that page any more.
    #[serde(rename = "login.link_over")]
    LinkOver {
        /// Why nobody has; null where somebody has.
        error: Option<Failure>,
    },
    /// The deadline is near.
    #[serde(rename = "login.warning")]
    Warning {
        /// The deadline.
        expires_at: String,
    },
    /// The deadline was moved.
    #[serde(rename = "login.extended")]
    Extended {
        /// The new one.
        expires_at: String,
    },
    /// The provider is connected.
    #[serde(rename = "login.connected")]
    Connected {
        /// The connection.
        connection: connections::View,
    },
    /// It did not work.
    #[serde(rename = "login.failed")]
    Failed {
        /// Why.
        error: Failure,
    },
    /// Nobody signed in in time.
    #[serde(rename = "login.expired")]
    Expired,
    /// Somebody cancelled it.
    #[serde(rename = "login.cancelled")]
    Cancelled,
}

impl EventBody {
    /// The `type` that it is sent with.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stage { .. } => "login.stage",
            Self::Verifying => "login.verifying",
            Self::Checked { .. } => "login.checked",
            Self::OtherAccount { .. } => "login.other_account",
            Self::Confirmed { .. } => "login.confirmed",
            Self::NotProven { .. } => "login.not_proven",
            Self::LinkAsked => "login.link_asked",
            Self::LinkShown { .. } => "login.link",
            Self::LinkOver { .. } => "login.link_over",
            Self::Warning { .. } => "login.warning",
            Self::Extended { .. } => "login.extended",
            Self::Connected { .. } => "login.connected",
            Self::Failed { .. } => "login.failed",
            Self::Expired => "login.expired",
            Self::Cancelled => "login.cancelled",
        }
    }

    /// Whether no event can follow it.
    pub fn is_last(&self) -> bool {
        match self {
            Self::Connected { .. } | Self::Failed { .. } | Self::Expired | Self::Cancelled => true,
            Self::Stage { .. }
            | Self::Verifying
            | Self::Checked { .. }
            | Self::OtherAccount { .. }
            | Self::Confirmed { .. }
            | Self::NotProven { .. }
            | Self::LinkAsked
            | Self::LinkShown { .. }
            | Self::LinkOver { .. }
            | Self::Warning { .. }
            | Self::Extended { .. } => false,
        }
    }
}
