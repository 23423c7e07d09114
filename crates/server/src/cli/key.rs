//! `polydev key`: API keys, on the data directory.

use super::{
    data, duration,
    output::{self, CliError, Format},
};
use crate::{
    config::Config,
    domain::{
        audit::{self, Action, Actor, Deed},
        people::{self, Key, NewKey, Scope},
        time::{self, rfc3339},
    },
};
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

/// `polydev key …`
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key, and print it. It is shown this once.
    Create(CreateArgs),
    /// List keys, newest first, those that are over included.
    List {
        /// Only those of this user.
        #[arg(long, value_name = "EMAIL")]
        user: Option<String>,
    },
    /// End a key at once.
    Revoke {
        /// The key's id, `key_…`.
        id: String,
    },
}

/// `polydev key create`
#[derive(Debug, Default, Args)]
pub struct CreateArgs {
    /// Whose it is; not needed where there is only one user.
    #[arg(long, value_name = "EMAIL")]
    pub user: Option<String>,
    /// What it is called.
    #[arg(long)]
    pub name: Option<String>,
    /// What it may be used for, once for each: runs:read, runs:write, connections, logins, admin.
    /// All but admin unless said.
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<Scope>,
    /// When it ends by itself, such as 12h or 30d from now. Never unless said.
    #[arg(long, value_name = "TIME", value_parser = duration::seconds)]
    pub expires: Option<i64>,
}

/// Does what is asked, and prints the answer.
///
/// # Errors
/// It does not work.
pub async fn run(command: KeyCommand, config: &Config, format: Format) -> Result<(), CliError> {
    let answer = answer(command, config).await?;
    answer.print(format);
    Ok(())
}

/// What a command on keys answers, before it is printed.
#[derive(Debug)]
pub enum Answer {
    /// A new key. The only answer that holds a secret, and all that text prints of it.
    Made {
        /// What is known of it.
        key: Key,
        /// The key itself.
        token: SecretString,
    },
    /// Keys with their users' emails.
    Keys(Vec<(String, Key)>),
    /// A key was ended.
    Revoked(String),
}

/// Does what is asked.
///
/// # Errors
/// It does not work.
pub async fn answer(command: KeyCommand, config: &Config) -> Result<Answer, CliError> {
    let store = data::open(config).await?;
    let answer = match command {
        KeyCommand::Create(CreateArgs { user, name, scopes, expires }) => {
            let user = people::named_or_only(&store, user.as_deref()).await?;
            let expires_at = expires.map(|seconds| seconds.saturating_mul(1000).saturating_add(time::now_ms()));
            let scopes = Some(scopes).filter(|scopes| !scopes.is_empty());
            let how = Scope::join(scopes.as_deref().unwrap_or(&Scope::DEFAULT));
            let deed = Deed::new(Actor::LOCAL, Action::KeyCreate).of(&user.id).how(how);
            let made = people::create_key(&store, &user, NewKey { name, scopes, expires_at });
            let (key, token) = audit::record(&store, deed, made, |(key, _)| Some(key.id.clone())).await?;
            Answer::Made { key, token }
        }
        KeyCommand::List { user } => {
            let users = match user {
                Some(email) => vec![people::by_email(&store, &email).await?],
                None => people::users(&store, None, i64::MAX).await?,
            };
            let mut keys = Vec::new();
            for user in users {
                let of_user = people::keys(&store, &user.id, None, i64::MAX).await?;
                keys.extend(of_user.into_iter().map(|key| (user.email.clone(), key)));
            }
            keys.sort_by_key(|(_, key)| std::cmp::Reverse(key.created_at));
            Answer::Keys(keys)
        }
        KeyCommand::Revoke { id } => {
            let key = people::key_by_id(&store, &id).await?;
            let deed = Deed::new(Actor::LOCAL, Action::KeyRevoke).to(&key.id).of(&key.user_id);
            audit::record(&store, deed, people::revoke_key(&store, &key), |()| None).await?;
            Answer::Revoked(id)
        }
    };
    store.close().await;
    Ok(answer)
}

impl Answer {
    /// The answer as people read it: what a script would want, and nothing else.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Made { token, .. } => Some(token.expose_secret().to_owned()),
            Self::Keys(_) | Self::Revoked(_) => None,
        }
    }

    /// The answer as programs read it.
    pub fn json(&self) -> Value {
        match self {
            Self::Made { key, token } => {
                let mut key = view(key);
                key["key"] = json!(token.expose_secret());
                key
            }
            Self::Keys(keys) => {
                let with_user = |(email, key): &(String, Key)| {
                    let mut key = view(key);
                    key["user"] = json!(email);
                    key
                };
                json!({ "items": keys.iter().map(with_user).collect::<Vec<_>>(), "next_cursor": null })
            }
            Self::Revoked(id) => json!({ "id": id }),
        }
    }

    fn print(&self, format: Format) {
        match (format, self) {
            (Format::Json | Format::StreamJson, _) => output::json(&self.json()),
            (Format::Text, Self::Keys(keys)) => {
                output::table(
                    &["ID", "USER", "NAME", "KEY", "SCOPES", "MADE", "LAST USED", "STATE"],
                    keys.iter().map(row).collect(),
                    "there is no key yet: make one with `polydev key create`",
                );
            }
            (Format::Text, Self::Made { .. }) => self.text().iter().for_each(output::text),
            (Format::Text, Self::Revoked(id)) => output::note(format!("revoked `{id}`")),
        }
    }
}

fn view(key: &Key) -> Value {
    json!({
        "id": key.id,
        "hint": key.hint,
        "name": key.name,
        "scopes": key.scopes,
        "created_at": rfc3339(key.created_at),
        "expires_at": data::time(key.expires_at),
        "last_used_at": data::time(key.last_used_at),
        "revoked_at": data::time(key.revoked_at),
    })
}

fn row((email, key): &(String, Key)) -> Vec<String> {
    let state = match (key.revoked_at, key.expires_at) {
        (Some(_), _) => "revoked".to_owned(),
        (None, Some(at)) if at <= time::now_ms() => "expired".to_owned(),
        (None, Some(at)) => format!("until {}", rfc3339(at)),
        (None, None) => "active".to_owned(),
    };
    vec![
        key.id.clone(),
        email.clone(),
        key.name.clone().unwrap_or_default(),
        key.hint.clone(),
        key.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "),
        rfc3339(key.created_at),
        data::time(key.last_used_at).unwrap_or_default(),
        state,
    ]
}
