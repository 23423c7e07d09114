//! Sign-in pages, as a person's browser meets them: the same at every provider.
//!
//! ```text
//!   tool ──opens──► GET  authorize?client_id, redirect_uri, state, code_challenge
//!                     │ a page: who signs in (another may be chosen), Authorize, Deny
//!   person ───────► POST the same address: decision, account, fault
//!                     ├ Authorize ─► redirect_uri?code, state ─────────► tool ─► POST token: code, code_verifier, …
//!                     │              or a page that shows the code ─► person ─► tool
//!                     └ Deny ──────► redirect_uri?error=access_denied
//! ```
//!
//! A page offers who was put first for its provider, else the first person anybody spoke of, else `ada`; the others
//! by link, and whoever else by name. A `login_hint` or `account` in the address counts more.
//!
//! What a provider has of its own (which tool asks, where it may be sent back to) is its [`App`]. The code is
//! redeemed at the provider's token endpoint: `accounts/codes.rs`.

mod fault;
pub(crate) mod page;

use crate::{
    Ledger, Provider,
    accounts::{Asked, Grant, Person, Scope},
    received::Received,
    reply::{Reply, late},
};
pub use fault::{SignInFault, UnknownFault};
use http::Method;
use page::{escape, hidden};
use std::{collections::BTreeMap, time::Duration};
use url::Url;

/// The names of this computer that a tool may be sent back to.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// What a state begins with that a page has made up, since the link to it had none: the tool cannot repeat it.
pub(crate) const OWN_STATE: &str = "standin-";

/// How long a PKCE challenge is: a SHA-256 in base64.
const CHALLENGE_CHARS: usize = 43;

/// A tool that signs people in, as its provider knows it.
pub(crate) struct App {
    pub(crate) provider: Provider,
    /// What people call it.
    pub(crate) tool: &'static str,
    pub(crate) client: &'static str,
    /// The path on this computer that it is sent back to.
    pub(crate) callback: &'static str,
    /// The provider's own page that shows the code instead, where there is one.
    pub(crate) shown_at: Option<&'static str>,
    /// Whether it must use PKCE. Whoever begins with it must end with it all the same.
    pub(crate) pkce: bool,
    /// What is agreed to by these scopes.
    pub(crate) scope: fn(&str) -> Scope,
}

/// What a tool has sent a person here with.
struct Request {
    asked: Asked,
    redirect: Url,
    state: Option<String>,
    scope: Scope,
}

/// What a person has decided on a page.
pub(crate) enum Decision {
    /// They sign in, and this goes wrong with it.
    Agreed(Person, Option<SignInFault>),
    /// They do not, or may not: a sentence.
    Refused(&'static str),
}

/// Answers the authorize page: shows it, or does what the person has decided.
pub(crate) fn authorize(app: &App, request: &Received, ledger: &Ledger) -> Reply {
    match Request::read(app, &request.parameters()) {
        Ok(asked) => decide(app, request, ledger, |decision| match decision {
            Decision::Agreed(person, fault) => asked.back_with_code(app, person, fault, ledger),
            Decision::Refused(why) => asked.back_refused(why),
        }),
        Err(why) => page::note(400, &format!("{} cannot sign in", app.tool), &why),
    }
}

/// Shows a page on which a person decides, or does what they have decided.
pub(crate) fn decide(app: &App, request: &Received, ledger: &Ledger, then: impl FnOnce(Decision) -> Reply) -> Reply {
    let parameters = request.parameters();
    let form = if request.method == Method::POST { request.fields() } else { BTreeMap::new() };
    let field = |name: &str| form.get(name).map(String::as_str).or_else(|| named(&parameters, name));
    let person = match field("account").or_else(|| field("login_hint")).filter(|text| !text.is_empty()) {
        Some(text) => Person::written(text).ok_or(text),
        None => Ok(ledger.offered(app.provider).remove(0)),
    };
    let person = match person {
        Ok(person) => person,
        Err(text) => return page::note(400, "There is no such account", &format!("{text} is nobody's name.")),
    };
    let fault = match field("fault") {
        Some("") => None,
        Some(name) => match name.parse() {
            Ok(fault) => Some(fault),
            Err(unknown) => return page::note(400, "There is no such fault", &format!("{unknown}.")),
        },
        None => SignInFault::in_name(&person.name).or_else(|| ledger.fault(&person, app.provider)),
    };
    let reply = match form.get("decision").map(String::as_str) {
        None => ask(app, &parameters, &person, fault, ledger),
        Some("authorize") if fault == Some(SignInFault::Denied) => {
            then(Decision::Refused("This account may not use the application."))
        }
        Some("authorize") => {
            let person = match fault {
                Some(SignInFault::OtherAccount) => Person::named(&format!("{}-other", person.name)),
                _ => person,
            };
            ledger.meet(&person);
            then(Decision::Agreed(person, fault))
        }
        Some(_) => then(Decision::Refused("The person has denied the request.")),
    };
    late(reply, slow_page(fault))
}

/// A parameter of an address, the last of its name.
pub(crate) fn named<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters.iter().rev().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
}

fn slow_page(fault: Option<SignInFault>) -> Option<Duration> {
    match fault? {
        SignInFault::SlowPage(time) => Some(time),
        SignInFault::Denied
        | SignInFault::SlowToken(_)
        | SignInFault::ExpiredCode
        | SignInFault::NoRefreshToken
        | SignInFault::AfterToken
        | SignInFault::OtherAccount
        | SignInFault::Twice => None,
    }
}

/// The page itself. `parameters` are those of its address.
fn ask(
    app: &App,
    parameters: &[(String, String)],
    person: &Person,
    fault: Option<SignInFault>,
    ledger: &Ledger,
) -> Reply {
    ledger.meet(person);
    let body = format!(
        "<p>{tool} asks to use this account. It runs where you have started it.</p>\n\
         <form method=\"post\">\n{account}\
         <p><button class=\"main\" name=\"decision\" value=\"authorize\" autofocus>Authorize</button>\n\
         <button name=\"decision\" value=\"deny\">Deny</button></p>\n\
         <p><label for=\"fault\">What goes wrong</label> {faults}</p>\n</form>\n{others}",
        tool = app.tool,
        account = hidden("account", &person.name),
        faults = faults(fault),
        others = others(parameters, person, &ledger.offered(app.provider)),
    );
    page::page(200, &format!("Sign in to {} as {}", app.tool, person.email()), &body)
}

/// A choice of what is to go wrong.
fn faults(chosen: Option<SignInFault>) -> String {
    let option = |value: &str, text: &str, chosen: bool| {
        let selected = if chosen { " selected" } else { "" };
        format!("<option value=\"{}\"{selected}>{}</option>\n", escape(value), escape(text))
    };
    let known = SignInFault::ALL.iter().any(|(fault, _)| Some(*fault) == chosen);
    let other = chosen.filter(|_| !known).map(|fault| option(&fault.to_string(), &fault.to_string(), true));
    let all = SignInFault::ALL.iter().map(|(fault, text)| option(&fault.to_string(), text, Some(*fault) == chosen));
    let options: String = other.into_iter().chain(all).collect();
    format!("<select id=\"fault\" name=\"fault\">\n<option value=\"\">nothing</option>\n{options}</select>")
}

/// The way to sign in as somebody else: the same page, for another account.
fn others(parameters: &[(String, String)], person: &Person, offered: &[Person]) -> String {
    let kept = || parameters.iter().filter(|(name, _)| name != "account" && name != "fault");
    let links: String = offered
        .iter()
        .filter(|other| *other != person)
        .map(|other| {
            let mut address = url::form_urlencoded::Serializer::new(String::new());
            address.extend_pairs(kept()).append_pair("account", &other.name);
            format!("<li><a href=\"?{}\">{}</a></li>\n", escape(address.finish()), escape(other.email()))
        })
        .collect();
    let fields: String = kept().map(|(name, value)| hidden(name, value)).collect();
    format!(
        "<h2>Use another account</h2>\n<ul>\n{links}</ul>\n<form method=\"get\">\n{fields}\
         <label for=\"account\">Name</label> <input id=\"account\" name=\"account\" required>\n\
         <button>Use it</button>\n</form>"
    )
}

impl Request {
    /// What the address says, or in a sentence what is wrong with it. A browser is sent nowhere that is not checked.
    fn read(app: &App, parameters: &[(String, String)]) -> Result<Self, String> {
        let named = |name: &str| named(parameters, name).unwrap_or_default();
        if named("client_id") != app.client {
            return Err(format!("client_id {:?} is not {}.", named("client_id"), app.tool));
        }
        let redirect = Url::parse(named("redirect_uri")).ok().filter(|redirect| app.may_go_back_to(redirect));
        let Some(redirect) = redirect else {
            return Err(format!("redirect_uri {:?} is not on this computer, or not its.", named("redirect_uri")));
        };
        if named("response_type") != "code" {
            return Err("response_type must be code.".to_owned());
        }
        let state = Some(named("state").to_owned()).filter(|state| !state.is_empty());
        if state.is_none() {
            return Err("state is missing.".to_owned());
        }
        let challenge = Some(named("code_challenge").to_owned()).filter(|challenge| !challenge.is_empty());
        match &challenge {
            Some(_) if named("code_challenge_method") != "S256" => {
                return Err("code_challenge_method must be S256.".to_owned());
            }
            Some(challenge) if challenge.len() != CHALLENGE_CHARS => {
                return Err("code_challenge is no SHA-256.".to_owned());
            }
            None if app.pkce => return Err("code_challenge is missing.".to_owned()),
            Some(_) | None => {}
        }
        let bound = state.clone().filter(|state| !state.starts_with(OWN_STATE));
        let asked = Asked {
            client: app.client.to_owned(),
            redirect: named("redirect_uri").to_owned(),
            challenge,
            state: bound,
        };
        Ok(Self { asked, redirect, state, scope: (app.scope)(named("scope")) })
    }

    /// The person agrees: back with a code.
    fn back_with_code(self, app: &App, person: Person, fault: Option<SignInFault>, ledger: &Ledger) -> Reply {
        let back = || {
            let (person, asked) = (person.clone(), Some(self.asked.clone()));
            let code = ledger.grant(Grant { person, provider: app.provider, scope: self.scope, asked, fault });
            self.back(&[("code", &code)])
        };
        match fault {
            Some(SignInFault::Twice) => twice(&back(), &back()),
            _ => page::go(&back()),
        }
    }

    fn back_refused(&self, why: &str) -> Reply {
        page::go(&self.back(&[("error", "access_denied"), ("error_description", why)]))
    }

    fn back(&self, more: &[(&str, &str)]) -> String {
        let mut address = self.redirect.clone();
        address.query_pairs_mut().extend_pairs(more).extend_pairs(self.state.iter().map(|state| ("state", state)));
        address.into()
    }
}

/// A page whose browser goes back to the tool by itself, and once more on its own account.
fn twice(first: &str, second: &str) -> Reply {
    let body = format!(
        "<p><a href=\"{0}\">Go on</a></p>\n<meta http-equiv=\"refresh\" content=\"1; url={0}\">\n\
         <img alt=\"\" src=\"{1}\">",
        escape(second),
        escape(first)
    );
    page::page(200, "Going back, twice", &body)
}

impl App {
    fn may_go_back_to(&self, address: &Url) -> bool {
        let here = address.scheme() == "http"
            && address.host_str().is_some_and(|host| LOOPBACK.contains(&host))
            && address.path() == self.callback;
        let plain = address.query().is_none() && address.fragment().is_none() && address.username().is_empty();
        plain && (here || self.shown_at == Some(address.as_str()))
    }
}
