//! The runtime that takes a rule away.

use crate::edit::{Edit, Weakened};
use serde_json::Value;
use std::{
    error::Error,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Edits the bundle that `args` name, if they name one, and becomes the real runtime. Tells why it did not.
pub(crate) fn run(weakened: &Path, args: &[&str]) -> String {
    match edited(weakened, args) {
        Ok(program) => become_program(&program, args),
        Err(error) => error.to_string(),
    }
}

/// Makes the edits, and tells which program is the real runtime.
fn edited(weakened: &Path, args: &[&str]) -> Result<PathBuf, Box<dyn Error>> {
    let Weakened { program, edits } = serde_json::from_slice(&fs::read(weakened)?)?;
    if let Some(at) = args.iter().position(|arg| *arg == "--bundle") {
        let config = Path::new(args[at + 1]).join("config.json");
        let mut spec: Value = serde_json::from_slice(&fs::read(&config)?)?;
        apply(&edits, &mut spec)?;
        fs::write(config, spec.to_string())?;
    }
    Ok(program)
}

#[expect(clippy::disallowed_methods, reason = "it becomes the program, with the descriptors that it was given")]
fn become_program(program: &Path, args: &[&str]) -> String {
    Command::new(program).args(args).exec().to_string()
}

/// Makes every change.
///
/// # Errors
/// When there is no such place: a rule that is not there cannot be taken away.
fn apply(edits: &[Edit], spec: &mut Value) -> Result<(), String> {
    edits.iter().try_for_each(|edit| one(edit, spec).ok_or_else(|| format!("nothing to change for {edit:?}")))
}

fn one(edit: &Edit, spec: &mut Value) -> Option<()> {
    match edit {
        Edit::Drop(place) => {
            let (parent, key) = place.rsplit_once('/')?;
            spec.pointer_mut(parent)?.as_object_mut()?.remove(key).map(drop)
        }
        Edit::Set(place, value) => {
            let (parent, key) = place.rsplit_once('/')?;
            match spec.pointer_mut(parent)? {
                Value::Object(members) => drop(members.insert(key.to_owned(), value.clone())),
                list => *list.as_array_mut()?.get_mut(key.parse::<usize>().ok()?)? = value.clone(),
            }
            Some(())
        }
        Edit::Push(place, value) => {
            spec.pointer_mut(place)?.as_array_mut()?.push(value.clone());
            Some(())
        }
        Edit::Without(place, value) => {
            let list = spec.pointer_mut(place)?.as_array_mut()?;
            let before = list.len();
            list.retain(|item| !has(item, value));
            (list.len() < before).then_some(())
        }
    }
}

fn has(item: &Value, wanted: &Value) -> bool {
    match wanted {
        Value::Object(members) => members.iter().all(|(key, value)| item.get(key) == Some(value)),
        other => item == other,
    }
}
