//! What the OpenAPI document says of every endpoint: what no handler answers, but this server does.

use super::{idempotency, rate};
use axum::http::Method;
use utoipa::openapi::{
    Content, HeaderBuilder, ObjectBuilder, OpenApi, Ref, RefOr, Required, Response, Responses,
    path::{Operation, ParameterBuilder, ParameterIn},
    schema::{Schema, Type},
};

/// The same document, whole.
pub(super) fn all(mut document: OpenApi) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        let operations = [
            (Method::GET, &mut item.get),
            (Method::POST, &mut item.post),
            (Method::PUT, &mut item.put),
            (Method::PATCH, &mut item.patch),
            (Method::DELETE, &mut item.delete),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            // A handler is named for its file, whose name is the path's first word; in the document, names are of one kind.
            if let Some(id) = &mut operation.operation_id {
                let word = path.strip_prefix("/api/v1/").unwrap_or("health/").split('/').next().unwrap_or_default();
                *id = format!("{word}_{id}");
            }
            if idempotency::applies(&method, path) {
                done_once(operation);
            }
            if !method.is_safe() || operation.responses.responses.contains_key("401") {
                refusal(
                    &mut operation.responses,
                    "403",
                    "The `Origin` of the request is missing, or not this server's",
                );
            }
            operation.responses.responses.values_mut().for_each(frames);
            let responses = &mut operation.responses.responses;
            if let Some(RefOr::T(response)) = responses.get_mut("429") {
                wait(response);
            }
            for (status, name, _) in EVERYWHERE {
                if status != "429" || path != rate::ALIVE {
                    let shared = || RefOr::Ref(Ref::from_response_name(name));
                    responses.entry(status.to_owned()).or_insert_with(shared);
                }
            }
        }
    }
    let shared = &mut document.components.get_or_insert_default().responses;
    for (status, name, description) in EVERYWHERE {
        let mut response = refused(description);
        if status == "429" {
            wait(&mut response);
        }
        shared.insert(name.to_owned(), RefOr::T(response));
    }
    document
}

/// What every endpoint may answer, where it does not tell of it itself: status, name in the document, and what it is.
const EVERYWHERE: [(&str, &str, &str); 6] = [
    ("414", "LongPath", "The path and its query are too long"),
    ("421", "ForeignHost", "The request names a host that is not this server's"),
    ("429", "TooMany", "Too many requests"),
    ("431", "LargeFields", "The header fields are too large"),
    ("500", "Fault", "A fault of the server"),
    ("504", "Late", "It took too long"),
];

/// What a stream's response says is the `data` of its events: in OpenAPI 3.1 the schema of a stream is that of an
/// event as it is framed.
fn frames(response: &mut RefOr<Response>) {
    let RefOr::T(response) = response else { return };
    let Some(RefOr::T(stream)) = response.content.get_mut("text/event-stream") else { return };
    let text = |description: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(description));
    let data =
        text("The event, on one line").content_media_type("application/json").content_schema(stream.schema.take());
    let frame = ObjectBuilder::new()
        .property("id", text("The event's number, where it has one"))
        .property("event", text("The event's type"))
        .property("data", data)
        .required("event")
        .required("data");
    stream.schema = Some(RefOr::T(Schema::Object(frame.build())));
}

/// What an endpoint takes and answers that heeds `Idempotency-Key`.
fn done_once(operation: &mut Operation) {
    let key = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(idempotency::KEY_MAX))
        .pattern(Some("^[ -~]+$"));
    let header = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Does what is asked once: within 24 hours, the same request with the same key is answered as before, with \
             `Idempotent-Replayed: true`. Only what was done is kept: a request that was refused may be sent again.",
        ))
        .schema(Some(key));
    operation.parameters.get_or_insert_default().push(RefOr::T(header.build()));
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && status.starts_with('2')
        {
            let replayed = HeaderBuilder::new()
                .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
                .description(Some("`true`: an earlier request with this `Idempotency-Key` did it"))
                .build();
            response.headers.insert("Idempotent-Replayed".into(), RefOr::T(replayed));
        }
    }
    let responses = &mut operation.responses;
    refusal(responses, "409", "The `Idempotency-Key` was sent with another request, or the same is under way");
    refusal(responses, "413", "The body is too large");
    refusal(responses, "422", "The `Idempotency-Key` is none");
}

/// What an answer says that is one of waiting.
fn wait(response: &mut Response) {
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
    let header = HeaderBuilder::new().schema(Some(seconds)).description(Some("Wait so many seconds"));
    response.headers.insert("Retry-After".into(), RefOr::T(header.build()));
}

/// Adds an answer, where the endpoint does not tell of it itself.
fn refusal(responses: &mut Responses, status: &str, description: &str) {
    responses.responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(refused(description)));
}

fn refused(description: &str) -> Response {
    let mut response = Response::new(description);
    let body = Content::new(Some(RefOr::Ref(Ref::from_schema_name("ErrorBody"))));
    response.content.insert("application/json".into(), RefOr::T(body));
    response
}
