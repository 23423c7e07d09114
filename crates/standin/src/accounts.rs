//! People with accounts at the providers, and what a test may do to their logins.

mod codes;
mod devices;
mod files;
mod ledger;
mod person;
mod token;

use crate::{Provider, signin::SignInFault};
pub(crate) use codes::{Asked, Grant, NoGrant, challenge_of};
pub(crate) use devices::Polled;
pub(crate) use files::{CLAUDE_SCOPES, GEMINI_SCOPE};
pub(crate) use ledger::{Bad, DeviceAnswer, Holder, Ledger, Scope, Tokens};
pub(crate) use person::Person;
use std::{collections::BTreeMap, time::Duration};
pub(crate) use token::{CODEX_CLIENT, GEMINI_CLIENT, random};

/// A person with an account at every provider: [`Standin::account`](crate::Standin::account).
///
/// Any number of them, by name. Who they are follows from the name: `ada` is
/// `ada@example.test` in every stand-in. They have paid: claude `max`, codex `plus`, gemini `standard`.
#[derive(Debug, Clone)]
pub struct Account {
    person: Person,
    ledger: Ledger,
}

impl Account {
    pub(crate) fn new(name: &str, ledger: Ledger) -> Self {
        let person = Person::named(name);
        ledger.meet(&person);
        Self { person, ledger }
    }

    /// Their address, the same at every provider.
    pub fn email(&self) -> String {
        self.person.email()
    }

    /// What the provider calls the account: `accountUuid`, `chatgpt_account_id`, Google's `sub`.
    pub fn id(&self, provider: Provider) -> String {
        match provider {
            Provider::Claude => self.person.uuid("claude account"),
            Provider::Codex => self.person.uuid("chatgpt account"),
            Provider::Gemini => self.person.number("google"),
        }
    }

    /// Signs in, and returns exactly the files that the provider's tool would
    /// have written: their names below the tool's own folder (`.credentials.json`;
    /// `auth.json`; `oauth_creds.json` and `google_accounts.json`).
    ///
    /// Every call is a login of its own. The same files given to two tools are one login in two copies.
    pub fn login_files(&self, provider: Provider) -> BTreeMap<String, Vec<u8>> {
        files::of(provider, &self.ledger.sign_in(&self.person, provider, None))
    }

    /// The same with an access token that lives this long: [`Duration::ZERO`] for one that has expired. What a
    /// refresh then gives lives as usual.
    pub fn login_files_for(&self, provider: Provider, lives: Duration) -> BTreeMap<String, Vec<u8>> {
        files::of(provider, &self.ledger.sign_in(&self.person, provider, Some(lives)))
    }

    /// A token for a year as `claude setup-token` prints it: without a refresh token, for asking the model only.
    pub fn setup_token(&self) -> String {
        self.ledger.setup_token(&self.person).access
    }

    /// A code as the provider's sign-in page hands it to the tool, which redeems it once.
    pub fn authorization_code(&self, provider: Provider) -> String {
        let (person, scope) = (self.person.clone(), Scope::Login);
        self.ledger.grant(Grant { person, provider, scope, asked: None, fault: None })
    }

    /// Agrees to the sign-in of a tool that shows this code (`codex login --device-auth`), as the page would. Tells
    /// whether one waits for it.
    pub fn approve_device(&self, user_code: &str) -> bool {
        crate::codex::approve(&self.ledger, user_code, &self.person, None)
    }

    /// Sign-in pages of this provider offer this person from now on, unless somebody else is asked for.
    pub fn put_first(&self, provider: Provider) {
        self.ledger.put_first(&self.person, provider);
    }

    /// This goes wrong from now on when the account signs in on a page; `None` for nothing.
    pub fn fault(&self, provider: Provider, fault: Option<SignInFault>) {
        self.ledger.let_fail(&self.person, provider, fault);
    }

    /// How often this account has signed in, by a page or by [`Account::login_files`] and its like.
    pub fn logins(&self, provider: Provider) -> usize {
        self.ledger.logins(&self.person, provider)
    }

    /// From now on, access tokens that this account gets live this long (claude: eight hours, codex: ten days,
    /// gemini: an hour).
    pub fn let_live(&self, provider: Provider, lives: Duration) {
        self.ledger.let_live(&self.person, provider, lives);
    }

    /// All access tokens that this account has, setup tokens too, expire now, whatever the files say.
    pub fn expire(&self, provider: Provider) {
        self.ledger.expire(&self.person, provider);
    }

    /// All logins of this account are dead: refreshes are refused, and API calls are answered 401. The person may
    /// sign in again.
    pub fn revoke(&self, provider: Provider) {
        self.ledger.revoke(&self.person, provider);
    }

    /// Whether the provider is down for this account: whatever a tool asks about it is answered 500, also of a login
    /// that there is already.
    pub fn silence(&self, provider: Provider, is_silent: bool) {
        self.ledger.silence(&self.person, provider, is_silent);
    }

    /// How often tokens of this account were refreshed.
    pub fn refreshes(&self, provider: Provider) -> usize {
        self.ledger.refreshed(&self.person, provider).0
    }

    /// How often a refresh was refused because its token had been used before: two copies of one login.
    pub fn refresh_reuses(&self, provider: Provider) -> usize {
        self.ledger.refreshed(&self.person, provider).1
    }
}
