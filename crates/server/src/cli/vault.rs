//! `polydev vault`: the master key, on the data directory.

use super::{
    data,
    output::{self, CliError, Format},
};
use crate::{
    config::Config,
    domain::{
        audit::{self, Action, Actor, Deed},
        failure::Code,
        rotation::{self, RotateError, Rotated, Step},
        vault::KeyError,
    },
    store::{Store, Watch},
    vault::{KeySource, VaultError},
};
use clap::Subcommand;
use serde_json::{Value, json};

/// `polydev vault …`
#[derive(Debug, Subcommand)]
pub enum VaultCommand {
    /// Seal all credentials under a new master key, while the server and its runs go on. To be given again after it
    /// was interrupted: it goes on where it was.
    Rotate,
}

/// Does what is asked, and prints the answer.
///
/// # Errors
/// It does not work.
pub async fn run(command: VaultCommand, config: &Config, format: Format) -> Result<(), CliError> {
    match command {
        VaultCommand::Rotate => {
            let rotated = rotate(config, tell).await?;
            match format {
                Format::Json | Format::StreamJson => output::json(&view(&rotated, &config.vault.key)),
                Format::Text => output::text(said(&rotated)),
            }
            output::note(to_do(&rotated, &config.vault.key));
            Ok(())
        }
    }
}

/// Changes the master key, and records that it was changed.
///
/// # Errors
/// It does not work, or not to the end.
pub async fn rotate(config: &Config, tell: impl FnMut(Step)) -> Result<Rotated, CliError> {
    let watch = Watch::new(data::url(config)?).map_err(CliError::from_chain)?;
    let store = data::open(config).await?;
    let rotated = recorded(&store, &watch, &config.vault.key, tell).await;
    store.close().await;
    drop(watch);
    rotated.map_err(|error| refused(error, &config.vault.key))
}

async fn recorded(
    store: &Store,
    watch: &Watch,
    source: &KeySource,
    tell: impl FnMut(Step),
) -> Result<Rotated, RotateError> {
    let entry = audit::open(store, Deed::new(Actor::LOCAL, Action::VaultRotate)).await?;
    let rotated = rotation::rotate(store, watch, source, tell).await;
    match &rotated {
        Ok(rotated) => entry.done(store, Some(&rotated.key.to_string())).await,
        Err(RotateError::NotLearnt { .. } | RotateError::Overtaken(_)) => entry.failed(store, Code::Conflict).await,
        Err(RotateError::NotOurs(_)) => entry.failed(store, Code::Unsupported).await,
        Err(RotateError::Unopened { .. } | RotateError::Key(_)) => entry.failed(store, Code::Internal).await,
    }
    rotated
}

fn refused(error: RotateError, source: &KeySource) -> CliError {
    let hint = match (&error, source) {
        (RotateError::NotOurs(_), KeySource::Variable(_)) => {
            "Make a key with `openssl rand -hex 32`, put it before the old one with a comma between them, start the \
             server again with both, and run `polydev vault rotate` with both."
        }
        (RotateError::NotOurs(_), KeySource::File(_) | KeySource::Credential(_)) => {
            "Make a key with `openssl rand -hex 32`, put it on a line of its own before the old one in the file that \
             the credential is loaded from, restart the service, and run `polydev vault rotate` with that credential."
        }
        (RotateError::NotLearnt { .. }, _) => {
            "Nothing has changed for it. Start the server again, so that it reads the keys where this command does; \
             then rotate again."
        }
        (RotateError::Overtaken(_), _) => "See that all who rotate have the same keys, and rotate again.",
        (RotateError::Unopened { .. }, _) => {
            "No key was retired. Put back the key that they are sealed under, on a line of its own behind the others, \
             or have their owners connect again or disconnect; then rotate again."
        }
        (RotateError::Key(KeyError::Vault(VaultError::Missing(_))), _) => {
            "The first start of `polydev serve` makes it."
        }
        (RotateError::Key(_), _) => return CliError::from_chain(error),
    };
    CliError::from_chain(error).hint(hint)
}

fn tell(step: Step) {
    output::note(match step {
        Step::Begun { key, earlier: false } => format!("made the master key `{key}`, beside the old one"),
        Step::Begun { key, earlier: true } => format!("going on with the master key `{key}`"),
        Step::Announced => "the server has it".to_owned(),
        Step::Turned => "new secrets are sealed under it".to_owned(),
        Step::Resealed(n) => format!("sealed under it: {}", count(n)),
        Step::Proven(n) => format!("opened under it alone: {}", count(n)),
        Step::Settled => return,
    });
}

fn said(rotated: &Rotated) -> String {
    format!("the master key of {} is `{}` now", count(rotated.credentials), rotated.key)
}

fn count(credentials: u64) -> String {
    if credentials == 1 { "one credential".to_owned() } else { format!("{credentials} credentials") }
}

fn to_do(rotated: &Rotated, source: &KeySource) -> String {
    match &rotated.left {
        None => format!(
            "Back up {source} now, apart from the database. Backups of the database from before open with the old key \
             only: keep your copy of that for as long as you keep them."
        ),
        Some(why) => format!(
            "The old keys are still there: {why}. Leave `{}` alone there, and start the server again. Backups of the \
             database from before open with the old key only: keep a copy of that for as long as you keep them.",
            rotated.key
        ),
    }
}

/// The answer as programs read it.
fn view(rotated: &Rotated, source: &KeySource) -> Value {
    json!({
        "key": rotated.key.to_string(),
        "from": source.to_string(),
        "retired": rotated.retired.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "credentials": rotated.credentials,
        "earlier": rotated.earlier,
        "left": rotated.left,
    })
}
