//! How often may be asked, and how many streams may be open: of one key, one person, one address.
//!
//! Every request passes here but `GET /healthz`, which asks nothing of the server, and which a load balancer asks
//! each second. What is shown of a key or a session is looked up here, once, and [`Auth`](super::extract::Auth) finds
//! it; how it is counted is drawn in `domain/rates.rs`.

use super::{
    App,
    caller::Caller,
    error::{ApiError, ApiResult},
    extract, host,
};
use crate::{
    config::RateLimits,
    domain::{
        audit::{Action, Coded, Deed},
        failure::{Code, Failure},
        people::{Principal, TokenKind},
        rates::{Crowd, Limit, Of, Seat, TokenHash, TooMuch, net},
        time,
    },
};
use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderName, HeaderValue, header, request::Parts},
    middleware::Next,
    response::Response,
};
use std::net::IpAddr;

/// What is asked without end, and costs nothing.
pub(super) const ALIVE: &str = "/healthz";
/// The fields of draft-ietf-httpapi-ratelimit-headers-10, on what is refused.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// Who asks, or why they are nobody: among the extensions of every request that has passed here.
#[derive(Debug, Clone)]
pub(super) struct Asker(pub(super) ApiResult<Principal>);

/// Lets a request through, if there were not too many.
pub(super) async fn limit(State(app): State<App>, request: Request, next: Next) -> ApiResult<Response> {
    let (mut parts, body) = request.into_parts();
    if parts.uri.path() != ALIVE {
        let caller = Caller::from_request_parts(&mut parts, &app).await?;
        let asker = Asker(asker(&app, &parts, &caller).await?);
        parts.extensions.insert(asker);
    }
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// Counts the request, and tells who asks. What comes second is for handlers that are not open.
async fn asker(app: &App, parts: &Parts, caller: &Caller) -> ApiResult<ApiResult<Principal>> {
    let changes = !parts.method.is_safe();
    let (kind, token) = match extract::shown(&parts.headers) {
        Ok(shown) => shown,
        Err(nothing) => return stranger(app, caller, changes).await.map(|()| Err(nothing)),
    };
    let hash = TokenHash::of(token);
    let was_good = app.rates.is_good(&hash);
    if !was_good {
        stranger(app, caller, changes).await?;
        if let Err(too_much) = app.rates.may_guess(caller.address) {
            return Ok(Err(refuse(app, caller, None, too_much).await));
        }
    }
    let refused = match extract::look_up(app, kind, token, caller.address).await {
        Ok(who) => {
            app.rates.was_good(hash);
            match from_own_page(app, parts, kind) {
                Ok(()) => {
                    let known = app.rates.known(&who.token_id, &who.user_id, changes);
                    return match known {
                        Ok(()) => Ok(Ok(who)),
                        Err(too_much) => Err(refuse(app, caller, Some(&who), too_much).await),
                    };
                }
                Err(foreign) => foreign,
            }
        }
        Err(error) => {
            if error.code() == Code::Unauthenticated {
                app.rates.was_refused(hash, caller.address);
            }
            error
        }
    };
    if was_good {
        stranger(app, caller, changes).await?;
    }
    Ok(Err(refused))
}

/// A browser sends a cookie along with what a foreign page asks for: what changes something, or opens a WebSocket,
/// must come from a page of our own; and nothing else is looked at for a foreign one either, so that it learns nothing
/// by the time that it takes, but where somebody follows its link.
fn from_own_page(app: &App, parts: &Parts, kind: TokenKind) -> ApiResult<()> {
    let changes = !parts.method.is_safe() || parts.headers.contains_key(header::UPGRADE);
    match kind {
        TokenKind::Session if changes => host::own_page(&app.hosts, &parts.headers, true),
        TokenKind::Session if !host::is_link(&parts.headers) => host::own_page(&app.hosts, &parts.headers, false),
        TokenKind::Session | TokenKind::Key => Ok(()),
    }
}

/// Counts a request of somebody unknown.
async fn stranger(app: &App, caller: &Caller, changes: bool) -> ApiResult<()> {
    match app.rates.unknown(caller.address, changes) {
        Ok(()) => Ok(()),
        Err(too_much) => Err(refuse(app, caller, None, too_much).await),
    }
}

/// Says that there is too much, and records it where it is news: a flood is one entry, and not a million.
async fn refuse(app: &App, caller: &Caller, who: Option<&Principal>, too_much: TooMuch) -> ApiError {
    let (of, actor) = match who {
        Some(who) => (Of::Person(who.user_id.clone()), caller.actor(who)),
        None => (Of::Address(net(caller.address)), caller.anonymous()),
    };
    let error = too_many(too_much);
    if app.rates.is_news(&of) {
        let limit = too_much.limit.name();
        tracing::warn!(address = %caller.address, user_id = who.map(|who| &who.user_id), limit, "requests are refused: too many");
        let deed = Deed::new(actor, Action::Limited).how(limit);
        let refused = error.clone();
        let _ = app.audit.record(deed, async { Err::<(), _>(refused) }, |()| None).await;
    }
    error
}

fn too_many(TooMuch { limit, most, window_s, wait }: TooMuch) -> ApiError {
    let what = match limit {
        Limit::Key => "this key or session asks too often",
        Limit::Person => "your keys and sessions together ask too often",
        Limit::Changes => "too many requests are to change something",
        Limit::Address => "too many requests come from this address",
        Limit::Refused => "too many keys and sessions that are not valid come from this address",
    };
    let seconds = wait.as_millis().div_ceil(1000).max(1) as u64;
    let mut failure = Failure::new(Code::RateLimited, format!("{what}: more than {most} in {window_s} s")).hint(
        format!("Wait as long as `Retry-After` says. `{}` of the server's configuration sets it.", limit.setting()),
    );
    failure.retry_at = Some(time::rfc3339(time::now_ms() + wait.as_millis() as i64));
    let name = limit.name();
    let field = |value: String| HeaderValue::try_from(value).expect("it is of printable characters");
    ApiError::from(failure)
        .retry_after(seconds)
        .field(POLICY, field(format!("\"{name}\";q={most};w={window_s}")))
        .field(LEFT, field(format!("\"{name}\";r=0;t={seconds}")))
}

/// The streams that are open. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Streams {
    open: Crowd<Of>,
    of_person: u32,
    of_address: u32,
}

/// A stream's place among those that are open, until dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Stream(#[expect(dead_code, reason = "they are held, and given back")] [Seat<Of>; 2]);

impl Streams {
    /// None is open.
    pub fn new(limits: &RateLimits) -> Self {
        Self { open: Crowd::default(), of_person: limits.person_streams, of_address: limits.address_streams }
    }

    /// Opens one for this person at this address.
    pub(super) fn open(&self, who: &Principal, address: IpAddr) -> ApiResult<Stream> {
        let full = |whose: &str, most: u32, setting: &str| {
            ApiError::new(Code::RateLimited, format!("{most} streams of {whose} are open"))
                .hint(format!("Close one, and come back. `{setting}` of the server's configuration sets it."))
        };
        let person = self.open.enter(Of::Person(who.user_id.clone()), self.of_person);
        let person = person.ok_or_else(|| full("yours", self.of_person, "limits.person_streams"))?;
        let at = self.open.enter(Of::Address(net(address)), self.of_address);
        let at = at.ok_or_else(|| full("this address", self.of_address, "limits.address_streams"))?;
        Ok(Stream([person, at]))
    }
}
