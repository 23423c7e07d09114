//! `/connections`: a person's own accounts at the providers.

use super::{
    App,
    caller::Caller,
    error::{ApiError, ApiResult, ErrorBody},
    extract::{Auth, Body, Path},
    providers::{All, find},
};
use crate::{
    cli::output::word,
    control::{no_connection, verify},
    domain::{
        audit::{Action, Coded, Deed},
        change::Change,
        connections::{self, Connection, ConnectionError, Opened},
        failure::{Code, Failure},
        people::{Principal, Scope},
        time,
    },
    providers::{
        Credential, Method, Provider,
        login::{Files, NotALogin},
    },
};
use axum::{Json, extract::State, http::StatusCode};
use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use connections::View as ConnectionView;

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(put, delete))
        .routes(routes!(import))
        .routes(routes!(check))
}

/// What to connect with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutConnection {
    /// An API key of the provider. It is tried before it is kept.
    #[schema(value_type = Option<String>)]
    api_key: Option<SecretString>,
    /// A token of `claude setup-token`. It is tried before it is kept.
    #[schema(value_type = Option<String>)]
    setup_token: Option<SecretString>,
}

/// One's own connections.
#[utoipa::path(
    get, path = "/connections", tag = "connections",
    responses(
        (status = 200, description = "All of them", body = All<ConnectionView>),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `connections`", body = ErrorBody),
    )
)]
async fn list(State(app): State<App>, auth: Auth) -> ApiResult<Json<All<ConnectionView>>> {
    let who = auth.require(Scope::Connections)?;
    let connections = connections::list(&app.store, &who.user_id).await.map_err(ApiError::internal)?;
    Ok(Json(All::of(connections.into_iter().map(ConnectionView::from).collect())))
}

/// Connect with an API key or a setup token, in place of what was there.
#[utoipa::path(
    put, path = "/connections/{provider}", tag = "connections",
    params(("provider" = String, Path, description = "The provider's name")), request_body = PutConnection,
    responses(
        (status = 200, description = "Connected", body = ConnectionView),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `connections`", body = ErrorBody),
        (status = 404, description = "Unknown provider", body = ErrorBody),
        (status = 409, description = "The provider refuses the key; nothing was kept", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 422, description = "Not an API key of this provider", body = ErrorBody),
        (status = 429, description = "The provider asks to wait", body = ErrorBody),
        (status = 502, description = "The provider cannot be reached", body = ErrorBody),
    )
)]
async fn put(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Path(name): Path<String>,
    Body(body): Body<PutConnection>,
) -> ApiResult<Json<ConnectionView>> {
    let who = auth.require(Scope::Connections)?;
    let provider = find(&name)?;
    let (method, credential) = match (body.api_key, body.setup_token) {
        (Some(key), None) => {
            provider.check_api_key(key.expose_secret())?;
            (Method::ApiKey, Credential::ApiKey(key))
        }
        (None, Some(token)) => {
            provider.check_setup_token(token.expose_secret())?;
            (Method::SetupToken, Credential::SetupToken(token))
        }
        (None, None) | (Some(_), Some(_)) => {
            return Err(ApiError::new(Code::InvalidRequest, "exactly one of `api_key` and `setup_token` is needed"));
        }
    };
    let deed = Deed::new(caller.actor(&who), Action::ConnectionPut);
    keep(&app, deed, who, provider, method, credential).await
}

/// The tool's own files.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportConnection {
    /// File name → content, as base64: `.credentials.json` of claude, `auth.json` of codex, `oauth_creds.json` and
    /// `google_accounts.json` of gemini. Only what signs in is kept of them.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    files: BTreeMap<String, SecretString>,
}

/// Connect with the tool's own files, in place of what was there.
///
/// Two copies of a login log each other out: the tool that they come from must not be used any more.
#[utoipa::path(
    post, path = "/connections/{provider}/import", tag = "connections",
    params(("provider" = String, Path, description = "The provider's name")), request_body = ImportConnection,
    responses(
        (status = 200, description = "Connected", body = ConnectionView),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `connections`", body = ErrorBody),
        (status = 404, description = "Unknown provider", body = ErrorBody),
        (status = 409, description = "The login is over; nothing was kept", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 422, description = "The files are no login of this provider", body = ErrorBody),
        (status = 429, description = "The provider asks to wait", body = ErrorBody),
        (status = 502, description = "The provider cannot be reached", body = ErrorBody),
    )
)]
async fn import(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Path(name): Path<String>,
    Body(body): Body<ImportConnection>,
) -> ApiResult<Json<ConnectionView>> {
    let who = auth.require(Scope::Connections)?;
    let provider = find(&name)?;
    let known = provider.sign_in().files();
    let mut files = Files::new();
    for (name, content) in body.files {
        if !known.iter().any(|file| file.name == name) {
            let names: Vec<String> = known.iter().map(|file| format!("`{}`", file.name)).collect();
            let shown = name.chars().take(64).collect::<String>();
            return Err(ApiError::new(Code::InvalidRequest, format!("`{shown}` is no file of a login")).hint(format!(
                "A login of {} consists of {}.",
                provider.about().label,
                names.join(", ")
            )));
        }
        let content = BASE64_STANDARD
            .decode(content.expose_secret())
            .map_err(|error| ApiError::new(Code::InvalidRequest, format!("`files.{name}`: {error}")))?;
        files.insert(name, content);
    }
    let login = provider.sign_in().read(&files).map_err(|why| match why {
        NotALogin::Blank(_) => ApiError::new(Code::NeedsReconnect, why.to_string())
            .hint(format!("Sign in again with {}'s own tool.", provider.about().label)),
        NotALogin::Missing(_)
        | NotALogin::TooLarge { .. }
        | NotALogin::Malformed { .. }
        | NotALogin::OtherKind { .. }
        | NotALogin::OtherAccount => ApiError::new(Code::InvalidRequest, why.to_string()),
    })?;
    let deed = Deed::new(caller.actor(&who), Action::ConnectionImport);
    keep(&app, deed, who, provider, Method::Import, Credential::Login(login)).await
}

/// Keeps a credential that the provider takes.
async fn keep(
    app: &App,
    deed: Deed,
    who: Principal,
    provider: &'static dyn Provider,
    method: Method,
    credential: Credential,
) -> ApiResult<Json<ConnectionView>> {
    let name = provider.about().name;
    let work = {
        let app = app.clone();
        async move {
            let proof = verify::verify(&app.outside, provider, &credential).await;
            let proof = proof.map_err(|failure| refused(failure, provider, &credential))?;
            let owner = (who.user_id.as_str(), name);
            let put = connections::put(&app.store, &app.vault, owner, method, &credential, proof.account.as_ref());
            let connection = put.await.map_err(ApiError::internal)?;
            app.runs.hub().changed(&who.user_id, Change::connection(name));
            Ok::<_, ApiError>(connection)
        }
    };
    let connection = app.audit.record(deed.to(name).how(word(&method)), work, |_| None).await?;
    Ok(Json(connection.into()))
}

/// Why a credential is not kept: what the provider says of it, and for a login that it merely has to be renewed.
fn refused(failure: Failure, provider: &dyn Provider, credential: &Credential) -> Failure {
    match credential {
        Credential::Login(login) if failure.code == Code::NeedsReconnect && login.fresh_until <= time::now_ms() => {
            let label = provider.about().label;
            Failure::new(Code::NeedsReconnect, "the access token of this login has ended: nobody can say whose it is")
                .hint(format!(
                    "Ask {label}'s own tool something where the files are from, which renews it; then import again."
                ))
        }
        Credential::Login(_) | Credential::ApiKey(_) | Credential::SetupToken(_) => failure,
    }
}

/// Ask the provider whether a connection is still good.
#[utoipa::path(
    post, path = "/connections/{provider}/verify", tag = "connections",
    params(("provider" = String, Path, description = "The provider's name")),
    responses(
        (status = 200, description = "The connection as it is now", body = ConnectionView),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `connections`", body = ErrorBody),
        (status = 404, description = "Unknown provider", body = ErrorBody),
        (status = 409, description = "Not connected", body = ErrorBody),
        (status = 429, description = "The provider asks to wait", body = ErrorBody),
        (status = 502, description = "The provider cannot be reached", body = ErrorBody),
    )
)]
async fn check(
    State(app): State<App>,
    caller: Caller,
    auth: Auth,
    Path(name): Path<String>,
) -> ApiResult<Json<ConnectionView>> {
    let who = auth.require(Scope::Connections)?;
    let provider = find(&name)?;
    let opened = open(&app, &who, provider).await?;
    let name = provider.about().name;
    let deed = Deed::new(caller.actor(&who), Action::ConnectionVerify).to(name);
    let work = {
        let (app, owner, secret) = (app.clone(), who.user_id.clone(), opened.connection.secret_version());
        async move {
            let Err(failure) = verify::verify(&app.outside, provider, &opened.credential).await else { return Ok(()) };
            if failure.code == Code::NeedsReconnect {
                // A login whose access token has merely ended is refreshed by the next run that needs it.
                if is_over(&opened.connection) {
                    return Ok(());
                }
                connections::mark_needs_reconnect(&app.store, &secret, &failure).await.map_err(ApiError::internal)?;
                app.runs.hub().changed(&owner, Change::connection(name));
            }
            Err(ApiError::from(failure))
        }
    };
    match app.audit.record(deed, work, |()| None).await {
        // The connection says what the provider said.
        Err(error) if error.code() != Code::NeedsReconnect => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let connection = connections::get(&app.store, &who.user_id, name).await.map_err(ApiError::internal)?;
    let gone = || no_connection(ConnectionError::NotConnected(name.to_owned()), provider);
    Ok(Json(connection.ok_or_else(gone)?.into()))
}

/// Whether the access token of a login has ended.
fn is_over(connection: &Connection) -> bool {
    connection.fresh_until.is_some_and(|until| until <= time::now_ms())
}

/// Forget a connection. Its runs go on to their end.
#[utoipa::path(
    delete, path = "/connections/{provider}", tag = "connections",
    params(("provider" = String, Path, description = "The provider's name")),
    responses(
        (status = 204, description = "It is forgotten, or there was none"),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `connections`", body = ErrorBody),
        (status = 404, description = "Unknown provider", body = ErrorBody),
    )
)]
async fn delete(State(app): State<App>, caller: Caller, auth: Auth, Path(name): Path<String>) -> ApiResult<StatusCode> {
    let who = auth.require(Scope::Connections)?;
    let name = find(&name)?.about().name;
    let deed = Deed::new(caller.actor(&who), Action::ConnectionDelete).to(name);
    let work = {
        let app = app.clone();
        async move {
            if connections::delete(&app.store, &who.user_id, name).await.map_err(ApiError::internal)? {
                app.runs.hub().changed(&who.user_id, Change::connection(name));
            }
            Ok::<_, ApiError>(())
        }
    };
    app.audit.record(deed, work, |()| None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The person's connection with its secret.
pub async fn open(app: &App, who: &Principal, provider: &'static dyn Provider) -> ApiResult<Opened> {
    let opened = connections::open(&app.store, &app.vault, &who.user_id, provider.about().name).await;
    opened.map_err(|error| no_connection(error, provider).into())
}
