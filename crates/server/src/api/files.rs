//! `/runs/{id}/files`: what a run made or changed in `/workspace`.

use super::{
    App,
    error::{ApiError, ApiResult, ErrorBody},
    extract::{Auth, Path, Query},
    page::{Page, PageQuery},
    runs::own,
};
use crate::{
    domain::{failure::Code, people::Scope, run::check_path},
    store::outputs::Output,
};
use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header},
    response::IntoResponse,
    routing::get,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

/// OpenAPI has no word for a parameter that takes the rest of a path, and axum's `{*path}` is no OpenAPI:
/// what is documented and what is routed differ in this, and in nothing else.
#[derive(OpenApi)]
#[openapi(paths(download))]
struct Download;

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Download::openapi())
        .routes(routes!(files))
        .route("/runs/{id}/files/{*path}", get(download))
}

/// A file that a run made or changed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct FileView {
    /// Path below `/workspace`.
    pub path: String,
    /// Size in bytes.
    pub size: i64,
}

impl From<Output> for FileView {
    fn from(Output { path, size }: Output) -> Self {
        Self { path, size }
    }
}

/// The bytes of a file.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
struct Content(#[expect(dead_code, reason = "it stands for the bytes in the OpenAPI document")] Vec<u8>);

/// What a run made or changed, by path.
///
/// Files of at most 10 MiB, 1000 of them and 64 MiB in all, are kept when the run has ended, unless it was
/// cancelled or interrupted. Links are not kept. A `log` event of the run tells what was left out.
#[utoipa::path(
    get, path = "/runs/{id}/files", tag = "runs",
    params(("id" = String, Path, description = "The run's id"), PageQuery),
    responses(
        (status = 200, description = "The files", body = Page<FileView>),
        (status = 400, description = "Bad `cursor` or `limit`", body = ErrorBody),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `runs:read`", body = ErrorBody),
        (status = 404, description = "No such run, or another person's", body = ErrorBody),
        (status = 422, description = "An unknown parameter", body = ErrorBody),
    )
)]
async fn files(
    State(app): State<App>,
    auth: Auth,
    Path(id): Path<String>,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Page<FileView>>> {
    let who = auth.require(Scope::RunsRead)?;
    let limit = query.limit()?;
    // PostgreSQL cannot even look for U+0000 in a text, and no path has it.
    let after = query.place(|text| check_path(text).is_ok().then(|| text.to_owned()))?;
    let run = own(&app, &who, &id).await?;
    let rows = app.store.outputs_of(&run.id, after.as_deref(), limit + 1).await?;
    Ok(Json(Page::of(rows, limit, |file| file.path.clone(), FileView::from)))
}

/// A file that a run made or changed.
///
/// `path` may have slashes, encoded or not. What a sandbox made is not to be trusted: it is sent to be saved
/// and not to be shown.
#[utoipa::path(
    get, path = "/runs/{id}/files/{path}", tag = "runs",
    params(
        ("id" = String, Path, description = "The run's id"),
        ("path" = String, Path, description = "The file's path below `/workspace`"),
    ),
    responses(
        (status = 200, description = "What is in it", body = inline(Content), content_type = "application/octet-stream"),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `runs:read`", body = ErrorBody),
        (status = 404, description = "No such run or file, or another person's", body = ErrorBody),
    )
)]
async fn download(
    State(app): State<App>,
    auth: Auth,
    Path((id, path)): Path<(String, String)>,
) -> ApiResult<impl IntoResponse> {
    let who = auth.require(Scope::RunsRead)?;
    let run = own(&app, &who, &id).await?;
    let content = match check_path(&path) {
        Ok(()) => app.store.output(&run.id, &path).await?,
        Err(_) => None,
    };
    let content = content.ok_or_else(|| {
        ApiError::new(Code::NotFound, format!("run `{id}` has no such file"))
            .hint(format!("`GET /api/v1/runs/{id}/files` lists what it has."))
    })?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_DISPOSITION, attachment(&path)),
    ];
    Ok((headers, content))
}

/// What may stand in `filename*` as it is: `attr-char` of RFC 5987.
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// `Content-Disposition` for a file of this path (RFC 6266): its name for all, and for those who read
/// `filename*` as it is.
fn attachment(path: &str) -> HeaderValue {
    let name = path.rsplit('/').next().unwrap_or_default();
    // Some take `%` for the start of an escape here as well.
    let plain = |c: char| (c.is_ascii_graphic() || c == ' ') && !matches!(c, '"' | '\\' | '%');
    let fallback: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let mut value = format!("attachment; filename=\"{fallback}\"");
    if fallback != name {
        value.push_str("; filename*=UTF-8''");
        value.extend(utf8_percent_encode(name, ATTR_CHAR));
    }
    HeaderValue::from_str(&value).expect("both forms are of visible ASCII characters and spaces")
}

#[cfg(test)]
mod tests {
    use super::attachment;

    #[test]
    fn a_name_goes_into_a_header_whatever_it_is() {
        for (path, value) in [
            ("a.txt", r#"attachment; filename="a.txt""#),
            ("deep/er/a b;c=d.txt", r#"attachment; filename="a b;c=d.txt""#),
            ("say \"hi\".txt", r#"attachment; filename="say _hi_.txt"; filename*=UTF-8''say%20%22hi%22.txt"#),
            ("50%41.txt", r#"attachment; filename="50_41.txt"; filename*=UTF-8''50%2541.txt"#),
            ("Grüße\n🌍", "attachment; filename=\"Gr__e__\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe%0A%F0%9F%8C%8D"),
        ] {
            assert_eq!(attachment(path), value, "{path}");
        }
    }
}
