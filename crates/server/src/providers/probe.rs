//! What a provider answers when it is asked for its models.

use super::{
    About, Model,
    fault::Fault,
    json::{cut, text},
};
use crate::domain::failure::Failure;
use serde_json::Value;

/// More than any provider lists.
const MAX_MODELS: usize = 500;

/// Longer than any model's name.
const MAX_NAME: usize = 200;

/// The body of a good answer, or why there is none. `refused` tells from the
/// body of a 400 whether it is the key that the provider does not take.
pub(super) fn answer(about: &About, status: u16, body: &[u8], refused: fn(&Value) -> bool) -> Result<Value, Failure> {
    let said: Option<Value> = serde_json::from_slice(body).ok();
    let detail = said.as_ref().map(|v| text(v, "/error/message")).unwrap_or_default();
    let fault = match (status, &said) {
        (200, Some(value)) if value.is_object() => return Ok(value.clone()),
        (200, _) => {
            return Err(Fault::Unavailable.failure(about, "its list of models is not JSON"));
        }
        (400, Some(value)) if refused(value) => Fault::Refused,
        // A wall before the provider, which says nothing of the credential: the provider itself speaks JSON.
        (403, said) if !said.as_ref().is_some_and(Value::is_object) => Fault::Unavailable,
        (status, _) => match Fault::of_status(status) {
            Some(fault @ (Fault::Refused | Fault::NoCredit | Fault::RateLimited)) => fault,
            Some(Fault::Unavailable | Fault::NoModel | Fault::BadRequest | Fault::Tool) | None => Fault::Unavailable,
        },
    };
    if detail.is_empty() {
        return Err(fault.failure(about, &format!("it answered {status}")));
    }
    Err(fault.failure(about, detail))
}

/// A model as people may choose it; `None` when its name is no name.
pub(super) fn model(id: &str, label: &str) -> Option<Model> {
    let named = !id.is_empty() && id.len() <= MAX_NAME && id.chars().all(|c| c.is_ascii_graphic());
    let label: String = label.chars().filter(|c| !c.is_control()).collect();
    let label = Some(cut(&label, MAX_NAME).0).filter(|l| !l.is_empty());
    named.then(|| Model { id: id.to_owned(), label })
}

/// The models of `items` that `read` takes, at most [`MAX_MODELS`].
pub(super) fn models(items: &[Value], read: impl Fn(&Value) -> Option<Model>) -> Vec<Model> {
    items.iter().filter_map(read).take(MAX_MODELS).collect()
}

/// The models that a tool is known to take with a login, for which no provider lists them.
pub(super) fn known(ids: &[&str]) -> Vec<Model> {
    ids.iter().filter_map(|id| model(id, "")).collect()
}
