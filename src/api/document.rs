//! The OpenAPI document, made from the routes themselves.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use utoipa::ToSchema;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder, ResponsesBuilder};
use utoipa::openapi::schema::{
    AllOfBuilder, ArrayBuilder, Components, ObjectBuilder, Schema, SchemaType, Type,
};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required,
};

use super::answer::{Answer, WindowView};
use super::problem::Details;
use super::routes::{ROUTES, Route};
use crate::auth::Right;

const DESCRIPTION: &str = "Questions about the traces, logs and metrics that were received. Every answer is about one \
tenant: the one that the key or the header `x-tenant-id` names.

Moments are RFC 3339 in UTC with nanoseconds; durations are numbers of milliseconds, with fractions, in fields that end \
in `_ms`; shares are 0 to 1. Ids of traces and spans are lower-case hexadecimal. Attributes keep their type; integers \
beyond 2^53 - 1, NaN and the infinities are text, bytes are base64 text.

A list holds at most `limit` items and 16 MiB. Where there is more, `next_cursor` leads on: pass it back as `cursor` \
beside the same parameters. Parameters that are empty count as left out; parameters that a route does not have are \
refused. Dropping the connection ends the work on a question.";

/// The answer of this very document.
pub(super) const ROUTE: Route = Route {
    path: "/api/v1/openapi.json",
    right: Right::Read,
    name: "getOpenApi",
    summary: "This document",
    description: "The OpenAPI 3.1 description of every route under `/api/v1`.",
    in_path: &[],
    in_body: None,
    parameters: &[],
    schema: |_| {
        ObjectBuilder::new().schema_type(Type::Object).description(Some("An OpenAPI document.")).into()
    },
    answer: |_| Box::pin(async { Ok(Answer::text(&TEXT)) }),
};

static TEXT: LazyLock<String> = LazyLock::new(document);

/// The document as JSON with line breaks, ending in one.
pub fn document() -> String {
    let mut schemas = Schemas::default();
    schemas.object::<Details>();
    schemas.object::<WindowView>();
    let mut paths = PathsBuilder::new();
    for route in ROUTES {
        let asked = operation(route, &mut schemas);
        let mut item = PathItem::new(HttpMethod::Get, asked.clone());
        item.post = route.in_body.map(|parameter| posted(asked, parameter));
        paths = paths.path(route.path, item);
    }
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The operator's key. Needed where the server was started with one."))
        .build();
    let mut components = Components::new();
    components.schemas = schemas.named.into_iter().collect();
    components.add_security_scheme("key", SecurityScheme::Http(key));
    let info = InfoBuilder::new()
        .title("otelcontext")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()))
        .build();
    let document: OpenApi = OpenApiBuilder::new()
        .info(info)
        .paths(paths.build())
        .components(Some(components))
        .security(Some([
            SecurityRequirement::default(),
            SecurityRequirement::new("key", Vec::<String>::new()),
        ]))
        .build();
    // Only maps with other keys than text cannot be written, and there are none.
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// The schemas that answers are made of, by name.
#[derive(Default)]
pub(super) struct Schemas {
    named: BTreeMap<String, RefOr<Schema>>,
}

impl Schemas {
    /// A reference to the schema of `T`, which is taken up with everything that it refers to.
    pub(super) fn object<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let mut parts = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut parts);
        self.named.extend(parts);
        Ref::from_schema_name(T::name()).into()
    }

    /// The schema of a page of `T`.
    pub(super) fn page<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let item = self.object::<T>();
        let cursor = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some("Where the next page begins; null on the last."));
        let incomplete = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Why the answer is not the whole answer; absent where it is."));
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .property(
                "items",
                ArrayBuilder::new().items(item).description(Some("The items, in the route's order.")),
            )
            .required("items")
            .property("next_cursor", cursor)
            .required("next_cursor")
            .property("window", Ref::from_schema_name("Window"))
            .required("window")
            .property("incomplete", incomplete)
            .into()
    }

    /// The schema of a page of `T` that has the fields of `M` too.
    pub(super) fn page_with<T: ToSchema, M: ToSchema>(&mut self) -> RefOr<Schema> {
        let (page, more) = (self.page::<T>(), self.object::<M>());
        AllOfBuilder::new().item(page).item(more).into()
    }
}

fn operation(route: &Route, schemas: &mut Schemas) -> Operation {
    let answer = (route.schema)(schemas);
    let length = HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0.0))))
        .description(Some("Bytes of the answer."))
        .build();
    let mut answered = ResponseBuilder::new()
        .description("The answer.")
        .header("Content-Length", length)
        .content("application/json", ContentBuilder::new().schema(Some(answer)).build());
    if route.in_body.is_some() {
        let table = ObjectBuilder::new().schema_type(Type::String).description(Some("A table (RFC 4180)."));
        answered = answered.content("text/csv", ContentBuilder::new().schema(Some(table)).build());
    }
    let unauthenticated = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("error", ObjectBuilder::new().schema_type(Type::Object))
        .required("error");
    let unauthenticated = ResponseBuilder::new()
        .description("The key is missing or wrong; see `WWW-Authenticate`.")
        .content("application/json", ContentBuilder::new().schema(Some(unauthenticated)).build())
        .build();
    let mut responses = ResponsesBuilder::new()
        .response("200", answered.build())
        .response("400", refusal("A parameter or the tenant header is not valid."))
        .response("401", unauthenticated)
        .response("500", refusal("A defect of the server."))
        .response("503", refusal("The server is at a limit; `Retry-After` says when to ask again."))
        .response("504", refusal("The question took too long: ask about less."));
    if !route.parameters.is_empty() {
        responses = responses.response("404", refusal("There is nothing of this name or id."));
    }
    if route.in_body.is_some() {
        responses = responses.response("403", refusal("Not for this caller, or not on this server."));
    }
    let parameters = route.in_path.iter().map(|parameter| parameter.in_path());
    let parameters = parameters.chain(route.parameters.iter().map(|parameter| parameter.in_query()));
    OperationBuilder::new()
        .operation_id(Some(route.name))
        .summary(Some(route.summary))
        .description(Some(route.description))
        .parameters(Some(parameters.chain([tenant()])))
        .responses(responses.build())
        .build()
}

/// The same operation with one of its parameters as the body.
fn posted(mut asked: Operation, parameter: &super::parameter::Parameter) -> Operation {
    asked.operation_id = asked.operation_id.map(|name| format!("{name}InBody"));
    if let Some(parameters) = &mut asked.parameters {
        parameters.retain(|other| !matches!(other, RefOr::T(other) if other.name == parameter.name));
    }
    let content = || ContentBuilder::new().schema(Some(parameter.schema())).build();
    let body = RequestBodyBuilder::new()
        .description(Some(parameter.description))
        .required(Some(Required::True))
        .content("application/sql", content())
        .content("text/plain", content());
    asked.request_body = Some(body.build().into());
    let more = [("413", "The body is too long."), ("415", "The body is of a kind that is not read.")];
    for (status, description) in more {
        asked.responses.responses.insert(status.to_owned(), refusal(description).into());
    }
    asked
}

fn refusal(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content("application/problem+json", content).build()
}

fn tenant() -> Parameter {
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .max_length(Some(crate::model::tenant::TENANT_BYTES_MAX))
        .pattern(Some("^[A-Za-z0-9._:@-]+$"));
    ParameterBuilder::new()
        .name("x-tenant-id")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("The tenant; the server's default where it is left out."))
        .schema(Some(name))
        .build()
}
