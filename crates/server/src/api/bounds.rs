//! How large a request may be but for its body, and how long its answer may take to begin.
//!
//! | | most | else |
//! |---|---|---|
//! | path and query | 8 KiB | 414 |
//! | header fields | 32 KiB, 100 of them | 431 |
//! | the whole head | 64 KiB (`listener.rs`) | 431, by hyper |
//! | body | 32 MiB, 16 KiB about people (`mod.rs`) | 413 |
//! | depth of JSON | 128 (`serde_json`) | 422 |
//! | until the answer begins | 2 minutes, and the body's time | 504 |

use super::error::{ApiError, ApiResult};
use crate::domain::failure::Code;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::Response,
};
use std::time::Duration;
use tokio::time::timeout;

/// The most bytes of a path with its query: cursors have some hundred, paths of files 4096, and `%` makes three of one.
const URL_MAX: usize = 8 * 1024;
/// The most bytes of all header fields: browsers send 4 KiB for each of their cookies.
const FIELDS_MAX: usize = 32 * 1024;
/// The most header fields, as many as hyper reads.
const FIELDS: usize = 100;
/// How long an answer may take to begin: `?wait=true` waits for a minute, and all that is done beside it has another.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// What the slowest client sends a second, bytes: a large body has that much longer.
const SLOWEST: u64 = 64 * 1024;

/// Refuses what is too large, and gives up what takes longer than `within` and its body. Streams begin at once, and are
/// read for as long as they last.
pub(super) async fn limit(State(within): State<Duration>, request: Request, next: Next) -> ApiResult<Response> {
    let url = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    if url > URL_MAX {
        return Err(ApiError::new(Code::InvalidRequest, format!("the path and its query have {url} bytes"))
            .hint(format!("At most {URL_MAX} are allowed."))
            .status(StatusCode::URI_TOO_LONG));
    }
    let fields = request.headers();
    let bytes: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > FIELDS_MAX || fields.len() > FIELDS {
        let what = format!("the request has {} header fields of {bytes} bytes", fields.len());
        return Err(ApiError::new(Code::InvalidRequest, what)
            .hint(format!("At most {FIELDS} fields of {FIELDS_MAX} bytes are allowed."))
            .status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
    let within = within + Duration::from_secs(body_size(fields) / SLOWEST);
    timeout(within, next.run(request)).await.map_err(|_| {
        ApiError::new(Code::Timeout, format!("there was no answer within {} s", within.as_secs()))
            .hint("It may have been done: look before you ask again, or send an `Idempotency-Key` along.")
    })
}

/// How many bytes may still come.
fn body_size(fields: &HeaderMap) -> u64 {
    if fields.contains_key(header::TRANSFER_ENCODING) {
        return super::BODY_MAX as u64;
    }
    let length = fields.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    length.unwrap_or(0).min(super::BODY_MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, body::Body, middleware, routing::post};
    use bytes::Bytes;
    use futures_util::stream;
    use std::{convert::Infallible, future::pending};
    use tower::ServiceExt;

    /// A body of which nothing comes.
    fn silent() -> Body {
        Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())
    }

    fn router() -> Router {
        let within = Duration::from_millis(100);
        Router::new()
            .route("/never", post(async || pending::<()>().await))
            .route("/body", post(async |body: Bytes| body.len().to_string()))
            .route("/stream", post(async || silent()))
            .layer(middleware::from_fn_with_state(within, limit))
    }

    async fn status(request: axum::http::request::Builder, body: Body) -> u16 {
        router().oneshot(request.method("POST").body(body).unwrap()).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn an_answer_begins_in_time_or_never() {
        let of = |path: &str| Request::builder().uri(path);
        assert_eq!(status(of("/never"), Body::empty()).await, 504);
        assert_eq!(status(of("/stream"), Body::empty()).await, 200, "a stream lasts");
        assert_eq!(status(of("/body"), silent()).await, 504, "nor does who sends a byte now and then");
        let slow = HeaderMap::from_iter([(header::CONTENT_LENGTH, "1048576".parse().unwrap())]);
        assert_eq!(body_size(&slow) / SLOWEST, 16);
        let unknown = HeaderMap::from_iter([(header::TRANSFER_ENCODING, "chunked".parse().unwrap())]);
        assert_eq!(body_size(&unknown) / SLOWEST, 512);
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused() {
        let of = |query: usize, field: usize, fields: usize| {
            let request = Request::builder().uri(format!("/body?{}", "x".repeat(query)));
            (0..fields).fold(request.header("x", "x".repeat(field)), |request, _| request.header("y", "z"))
        };
        assert_eq!(status(of(8000, 32_000, 99), Body::empty()).await, 200);
        assert_eq!(status(of(8187, 0, 0), Body::empty()).await, 414);
        assert_eq!(status(of(0, 33_000, 0), Body::empty()).await, 431);
        assert_eq!(status(of(0, 0, 100), Body::empty()).await, 431);
    }
}
