//! How a rule is taken away: an edit of the container's specification, made between the driver that wrote it and the
//! runtime that reads it. The driver is the real one, unchanged; its `oci_runtime` is the probe, which edits and then
//! becomes the real runtime. So the product has no door for this.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// How the probe's name begins where it is to be the runtime. What follows tells one from another.
pub(crate) const RUNTIME: &str = "runtime-";

/// What such a runtime does: in the file beside it, of its name and `.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Weakened {
    /// The real runtime.
    pub(crate) program: PathBuf,
    /// What is changed before that.
    pub(crate) edits: Vec<Edit>,
}

/// One change of a specification. Places are JSON pointers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Edit {
    /// What is at this place goes.
    Drop(String),
    /// This is at this place, whatever was there.
    Set(String, Value),
    /// One more in the list at this place.
    Push(String, Value),
    /// Without those in the list at this place that equal this, or are objects that have all of its members.
    Without(String, Value),
}
