//! `/setup`: the first person, made by the setup link.

use super::{
    App,
    caller::Caller,
    cookie,
    error::{ApiResult, ErrorBody},
    extract::Body,
    host::OwnPage,
    me::Me,
    session::too_many,
};
use crate::domain::{
    audit::{Action, Deed},
    people::{self, PeopleError, Place, Room},
    rates::TokenHash,
    time,
};
use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// What is served here.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create))
}

/// What the first person is made with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetUp {
    /// The token of the setup link, which the server writes to `setup-link` in its data directory.
    #[schema(value_type = String)]
    token: SecretString,
    /// Their email.
    #[schema(examples("you@example.com"))]
    email: String,
    /// Their password, of 8 to 1024 characters.
    #[schema(value_type = String)]
    password: SecretString,
}

/// Somebody, signed in.
pub(super) type SignedIn = (StatusCode, [(HeaderName, HeaderValue); 1], Json<Me>);

/// Make the first person, an admin, and sign them in.
///
/// It takes the token of the setup link, and is over with the first person, however they are made.
#[utoipa::path(
    post, path = "/setup", tag = "people", security(()), request_body = SetUp,
    responses(
        (status = 201, description = "They are made and signed in", body = Me,
            headers(("Set-Cookie" = String, description = "`polydev_session`"))),
        (status = 403, description = "Not the token of the setup link, or a foreign `Origin`", body = ErrorBody),
        (status = 410, description = "There is somebody already", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 422, description = "Bad JSON, type, email or password", body = ErrorBody),
        (status = 429, description = "Too many wrong tokens, or passwords that are being checked: wait as long as `Retry-After` says", body = ErrorBody),
    )
)]
async fn create(
    State(app): State<App>,
    _: OwnPage,
    caller: Caller,
    Body(SetUp { token, email, password }): Body<SetUp>,
) -> ApiResult<SignedIn> {
    let checked = app.setup.check(&app.store, &token).await;
    if let Err(PeopleError::NotSetupLink) = checked {
        let now = time::now_ms();
        app.sign_ins.fail(caller.address, now).map_err(|wait_ms| too_many(now, wait_ms))?;
    }
    checked?;
    let room = Room::take()?;
    let from = Place { agent: caller.agent.clone(), address: caller.address.to_string() };
    let deed = Deed::new(caller.anonymous(), Action::Setup);
    let (store, setup) = (app.store.clone(), app.setup.clone());
    let made = async move {
        let user = setup.first_user(&store, room, &token, &email, password).await?;
        let (session, secret) = people::begin_session(&store, &user, None, from).await?;
        Ok::<_, PeopleError>((user, session, secret))
    };
    let (user, session, secret) = app.audit.record(deed, made, |(user, _, _)| Some(user.id.clone())).await?;
    app.rates.was_good(TokenHash::of(secret.expose_secret()));
    let me = Me::from(session.principal(&user));
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, cookie::set(&app.hosts, &secret))], Json(me)))
}
