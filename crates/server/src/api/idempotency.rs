//! `Idempotency-Key`: a request that is sent twice is done once.
//!
//! ```text
//!   key ─► may they? ─► read and hash the body ─► nobody is at it? ─► kept? ─► the same request? ─► answer it again
//!           401, 403                                409 in progress     │        409 conflict
//!                                                                       └ no ─► the handler ─► keep its answer
//! ```
//!
//! Kept is what was done: an answer of 200 to 299. As at Stripe, a request that was refused before anything was done
//! (4xx) leaves nothing behind, and neither does a fault (5xx): the same key may try again. A run is tied to its key
//! in the transaction that makes it, so that not even a kill -9 before the answer makes a second one possible.
//! What is under way is in memory: it ends with this server, or with the caller's connection. One server works on a
//! database, as it does on a data directory.

use super::{
    App,
    error::{ApiError, ApiResult},
    extract::{self, Auth},
    runs::wants_events,
};
use crate::{
    domain::{
        failure::Code,
        idempotency::Claim,
        people::{Principal, Scope},
        time,
    },
    store::idempotency::Answer,
};
use axum::{
    body::{Body, HttpBody},
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The header of a request.
pub const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header of an answer that was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The longest key.
pub const KEY_MAX: usize = 255;

/// What an answer is repeated with. The rest belongs to the one request.
const KEPT_HEADERS: [HeaderName; 2] = [header::CONTENT_TYPE, header::LOCATION];

/// Where the header means something, and the scope without which nothing is done there. A kept answer is told to nobody
/// who could not have asked for it. What is not listed answers with a secret, which must not be kept, or takes a
/// password, whose fast hash must not be.
const ON: [(&str, Scope); 5] = [
    ("/api/v1/runs", Scope::RunsWrite),
    ("/api/v1/logins", Scope::Logins),
    ("/api/auth/start", Scope::Logins),
    ("/api/vm/auth", Scope::Logins),
    ("/api/v1/connections", Scope::Connections),
];
/// What ends so answers with a secret.
const TICKETS: &str = "/tickets";

/// Beside an answer that only some of its person's keys may be told: it is not kept.
#[derive(Debug, Clone, Copy)]
pub struct NotKept;

/// The run that an earlier request with the same key has made: handlers find it among the request's extensions.
#[derive(Debug, Clone)]
pub struct Repeat(pub String);

/// The requests that are under way. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct UnderWay(Arc<Mutex<Requests>>);

/// By person, endpoint and key, what the request is.
type Requests = HashMap<(String, String, String), [u8; 32]>;

/// The scope that this method and path need; none where the header means nothing.
fn needs(method: &Method, path: &str) -> Option<Scope> {
    let is_under = |place: &str| path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let on = ON.iter().find(|(place, _)| is_under(place)).map(|(_, scope)| *scope);
    on.filter(|_| (method == Method::POST || method == Method::PUT) && !path.ends_with(TICKETS))
}

/// Whether the header means something for this method and path.
pub fn applies(method: &Method, path: &str) -> bool {
    needs(method, path).is_some()
}

/// Answers a request with an `Idempotency-Key` as it was answered before, or lets it through and keeps the answer.
pub(super) async fn once(State(app): State<App>, request: Request, next: Next) -> ApiResult<Response> {
    let needed = needs(request.method(), request.uri().path()).filter(|_| request.headers().contains_key(KEY));
    let Some(needed) = needed else { return Ok(next.run(request).await) };
    let (mut parts, body) = request.into_parts();
    let who = Auth::from_request_parts(&mut parts, &app).await?.require(needed)?;
    if !may_be_told(&who, parts.uri.path()) {
        return Ok(next.run(Request::from_parts(parts, body)).await);
    }
    let key = key(&parts.headers)?;
    let (request_hash, body) = read(&parts.uri, body).await?;
    let endpoint = format!("{} {}", parts.method, parts.uri.path());
    let claim = Claim { user_id: who.user_id.clone(), endpoint, key, request_hash };
    let _under_way = app.under_way.begin(&claim)?;

    let kept = app.store.kept(&claim, time::now_ms()).await?;
    let replayed = kept.is_some();
    if let Some(kept) = kept {
        if kept.request_hash != claim.request_hash {
            return Err(conflict());
        }
        // A stream is not kept: it is the run's events, which are.
        let streams = kept.run_id.is_some() && wants_events(&parts.headers);
        if let Some(answer) = kept.answer.filter(|_| !streams) {
            return repeat(answer);
        }
        if let Some(run) = kept.run_id {
            parts.extensions.insert(Repeat(run));
        }
    }
    parts.extensions.insert(claim.clone());
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let mut response = keep(&app, &claim, response).await?;
    if replayed && response.status().is_success() {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Whether this person may be told, with what they have shown, all that may be kept of an answer. A run that is
/// cancelled is shown whole to keys that may read it: another is answered anew each time.
fn may_be_told(who: &Principal, path: &str) -> bool {
    !path.ends_with("/cancel") || who.may(Scope::RunsRead)
}

/// The key, if it is one.
pub(super) fn key(headers: &HeaderMap) -> ApiResult<String> {
    let mut values = headers.get_all(KEY).iter();
    let only = values.next().filter(|_| values.next().is_none());
    only.map(HeaderValue::as_bytes)
        .filter(|key| (1..=KEY_MAX).contains(&key.len()) && key.iter().all(|byte| (b' '..=b'~').contains(byte)))
        .and_then(|key| String::from_utf8(key.to_vec()).ok())
        .ok_or_else(|| {
            ApiError::new(
                Code::InvalidRequest,
                format!("`Idempotency-Key` is not one of 1 to {KEY_MAX} printable ASCII characters"),
            )
            .hint("Make one up for each thing that is to be done once, such as a random UUID.")
        })
}

/// Reads a body, hashing what comes: of query and body. The body lies in memory once.
async fn read(uri: &Uri, body: Body) -> ApiResult<([u8; 32], Bytes)> {
    let query = uri.query().unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update((query.len() as u64).to_be_bytes());
    hash.update(query);
    let expected = body.size_hint().lower().min(super::BODY_MAX as u64);
    let mut whole = BytesMut::with_capacity(expected as usize);
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| extract::cut())?;
        if whole.len() + piece.len() > super::BODY_MAX {
            return Err(extract::too_large());
        }
        hash.update(&piece);
        whole.extend_from_slice(&piece);
    }
    Ok((hash.finalize().into(), whole.freeze()))
}

/// Keeps the answer to what was done, unless it is a stream, or not for all who may ask.
async fn keep(app: &App, claim: &Claim, response: Response) -> ApiResult<Response> {
    let is_stream = |value: &HeaderValue| value.as_bytes().starts_with(b"text/event-stream");
    let for_some = response.extensions().get::<NotKept>().is_some();
    if !response.status().is_success()
        || for_some
        || response.headers().get(header::CONTENT_TYPE).is_some_and(is_stream)
    {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.map_err(|error| ApiError::fault(error.to_string()))?;
    let kept = |name: &HeaderName| Some((name.to_string(), parts.headers.get(name)?.to_str().ok()?.to_owned()));
    let answer = Answer {
        status: parts.status.as_u16(),
        headers: KEPT_HEADERS.iter().filter_map(kept).collect(),
        body: body.to_vec(),
    };
    if let Err(error) = app.store.keep(claim, &answer, time::now_ms()).await {
        // It is done, and the caller is told so; only a second request would not be.
        tracing::error!(error = crate::cli::output::chain(&error), "an answer could not be kept for its key");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// An answer that was given before.
fn repeat(answer: Answer) -> ApiResult<Response> {
    let unreadable = || ApiError::fault("a kept answer cannot be read".into());
    let status = StatusCode::from_u16(answer.status).map_err(|_| unreadable())?;
    let mut response = (status, answer.body).into_response();
    response.headers_mut().remove(header::CONTENT_TYPE);
    for (name, value) in answer.headers {
        let name = HeaderName::try_from(name).map_err(|_| unreadable())?;
        response.headers_mut().insert(name, HeaderValue::try_from(value).map_err(|_| unreadable())?);
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

fn conflict() -> ApiError {
    ApiError::new(Code::IdempotencyConflict, "this `Idempotency-Key` was sent with another request before")
        .hint("Take a new key for a new request.")
}

impl UnderWay {
    /// Begins a request, unless one with its key is under way.
    fn begin(&self, claim: &Claim) -> ApiResult<Turn> {
        let id = (claim.user_id.clone(), claim.endpoint.clone(), claim.key.clone());
        let mut requests = self.requests();
        match requests.get(&id) {
            Some(hash) if *hash != claim.request_hash => return Err(conflict()),
            Some(_) => {
                return Err(ApiError::new(Code::IdempotencyInProgress, "the same request is still under way")
                    .hint("Ask again in a moment, with the same key."));
            }
            None => {}
        }
        requests.insert(id.clone(), claim.request_hash);
        Ok(Turn { requests: self.clone(), id })
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is under way, until dropped: by its answer, or because its caller has left.
struct Turn {
    requests: UnderWay,
    id: (String, String, String),
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.requests.requests().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::{key, needs};
    use crate::domain::people::Scope;
    use axum::http::{HeaderMap, HeaderValue, Method};

    #[test]
    fn a_key_is_printable_and_not_long() {
        let parse = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(super::KEY, HeaderValue::from_bytes(value).unwrap());
            }
            key(&headers).ok()
        };
        assert_eq!(parse(&[b"a b~!"]), Some("a b~!".into()));
        assert_eq!(parse(&[&[b'x'; 255]]).map(|key| key.len()), Some(255));
        for bad in [&[&[b'x'; 256][..]][..], &[b""], &[b"a\tb"], &["ü".as_bytes()], &[b"a", b"a"]] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn it_means_something_on_what_makes_or_changes_runs_logins_and_connections() {
        let post = |path| needs(&Method::POST, path);
        assert_eq!(post("/api/v1/runs"), Some(Scope::RunsWrite));
        assert_eq!(post("/api/v1/runs/run_1/cancel"), Some(Scope::RunsWrite));
        assert_eq!(needs(&Method::PUT, "/api/v1/connections/claude"), Some(Scope::Connections));
        assert_eq!(post("/api/v1/logins/lgn_1/extend"), Some(Scope::Logins));
        assert_eq!(post("/api/v1/logins/lgn_1/tickets"), None, "its answer is a secret");
        for path in ["/api/v1/runsx", "/api/v1/keys", "/api/v1/setup", "/api/v1/session", "/api/v1/users", "/healthz"] {
            assert_eq!(post(path), None, "{path}");
        }
        assert_eq!(needs(&Method::DELETE, "/api/v1/connections/claude"), None);
        assert_eq!(needs(&Method::GET, "/api/v1/runs"), None);
    }
}
