//! `polydev user`: people, on the data directory.

use super::{
    data,
    output::{self, CliError, Format},
};
use crate::{
    config::Config,
    domain::{
        audit::{self, Action, Actor, Deed},
        people::{self, Role, User, setup},
        time::rfc3339,
    },
    store::Store,
};
use clap::Subcommand;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

/// `polydev user …`
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add somebody, and print the password that was made up for them.
    Create {
        /// Their email.
        email: String,
        /// What they may do: admin or member. The first user is an admin, everybody else a member.
        #[arg(long, value_parser = role)]
        role: Option<Role>,
    },
    /// List everybody, newest first.
    List,
    /// Switch somebody off. Their keys and sessions end to work at once, and their runs are cancelled.
    Disable {
        /// Their email.
        email: String,
    },
    /// Give somebody a new password that is made up, and print it. They are signed out everywhere.
    Password {
        /// Their email.
        email: String,
    },
}

/// Does what is asked, and prints the answer.
///
/// # Errors
/// It does not work.
pub async fn run(command: UserCommand, config: &Config, format: Format) -> Result<(), CliError> {
    let answer = answer(command, config).await?;
    answer.print(format);
    Ok(())
}

/// What a command on people answers, before it is printed.
#[derive(Debug)]
pub enum Answer {
    /// Somebody has this password now. The only answer that holds a secret, and all that text prints of it.
    Password {
        /// Who.
        user: User,
        /// Their password.
        password: secrecy::SecretString,
    },
    /// Everybody.
    Users(Vec<User>),
    /// Somebody was switched off.
    Disabled(User),
}

/// Does what is asked.
///
/// # Errors
/// It does not work.
pub async fn answer(command: UserCommand, config: &Config) -> Result<Answer, CliError> {
    let store = data::open(config).await?;
    let answer = match command {
        UserCommand::Create { email, role } => {
            let role = match role {
                Some(role) => role,
                None if setup::is_needed(&store).await? => Role::Admin,
                None => Role::Member,
            };
            let deed = Deed::new(Actor::LOCAL, Action::UserCreate).how(format!("role={}", role.as_str()));
            let made = people::create_user(&store, &email, role);
            let (user, password) = audit::record(&store, deed, made, |(user, _)| Some(user.id.clone())).await?;
            // The link is dead with the first user; that its file goes too is only tidy.
            let _ = setup::remove(&config.server.data_dir);
            Answer::Password { user, password }
        }
        UserCommand::List => Answer::Users(people::users(&store, None, i64::MAX).await?),
        UserCommand::Disable { email } => {
            let deed = deed(&store, &email, Action::UserUpdate).await?.how("disabled=true");
            Answer::Disabled(audit::record(&store, deed, people::disable(&store, &email), |_| None).await?)
        }
        UserCommand::Password { email } => {
            let deed = deed(&store, &email, Action::PasswordReset).await?;
            let reset = people::reset_password(&store, &email);
            let (user, password) = audit::record(&store, deed, reset, |_| None).await?;
            Answer::Password { user, password }
        }
    };
    store.close().await;
    Ok(answer)
}

/// What is done to somebody who is there.
async fn deed(store: &Store, email: &str, action: Action) -> Result<Deed, CliError> {
    let user = people::by_email(store, email).await?;
    Ok(Deed::new(Actor::LOCAL, action).to(&user.id).of(&user.id))
}

impl Answer {
    /// The answer as people read it: what a script would want, and nothing else.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Password { password, .. } => Some(password.expose_secret().to_owned()),
            Self::Users(_) | Self::Disabled(_) => None,
        }
    }

    /// The answer as programs read it.
    pub fn json(&self) -> Value {
        match self {
            Self::Password { user, password } => {
                let mut user = view(user);
                user["password"] = json!(password.expose_secret());
                user
            }
            Self::Users(users) => json!({ "items": users.iter().map(view).collect::<Vec<_>>(), "next_cursor": null }),
            Self::Disabled(user) => view(user),
        }
    }

    fn print(&self, format: Format) {
        match (format, self) {
            (Format::Json | Format::StreamJson, _) => output::json(&self.json()),
            (Format::Text, Self::Users(users)) => {
                output::table(
                    &["EMAIL", "ROLE", "SINCE", "DISABLED"],
                    users.iter().map(row).collect(),
                    "there is no user yet: make one with `polydev user create EMAIL`",
                );
            }
            (Format::Text, Self::Password { .. }) => self.text().iter().for_each(output::text),
            (Format::Text, Self::Disabled(user)) => output::note(format!(
                "disabled `{}`; their keys and sessions end to work now, and their runs are cancelled",
                user.email
            )),
        }
    }
}

fn view(user: &User) -> Value {
    json!({
        "id": user.id,
        "email": user.email,
        "role": user.role,
        "created_at": rfc3339(user.created_at),
        "disabled_at": data::time(user.disabled_at),
    })
}

fn row(user: &User) -> Vec<String> {
    let disabled = data::time(user.disabled_at).unwrap_or_default();
    vec![user.email.clone(), user.role.as_str().to_owned(), rfc3339(user.created_at), disabled]
}

fn role(text: &str) -> Result<Role, &'static str> {
    text.parse().map_err(|_| "a role is `admin` or `member`")
}
