//! Which tokens were given out, and what becomes of them.
//!
//! ```text
//!   grant ─► code ─ redeem ─┐
//!   sign_in ────────────────┴► Login
//!   Login ─┬─ refresh token ── refresh ──► used: refused from now on, and a new pair of tokens
//!          │                               (Google's is not: it stays, and only the access token is new)
//!          └─ access token ─── its time, or expire ──► expired
//!   revoke ──► the login is dead: no refresh, and none of its access tokens is good
//! ```

use super::{
    codes::{Codes, Grant, NoGrant},
    devices::{Device, Devices, Polled},
    person::Person,
    token,
};
use crate::{Provider, clock, signin::SignInFault};
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long a setup token of claude's is good for: a year.
const SETUP_TOKEN: Duration = Duration::from_secs(365 * 24 * 3600);

/// Whom a sign-in page offers where nobody has been heard of.
const SOMEBODY: &str = "ada";

/// How many people a sign-in page offers at most.
const OFFERED: usize = 20;

/// Every token that was given out, shared by all connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    logins: Vec<Login>,
    access: HashMap<String, Access>,
    /// The logins of id tokens.
    ids: HashMap<String, usize>,
    refresh: HashMap<String, Refresh>,
    codes: Codes,
    devices: Devices,
    accounts: HashMap<(String, Provider), Tally>,
    /// Everybody who has been heard of, in that order.
    people: Vec<Person>,
    first: HashMap<Provider, Person>,
}

/// One sign-in of one person. Signing in again is another one.
#[derive(Debug)]
struct Login {
    person: Person,
    provider: Provider,
    scope: Scope,
    revoked: bool,
    /// Nothing is told about the account.
    mute: bool,
}

#[derive(Debug)]
struct Access {
    login: usize,
    expires: Timestamp,
}

#[derive(Debug)]
struct Refresh {
    login: usize,
    used: bool,
}

#[derive(Debug, Default)]
struct Tally {
    lives: Option<Duration>,
    fault: Option<SignInFault>,
    logins: usize,
    refreshes: usize,
    reuses: usize,
}

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything that a login is.
    Login,
    /// Asking the model, and nothing else: a setup token.
    Inference,
}

/// What a sign-in or a refresh gives.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    pub(crate) person: Person,
    pub(crate) scope: Scope,
    pub(crate) access: String,
    /// Empty where there is none.
    pub(crate) refresh: String,
    pub(crate) id: Option<String>,
    pub(crate) issued: Timestamp,
    pub(crate) expires: Timestamp,
}

impl Tokens {
    /// Seconds from issue to expiry.
    pub(crate) fn expires_in(&self) -> i64 {
        self.expires.as_second() - self.issued.as_second()
    }
}

/// What a code gives.
#[derive(Debug)]
pub(crate) struct Redeemed {
    pub(crate) tokens: Tokens,
    /// How much later they are to come.
    pub(crate) late: Option<Duration>,
}

/// What becomes of a device that waits.
#[derive(Debug)]
pub(crate) enum DeviceAnswer {
    /// Its tool gets a code for this.
    Agree(Grant),
    /// The person refuses.
    Refuse,
    /// Its time is over.
    Expire,
}

/// Whose a good access token is.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    pub(crate) person: Person,
    pub(crate) scope: Scope,
    /// Nothing is to be told about the account: [`SignInFault::AfterToken`].
    pub(crate) mute: bool,
    pub(crate) expires: Timestamp,
}

/// Why a token is none, or none any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Never given out by this provider.
    Unknown,
    /// A refresh token that was used before.
    Used,
    /// An access token whose time is over.
    Expired,
    /// Its login was revoked.
    Revoked,
}

impl Ledger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signs in. The first access token lives as long as said, or as the account's do.
    pub(crate) fn sign_in(&self, person: &Person, provider: Provider, lives: Option<Duration>) -> Tokens {
        let mut state = self.state();
        let login = state.open(person, provider, Scope::Login);
        let lives = lives.unwrap_or_else(|| state.lives(person, provider));
        let refresh = state.refreshable(login);
        state.issue(login, refresh, lives)
    }

    /// A code for what a person has agreed to.
    pub(crate) fn grant(&self, grant: Grant) -> String {
        self.state().codes.issue(grant)
    }

    /// Signs in with the code of a token request, which works once.
    pub(crate) fn redeem(&self, provider: Provider, fields: &BTreeMap<String, String>) -> Result<Redeemed, NoGrant> {
        let mut state = self.state();
        let Grant { person, scope, fault, .. } = state.codes.take(provider, fields)?;
        let login = state.open(&person, provider, scope);
        state.logins[login].mute = fault == Some(SignInFault::AfterToken);
        let tokens = match scope {
            Scope::Inference => state.issue(login, String::new(), SETUP_TOKEN),
            Scope::Login => {
                let lives = state.lives(&person, provider);
                let none = fault == Some(SignInFault::NoRefreshToken);
                let refresh = if none { String::new() } else { state.refreshable(login) };
                state.issue(login, refresh, lives)
            }
        };
        let late = match fault {
            Some(SignInFault::SlowToken(time)) => Some(time),
            _ => None,
        };
        Ok(Redeemed { tokens, late })
    }

    /// A tool without a browser begins to sign in.
    pub(crate) fn begin_device(&self) -> Device {
        self.state().devices.begin()
    }

    /// What a tool is told that polls for its device.
    pub(crate) fn poll_device(&self, id: &str, user_code: &str) -> Polled {
        self.state().devices.poll(id, user_code)
    }

    /// The device that shows this code and waits.
    pub(crate) fn device(&self, user_code: &str) -> Option<Device> {
        self.state().devices.waiting(user_code).map(|device| device.clone())
    }

    /// Does something to the device that shows this code, if it still waits.
    pub(crate) fn answer_device(&self, user_code: &str, answer: DeviceAnswer) -> bool {
        let State { devices, codes, .. } = &mut *self.state();
        let Some(device) = devices.waiting(user_code) else { return false };
        match answer {
            DeviceAnswer::Agree(grant) => device.agree(codes.issue(grant)),
            DeviceAnswer::Refuse => device.refuse(),
            DeviceAnswer::Expire => device.expire(),
        }
        true
    }

    /// A token for a year that cannot be refreshed.
    pub(crate) fn setup_token(&self, person: &Person) -> Tokens {
        let mut state = self.state();
        let login = state.open(person, Provider::Claude, Scope::Inference);
        state.issue(login, String::new(), SETUP_TOKEN)
    }

    /// New tokens for a refresh token.
    pub(crate) fn refresh(&self, provider: Provider, token: &str) -> Result<Tokens, Bad> {
        let mut state = self.state();
        let known = state.refresh.get(token).map(|refresh| (refresh.login, refresh.used));
        let Some((login, used)) = known.filter(|(login, _)| state.logins[*login].provider == provider) else {
            return Err(Bad::Unknown);
        };
        let Login { person, revoked, .. } = &state.logins[login];
        let (person, revoked) = (person.clone(), *revoked);
        if used {
            state.tally(&person, provider).reuses += 1;
            return Err(Bad::Used);
        }
        if revoked {
            return Err(Bad::Revoked);
        }
        let next = match provider {
            Provider::Claude | Provider::Codex => token::refresh(provider),
            Provider::Gemini => token.to_owned(),
        };
        if next != token {
            state.refresh.insert(token.to_owned(), Refresh { login, used: true });
            state.refresh.insert(next.clone(), Refresh { login, used: false });
        }
        state.tally(&person, provider).refreshes += 1;
        let lives = state.lives(&person, provider);
        Ok(state.issue(login, next, lives))
    }

    /// Whose this access token is.
    pub(crate) fn holder(&self, provider: Provider, token: &str) -> Result<Holder, Bad> {
        let state = self.state();
        let access = state.access.get(token).ok_or(Bad::Unknown)?;
        let login = &state.logins[access.login];
        if login.provider != provider {
            Err(Bad::Unknown)
        } else if login.revoked {
            Err(Bad::Revoked)
        } else if access.expires <= clock::now() {
            Err(Bad::Expired)
        } else {
            let Login { person, scope, mute, .. } = login;
            Ok(Holder { person: person.clone(), scope: *scope, mute: *mute, expires: access.expires })
        }
    }

    /// Whether nothing is to be told about the account whose id token this is, or told to be.
    pub(crate) fn is_mute(&self, id: &str) -> bool {
        let state = self.state();
        state.ids.get(id).is_some_and(|login| state.logins[*login].mute)
    }

    /// The login of this token, of either kind, is dead from now on: what a tool's own logout asks for.
    pub(crate) fn give_back(&self, token: &str) {
        let mut state = self.state();
        let login = state.access.get(token).map(|a| a.login).or_else(|| state.refresh.get(token).map(|r| r.login));
        if let Some(login) = login {
            state.logins[login].revoked = true;
        }
    }

    /// Every login of the account is dead from now on.
    pub(crate) fn revoke(&self, person: &Person, provider: Provider) {
        for login in &mut self.state().logins {
            login.revoked |= login.is_of(person, provider);
        }
    }

    /// Nothing is told about the account, or is again, whichever of its logins asks.
    pub(crate) fn silence(&self, person: &Person, provider: Provider, is_silent: bool) {
        for login in self.state().logins.iter_mut().filter(|login| login.is_of(person, provider)) {
            login.mute = is_silent;
        }
    }

    /// Every access token of the account expires now.
    pub(crate) fn expire(&self, person: &Person, provider: Provider) {
        let now = clock::now();
        let State { logins, access, .. } = &mut *self.state();
        for access in access.values_mut().filter(|access| logins[access.login].is_of(person, provider)) {
            access.expires = access.expires.min(now);
        }
    }

    /// From now on the account's access tokens live this long.
    pub(crate) fn let_live(&self, person: &Person, provider: Provider, lives: Duration) {
        self.state().tally(person, provider).lives = Some(lives);
    }

    /// This is to go wrong when the account signs in, from now on.
    pub(crate) fn let_fail(&self, person: &Person, provider: Provider, fault: Option<SignInFault>) {
        self.state().tally(person, provider).fault = fault;
    }

    /// What is to go wrong when the account signs in.
    pub(crate) fn fault(&self, person: &Person, provider: Provider) -> Option<SignInFault> {
        self.state().tally(person, provider).fault
    }

    /// How often the account has signed in.
    pub(crate) fn logins(&self, person: &Person, provider: Provider) -> usize {
        self.state().tally(person, provider).logins
    }

    /// Somebody is heard of, and offered on sign-in pages from now on.
    pub(crate) fn meet(&self, person: &Person) {
        let people = &mut self.state().people;
        if !people.contains(person) {
            people.push(person.clone());
        }
    }

    /// Sign-in pages offer this person first, from now on.
    pub(crate) fn put_first(&self, person: &Person, provider: Provider) {
        self.meet(person);
        self.state().first.insert(provider, person.clone());
    }

    /// Whom a sign-in page offers, the likeliest first.
    pub(crate) fn offered(&self, provider: Provider) -> Vec<Person> {
        let state = self.state();
        let first = state.first.get(&provider).or(state.people.first()).cloned();
        let first = first.unwrap_or_else(|| Person::named(SOMEBODY));
        let others = state.people.iter().filter(|person| **person != first).cloned();
        std::iter::once(first.clone()).chain(others).take(OFFERED).collect()
    }

    /// How often the account's tokens were refreshed, and how often that was refused because the token was used.
    pub(crate) fn refreshed(&self, person: &Person, provider: Provider) -> (usize, usize) {
        let mut state = self.state();
        let tally = state.tally(person, provider);
        (tally.refreshes, tally.reuses)
    }
}

impl State {
    fn open(&mut self, person: &Person, provider: Provider, scope: Scope) -> usize {
        self.tally(person, provider).logins += 1;
        self.logins.push(Login { person: person.clone(), provider, scope, revoked: false, mute: false });
        self.logins.len() - 1
    }

    /// A first refresh token for a login.
    fn refreshable(&mut self, login: usize) -> String {
        let token = token::refresh(self.logins[login].provider);
        self.refresh.insert(token.clone(), Refresh { login, used: false });
        token
    }

    fn issue(&mut self, login: usize, refresh: String, lives: Duration) -> Tokens {
        let Login { person, provider, scope, .. } = &self.logins[login];
        let issued = clock::now();
        let expires = SignedDuration::try_from(lives).ok().and_then(|lives| issued.checked_add(lives).ok());
        let expires = expires.unwrap_or(Timestamp::MAX);
        let access = token::access(*provider, person, issued, expires);
        let id = token::id(*provider, person, issued);
        let tokens = Tokens { person: person.clone(), scope: *scope, access, refresh, id, issued, expires };
        self.ids.extend(tokens.id.iter().map(|id| (id.clone(), login)));
        self.access.insert(tokens.access.clone(), Access { login, expires });
        tokens
    }

    fn tally(&mut self, person: &Person, provider: Provider) -> &mut Tally {
        self.accounts.entry((person.name.clone(), provider)).or_default()
    }

    fn lives(&mut self, person: &Person, provider: Provider) -> Duration {
        // What the providers themselves say.
        let usual = Duration::from_secs(match provider {
            Provider::Claude => 8 * 3600,
            Provider::Codex => 10 * 24 * 3600,
            Provider::Gemini => 3599,
        });
        self.tally(person, provider).lives.unwrap_or(usual)
    }
}

impl Login {
    fn is_of(&self, person: &Person, provider: Provider) -> bool {
        self.person.name == person.name && self.provider == provider
    }
}
