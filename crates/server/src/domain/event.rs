//! The events of a run.
//!
//! ```text
//!   run.queued ─► run.started ─► (text.delta | reasoning.delta | tool.call | tool.result | usage | log)*
//!        │             │                                   │
//!        └─────────────┴───────────────────────────────────┴─► run.completed | run.failed | run.cancelled
//! ```

use super::{failure::Failure, redact::Redactor};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use utoipa::ToSchema;

/// One event of a run, as it is stored and sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// From 1, without holes.
    pub seq: i64,
    /// When it was stored, Unix milliseconds.
    pub at: i64,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type")]
pub enum EventBody {
    /// The run was accepted.
    #[serde(rename = "run.queued")]
    Queued {
        /// The run.
        run_id: String,
    },
    /// The tool runs.
    #[serde(rename = "run.started")]
    Started {
        /// Its sandbox.
        sandbox_id: String,
    },
    /// A piece of the answer. All pieces together are the answer.
    #[serde(rename = "text.delta")]
    Text {
        /// The piece.
        text: String,
    },
    /// A piece of the model's thinking.
    #[serde(rename = "reasoning.delta")]
    Reasoning {
        /// The piece.
        text: String,
    },
    /// The model uses a tool.
    #[serde(rename = "tool.call")]
    ToolCall {
        /// The call's id.
        id: String,
        /// The tool's name.
        name: String,
        /// What it was given.
        #[schema(value_type = Object)]
        input: serde_json::Value,
    },
    /// A tool has answered.
    #[serde(rename = "tool.result")]
    ToolResult {
        /// The call's id.
        id: String,
        /// Whether it worked.
        ok: bool,
        /// What it said.
        output: String,
        /// Whether `output` was cut.
        truncated: bool,
    },
    /// What was used so far.
    #[serde(rename = "usage")]
    Usage(Usage),
    /// What the tool or the server has to say beside the answer.
    #[serde(rename = "log")]
    Log {
        /// `info`, `warn` or `error`.
        level: LogLevel,
        /// The text.
        text: String,
    },
    /// The answer is complete.
    #[serde(rename = "run.completed")]
    Completed {
        /// The whole answer.
        text: String,
        /// What was used.
        usage: Option<Usage>,
        /// From start to end, milliseconds.
        duration_ms: i64,
    },
    /// It did not work.
    #[serde(rename = "run.failed")]
    Failed {
        /// Why.
        error: Failure,
    },
    /// Somebody cancelled it.
    #[serde(rename = "run.cancelled")]
    Cancelled,
}

impl EventBody {
    /// The same without these secrets in what came from a tool, but for text and thinking, which come in pieces.
    #[must_use]
    pub fn without(self, secrets: &Redactor) -> Self {
        match self {
            Self::ToolCall { id, name, mut input } => {
                hide(&mut input, secrets);
                Self::ToolCall { id, name: secrets.text(&name).into_owned(), input }
            }
            Self::ToolResult { id, ok, output, truncated } => {
                Self::ToolResult { id, ok, output: secrets.text(&output).into_owned(), truncated }
            }
            Self::Log { level, text } => Self::Log { level, text: secrets.text(&text).into_owned() },
            Self::Failed { error } => Self::Failed { error: error.without(secrets) },
            Self::Text { .. }
            | Self::Reasoning { .. }
            | Self::Usage(_)
            | Self::Queued { .. }
            | Self::Started { .. }
            | Self::Completed { .. }
            | Self::Cancelled => self,
        }
    }

    /// The `type` that it is sent with.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "run.queued",
            Self::Started { .. } => "run.started",
            Self::Text { .. } => "text.delta",
            Self::Reasoning { .. } => "reasoning.delta",
            Self::ToolCall { .. } => "tool.call",
            Self::ToolResult { .. } => "tool.result",
            Self::Usage(_) => "usage",
            Self::Log { .. } => "log",
            Self::Completed { .. } => "run.completed",
            Self::Failed { .. } => "run.failed",
            Self::Cancelled => "run.cancelled",
        }
    }

    /// Whether no event can follow it.
    pub fn is_last(&self) -> bool {
        match self {
            Self::Completed { .. } | Self::Failed { .. } | Self::Cancelled => true,
            Self::Queued { .. }
            | Self::Started { .. }
            | Self::Text { .. }
            | Self::Reasoning { .. }
            | Self::ToolCall { .. }
            | Self::ToolResult { .. }
            | Self::Usage(_)
            | Self::Log { .. } => false,
        }
    }
}

/// Takes secrets out of every text of a document.
fn hide(value: &mut serde_json::Value, secrets: &Redactor) {
    match value {
        serde_json::Value::String(text) => {
            if let Cow::Owned(without) = secrets.text(text) {
                *text = without;
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| hide(item, secrets)),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|field| hide(field, secrets)),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Good to know.
    Info,
    /// Worth a look.
    Warn,
    /// Something did not work.
    Error,
}

/// Tokens and money.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Tokens read, those from the cache included.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// Tokens read from the cache.
    pub cached_tokens: i64,
    /// US dollars, where the tool tells.
    pub cost_usd: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_tool_says_of_its_work_is_without_secrets() {
        let secrets = Redactor::new(["sk-ant-api03-abcdef"]);
        let told = |event: EventBody| serde_json::to_string(&event.without(&secrets)).unwrap();
        // As a line with escapes in it becomes an event.
        let input: serde_json::Value =
            serde_json::from_str(r#"{"a":["x sk\u002dant-api03-abcdef y",1,null]}"#).unwrap();
        let call = told(EventBody::ToolCall { id: "1".into(), name: "Bash".into(), input });
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&call).unwrap()["input"],
            json!({ "a": ["x [redacted] y", 1, null] })
        );
        let said = || "sk-ant-api03-abcdef".to_owned();
        let result = EventBody::ToolResult { id: "1".into(), ok: true, output: said(), truncated: false };
        for event in [result, EventBody::Log { level: LogLevel::Info, text: said() }] {
            assert!(told(event).contains("[redacted]"));
        }
    }
}
