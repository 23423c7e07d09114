//! `/providers`: what can be connected.

use super::{
    App,
    error::{ApiError, ApiResult, ErrorBody},
    extract::{Auth, Path},
};
use crate::{
    control::verify,
    domain::{connections, failure::Code, people::Scope},
    providers::{self, Method, Model, Provider, link::LinkMeans, login::LoginFile},
};
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(models))
}

/// A provider.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ProviderView {
    /// `claude`, `codex`, `gemini`.
    pub provider: String,
    /// As people know it.
    pub label: String,
    /// How it can be connected here, best first.
    pub methods: Vec<Method>,
    /// Whether one is connected.
    pub connected: bool,
    /// What the provider allows.
    pub policy: Policy,
    /// Where what was connected is ended at the provider: to disconnect only forgets it here.
    pub revoke: Revoke,
    /// The model that is used when none is asked for.
    pub default_model: String,
    /// How somebody signs in there with a browser of their own, beside a login's desktop; null where the tool offers none.
    pub link: Option<LinkMeans>,
    /// What prints a setup token where the tool is installed; null where there are none.
    pub setup_token_command: Option<String>,
    /// The files in which its tool keeps a login: what an import takes.
    pub login_files: Vec<LoginFileView>,
}

/// A file in which a tool keeps a login.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = LoginFile)]
pub struct LoginFileView {
    /// Its name, as an import takes it.
    pub name: String,
    /// Where the tool keeps it, below the home of its person.
    #[schema(examples(".claude/.credentials.json"))]
    pub path: String,
    /// Whether there is no login without it.
    pub required: bool,
}

impl From<&LoginFile> for LoginFileView {
    fn from(file: &LoginFile) -> Self {
        Self { name: file.name.into(), path: file.path.into(), required: file.required }
    }
}

/// What a provider allows.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// In one plain sentence.
    pub text: String,
    /// Where the provider says so.
    pub url: String,
}

/// Where a credential is ended at its provider, which is for its person alone to do.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Revoke {
    /// Where API keys are.
    pub api_key: String,
    /// Where logins are.
    pub login: String,
}

/// Everything of `items`, which is short and has no next page.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct All<T> {
    /// All there are.
    pub items: Vec<T>,
    /// Always null.
    pub next_cursor: Option<String>,
}

impl<T> All<T> {
    /// A list that is whole.
    pub fn of(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }
}

/// The provider of this name.
pub fn find(name: &str) -> ApiResult<&'static dyn Provider> {
    providers::by_name(name).ok_or_else(|| unknown(name))
}

/// Says that there is no such provider, and which there are.
pub fn unknown(name: &str) -> ApiError {
    let known: Vec<_> = providers::PROVIDERS.iter().map(|provider| format!("`{}`", provider.about().name)).collect();
    ApiError::new(Code::NotFound, format!("there is no provider `{}`", name.chars().take(64).collect::<String>()))
        .hint(format!("There are {}.", known.join(", ")))
}

/// Every provider, and whether one is connected to it.
#[utoipa::path(
    get, path = "/providers", tag = "providers",
    responses(
        (status = 200, description = "All of them", body = All<ProviderView>),
        (status = 401, description = "No valid key", body = ErrorBody),
    )
)]
async fn list(State(app): State<App>, auth: Auth) -> ApiResult<Json<All<ProviderView>>> {
    let who = auth.any();
    let connections = connections::list(&app.store, &who.user_id).await.map_err(ApiError::internal)?;
    let logins = app.runs.logins();
    let view = |provider: &&dyn Provider| {
        let about = provider.about();
        let signs_in = logins.are_open(about.name);
        ProviderView {
            provider: about.name.into(),
            label: about.label.into(),
            methods: about.methods.iter().copied().filter(|method| *method != Method::Login || signs_in).collect(),
            connected: connections.iter().any(|connection| connection.provider == about.name),
            policy: Policy { text: about.policy_text.into(), url: about.policy_url.into() },
            revoke: Revoke { api_key: about.keys_url.into(), login: about.logins_url.into() },
            default_model: about.default_model.into(),
            link: provider.sign_in().link().map(|link| link.means).filter(|_| signs_in),
            setup_token_command: about.setup_token_command.map(Into::into),
            login_files: provider.sign_in().files().iter().map(LoginFileView::from).collect(),
        }
    };
    Ok(Json(All::of(providers::PROVIDERS.iter().map(view).collect())))
}

/// The models that one's connection may use, as the provider tells.
#[utoipa::path(
    get, path = "/providers/{provider}/models", tag = "providers",
    params(("provider" = String, Path, description = "The provider's name")),
    responses(
        (status = 200, description = "All of them", body = All<Model>),
        (status = 401, description = "No valid key", body = ErrorBody),
        (status = 403, description = "The key lacks `connections`", body = ErrorBody),
        (status = 404, description = "Unknown provider", body = ErrorBody),
        (status = 409, description = "Not connected, or refused by the provider", body = ErrorBody),
        (status = 429, description = "The provider asks to wait", body = ErrorBody),
        (status = 502, description = "The provider cannot be reached", body = ErrorBody),
    )
)]
async fn models(State(app): State<App>, auth: Auth, Path(name): Path<String>) -> ApiResult<Json<All<Model>>> {
    let who = auth.require(Scope::Connections)?;
    let provider = find(&name)?;
    let opened = super::connections::open(&app, &who, provider).await?;
    Ok(Json(All::of(verify::verify(&app.outside, provider, &opened.credential).await?.models)))
}
