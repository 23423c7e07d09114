//! `/logins/{id}/desktop`: the screen of a login over a WebSocket.
//!
//! ```text
//!   browser                                    server                          sandbox
//!     GET, cookie | key | ticket ────────────►  who, whose, ready, seat: refused here, before the upgrade
//!     ◄══════════════ binary messages ═══════►  bridge.rs ◄══════════════════►  screen (RFB, RFC 6143)
//! ```
//! A browser that goes leaves the desktop as it is: it may come back to it.
//!
//! | closes with | because |
//! |---|---|
//! | 1000 | the browser has closed |
//! | 1001 | the server stops |
//! | 1003 | the browser sent text, and not bytes |
//! | 1008 | the key or session is over |
//! | 1009 | the browser sent a message that is too long, or none that can be read |
//! | 1011 | the sandbox is gone |
//! | 4001 | another viewer took over |
//! | 4002 | the login is over |

use super::{
    App,
    bridge::{self, LARGE_PIECES, Patience, carry},
    caller::Caller,
    error::{ApiError, ApiResult, ErrorBody},
    extract::{Auth, Path, Query, turned_away},
    listener::Place,
    logins::{find_login, over, own},
    rate,
    socket::{Close, CloseCode, Handshake, Socket},
    tickets::Tickets,
    viewers::{Seat, Viewers},
};
use crate::{
    cli::output::chain,
    domain::{
        audit::{Action, Deed},
        failure::Code,
        login::{Login, Status},
        people::{self, Limits, Principal, Scope},
        time,
    },
};
use axum::{Extension, extract::State, response::Response};
use polydev_sandbox::Stream;
use serde::Deserialize;
use std::net::IpAddr;
use tokio::time::Instant;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Another viewer took over.
const TAKEN_OVER: CloseCode = CloseCode::Library(4001);
/// The login is over.
const LOGIN_OVER: CloseCode = CloseCode::Library(4002);

/// What the server knows of screens that are looked at. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Desktops {
    /// What lets somebody look at one.
    pub tickets: Tickets,
    /// Who looks.
    pub viewers: Viewers,
    /// How often an address was refused of whom nothing is known: only so many are written down.
    pub strangers: Limits,
}

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(desktop))
}

/// How to look.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct DesktopQuery {
    /// A ticket of `POST /logins/{id}/tickets`, in place of a key or a cookie.
    ticket: Option<String>,
    /// Take over from who looks already.
    #[serde(default)]
    take: bool,
}

/// The screen of a login over a WebSocket: RFB in binary messages, security type None.
///
/// By key, by cookie with its `Origin`, or by ticket. The subprotocol `binary` is echoed if it is offered. One looks at
/// a time: with `take=true` the other is closed with 4001. Closes with 4002 when the login is over, 1011 when its
/// sandbox is gone, 1001 when the server stops.
#[utoipa::path(
    get, path = "/logins/{id}/desktop", tag = "logins",
    params(("id" = String, Path, description = "The login's id"), DesktopQuery),
    responses(
        (status = 101, description = "The screen, as bytes"),
        (status = 401, description = "No valid key, session or ticket", body = ErrorBody),
        (status = 403, description = "The key lacks `logins`, or the `Origin` is not this server's", body = ErrorBody),
        (status = 404, description = "No such login, or another person's", body = ErrorBody),
        (status = 409, description = "It is not ready, or somebody looks already", body = ErrorBody),
        (status = 410, description = "It is over", body = ErrorBody),
        (status = 422, description = "An unknown parameter", body = ErrorBody),
        (status = 426, description = "Not the handshake of a WebSocket", body = ErrorBody),
        (status = 429, description = "Too many streams are open, or too many requests", body = ErrorBody),
    )
)]
async fn desktop(
    State(app): State<App>,
    caller: Caller,
    auth: ApiResult<Auth>,
    Path(id): Path<String>,
    Query(query): Query<DesktopQuery>,
    place: Option<Extension<Place>>,
    handshake: ApiResult<Handshake>,
) -> ApiResult<Response> {
    let who = match query.ticket.as_deref() {
        Some(ticket) => by_ticket(&app, ticket, &id).await,
        None => auth.and_then(|auth| auth.require(Scope::Logins)),
    };
    let who = match who {
        Ok(who) => who,
        Err(refusal) => return Err(turn_away(&app, &caller, &id, refusal).await),
    };
    let deed = Deed::new(caller.actor(&who), Action::LoginDesktop).to(id.chars().take(64).collect::<String>());
    let admitted = admit(app.clone(), (who.clone(), caller.address), id, query.take, handshake);
    let ((login, seat, screen), handshake, open) = app.audit.record(deed, admitted, |_| None).await?;
    Ok(handshake.protocol("binary").open(bridge::small(), async move |socket| {
        serve(app, who, login, seat, screen, socket).await;
        drop((open, place));
    }))
}

/// Who made this ticket for this login. It is good no longer than the key or session that it was made with.
async fn by_ticket(app: &App, ticket: &str, login: &str) -> ApiResult<Principal> {
    if let Some(who) = app.desktops.tickets.take(ticket, login, Instant::now())
        && people::is_still_good(&app.store, &who, time::now_ms()).await?
    {
        return Ok(who);
    }
    let words =
        "the ticket is not valid: unknown, used, too old, of another login, or of a key or session that is over";
    Err(ApiError::new(Code::Unauthenticated, words)
        .hint("`POST /api/v1/logins/{id}/tickets` makes one, good once and for 30 s."))
}

/// Lets somebody look who may.
async fn admit(
    app: App,
    (who, address): (Principal, IpAddr),
    id: String,
    take: bool,
    handshake: ApiResult<Handshake>,
) -> ApiResult<((String, Seat, Stream), Handshake, rate::Stream)> {
    let login = own(&app, &who, &id).await?;
    if login.status.is_over() {
        return Err(over(&login));
    }
    if !login.status.has_desktop() {
        let words = format!("the desktop of login `{id}` is not ready: it is {}", login.status.as_str());
        return Err(ApiError::new(Code::NotReady, words).hint("`GET /api/v1/logins/{id}/events` tells when it is."));
    }
    let handshake = handshake
        .map_err(|refusal| refusal.hint("Open `page_url` of the login in a browser, or use a client of WebSockets."))?;
    let open = app.streams.open(&who, address)?;
    // First of all: who looks is not to lose the screen to somebody who does not get it.
    let screen = match app.runs.logins().screen(&login).await {
        Ok(screen) => screen.ok_or_else(|| over(&login))?,
        Err(error) => {
            tracing::warn!(login = id, error = chain(&error), "a screen cannot be looked at");
            return Err(ApiError::new(Code::NotReady, format!("the screen of login `{id}` does not answer"))
                .hint("Try again in a moment; if it is gone, the login says so."));
        }
    };
    let seat = app.desktops.viewers.take(&id, take).ok_or_else(|| {
        ApiError::new(Code::Conflict, format!("somebody looks at the desktop of login `{id}` already"))
            .hint("Take over with `?take=true`.")
    })?;
    Ok(((id, seat, screen), handshake, open))
}

/// Writes down that somebody was refused of whom nothing is known, unless there were too many of that address.
async fn turn_away(app: &App, caller: &Caller, id: &str, refusal: ApiError) -> ApiError {
    if app.desktops.strangers.fail(caller.address, time::now_ms()).is_err() {
        return refusal;
    }
    let mut deed = Deed::new(caller.anonymous(), Action::LoginDesktop);
    // What a stranger names is not written down, unless there is such a thing.
    if let Ok(login) = find_login(app, id).await {
        deed = deed.to(&login.id).of(login.user_id);
    }
    match app.audit.record(deed, async { Err::<(), _>(refusal) }, |()| None).await {
        Ok(()) => ApiError::fault("a refusal was none".into()),
        Err(refusal) => refusal,
    }
}

async fn serve(app: App, who: Principal, login: String, seat: Seat, mut screen: Stream, socket: Socket) {
    let close = tokio::select! {
        biased;
        close = until_over(&app, &login) => Some(close),
        () = seat.taken() => Some((TAKEN_OVER, "another viewer took over")),
        () = turned_away(app.clone(), who) => Some((CloseCode::Policy, "the key or session is over")),
        close = carry(&socket, &mut screen, &LARGE_PIECES, Patience::default()) => close,
    };
    // The screen goes on without it, and may be looked at by another.
    drop((screen, seat));
    let Some((code, reason)) = close else { return };
    let (code, reason) = match app.store.login(&login).await {
        // The screen goes with the login's end, and may be the first to be seen.
        Ok(Some(login)) if code == CloseCode::Error && login.status.is_over() => end_of(&login),
        Ok(_) | Err(_) => (code, reason),
    };
    socket.close((code, reason)).await;
}

/// Waits for the login's end.
async fn until_over(app: &App, id: &str) -> Close {
    let mut follower = app.runs.hub().subscribe(id);
    loop {
        follower.look();
        match app.store.login(id).await {
            Ok(Some(login)) if login.status.is_over() => return end_of(&login),
            Ok(Some(_)) => {}
            Ok(None) => return (LOGIN_OVER, "the login is forgotten"),
            // What happens next is looked at again.
            Err(error) => tracing::warn!(login = id, error = chain(&error), "a login cannot be looked at"),
        }
        if !follower.woken().await {
            return (CloseCode::Away, "the server stops");
        }
    }
}

/// What a viewer is told of a login that is over.
fn end_of(login: &Login) -> Close {
    let gone = login.error.as_ref().is_some_and(|error| matches!(error.code, Code::ToolCrashed | Code::OutOfMemory));
    match login.status {
        Status::Failed if gone => (CloseCode::Error, "the sandbox is gone"),
        Status::Connected => (LOGIN_OVER, "connected"),
        Status::Failed => (LOGIN_OVER, "the login has failed"),
        Status::Expired => (LOGIN_OVER, "the time of the login is over"),
        Status::Cancelled => (LOGIN_OVER, "the login was cancelled"),
        Status::Requested | Status::Preparing | Status::Ready | Status::Verifying => (LOGIN_OVER, "the login is over"),
    }
}
