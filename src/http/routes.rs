//! How a route comes to be: with its scope, its place in the document, and its gate.
//!
//! # Invariants
//!
//! * There is no way to add a route without saying who may use it.
//! * The scope that the document shows is the one that the gate asks for.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use serde_json::json;
use utoipa::PartialSchema;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{Operation, PathItem, Paths};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, Response,
    ResponseBuilder, Tag,
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::api::Api;
use super::gate::{Gate, gate};
use super::problem::{Kind, ProblemDetails};
use super::scope::Scope;

/// The handlers of one path, as the macro `routes!` makes them.
pub(super) type Handlers = UtoipaMethodRouter<Arc<Api>>;

/// What the document says about itself.
const DESCRIPTION: &str = "\
The API of an app's back end. Every request but the open ones carries a key: \
`Authorization: Bearer tdk_...`. `x-scope` of an operation is the scope that the key must have; \
a key with the scope `master` has all of them. Ids of messages are strings of digits. \
Times end in `_ms` and are milliseconds since 1970 UTC. Whatever goes wrong is told as problem \
details (RFC 9457); `x-problems` lists all of them.";

/// What the parts of the API are called, and what each is about.
const TAGS: &[(&str, &str)] = &[
    ("messages", "Send, and recall."),
    ("aliases", "Names for devices."),
    ("peers", "Who is online, on which devices; kick and block."),
    ("groups", "Groups, their members and their metadata."),
    ("history", "What was said."),
    ("upstream", "What clients send to the back end."),
    ("endpoints", "Where webhooks go, and how that goes."),
    ("keys", "The keys of this API."),
    ("operations", "How the server is."),
];

/// The routes so far.
pub(super) struct Routes {
    api: Arc<Api>,
    router: OpenApiRouter<Arc<Api>>,
}

impl Routes {
    /// None yet.
    pub(super) fn new(api: &Arc<Api>) -> Self {
        Self { api: api.clone(), router: OpenApiRouter::with_openapi(empty_document()) }
    }

    /// Adds what is served for keys with this scope, while the server has a hub.
    pub(super) fn serve(self, scope: Scope, handlers: Handlers) -> Self {
        self.gated(scope, true, handlers)
    }

    /// Adds what is served for keys with this scope, also while the server starts or stops.
    pub(super) fn serve_always(self, scope: Scope, handlers: Handlers) -> Self {
        self.gated(scope, false, handlers)
    }

    /// Adds what everybody may have, without a key.
    pub(super) fn serve_all(self, (schemas, mut paths, methods): Handlers) -> Self {
        for operation in named_operations(&mut paths) {
            operation.security = Some(Vec::new());
            add_problem(operation, "default", "Something went wrong");
        }
        Self { router: self.router.routes((schemas, paths, methods)), ..self }
    }

    fn gated(self, scope: Scope, needs_hub: bool, handlers: Handlers) -> Self {
        let (schemas, mut paths, methods) = handlers;
        for operation in named_operations(&mut paths) {
            let requirement = SecurityRequirement::new("key", [scope.name()]);
            operation.security = Some(vec![requirement]);
            let shown = ExtensionsBuilder::new().add("x-scope", scope.name()).build();
            operation.extensions.get_or_insert_default().merge(shown);
            add_problem(operation, "401", Kind::Unauthorized.title());
            add_problem(operation, "403", Kind::Forbidden.title());
            add_problem(operation, "429", Kind::TooManyFailures.title());
            add_problem(operation, "default", "Something went wrong");
        }
        let gated = Gate { api: self.api.clone(), scope, needs_hub };
        let methods = methods.route_layer(from_fn_with_state(gated, gate));
        Self { router: self.router.routes((schemas, paths, methods)), ..self }
    }

    /// All routes, and the document about them.
    pub(super) fn finish(self) -> (Router<Arc<Api>>, OpenApi) {
        self.router.split_for_parts()
    }
}

/// Lets these handlers take longer bodies than others.
pub(super) fn with_body_of(bytes_max: usize, (schemas, paths, methods): Handlers) -> Handlers {
    (schemas, paths, methods.layer(DefaultBodyLimit::max(bytes_max)))
}

/// The operations of these paths, each with an id of its own: handlers of two files may share a
/// name.
fn named_operations(paths: &mut Paths) -> impl Iterator<Item = &mut Operation> {
    paths.paths.iter_mut().flat_map(|(path, item)| {
        let PathItem { get, put, post, delete, patch, .. } = item;
        let methods =
            [("get", get), ("put", put), ("post", post), ("delete", delete), ("patch", patch)];
        methods.into_iter().filter_map(move |(method, operation)| {
            let operation = operation.as_mut()?;
            let words = path.split(|c: char| !c.is_ascii_alphanumeric());
            let words = words.filter(|word| !word.is_empty() && *word != "v1");
            let name: Vec<&str> = std::iter::once(method).chain(words).collect();
            operation.operation_id = Some(name.join("_"));
            Some(operation)
        })
    })
}

/// A route that describes the answer itself is not overruled.
fn add_problem(operation: &mut Operation, status: &str, description: &str) {
    let responses = &mut operation.responses.responses;
    responses.entry(status.to_owned()).or_insert_with(|| problem_response(description).into());
}

fn problem_response(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content)
        .build()
}

/// A document without operations.
fn empty_document() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Tidings")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(utoipa::openapi::License::new("MIT OR Apache-2.0")));
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A key of this server."))
        .build();
    let mut components = Components::new();
    components.add_security_scheme("key", SecurityScheme::Http(bearer));
    components.schemas.insert("Problem".into(), ProblemDetails::schema());
    let tag = |(name, description): &(&str, &str)| {
        let mut tag = Tag::new(*name);
        tag.description = Some((*description).to_owned());
        tag
    };
    let problems = Kind::ALL.iter().map(
        |kind| json!({"type": kind.urn(), "title": kind.title(), "status": kind.status().as_u16()}),
    );
    let mut document = OpenApiBuilder::new()
        .info(info.build())
        .components(Some(components))
        .tags(Some(TAGS.iter().map(tag)))
        .build();
    let listed = ExtensionsBuilder::new().add("x-problems", problems.collect::<Vec<_>>());
    document.extensions = Some(listed.build());
    document
}
