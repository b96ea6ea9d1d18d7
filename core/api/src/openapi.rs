//! The description of the interface (OpenAPI 3.1), made from the routes and bodies themselves.

use std::sync::OnceLock;

use actix_web::http::Method;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{self, Components, ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi as _};

use crate::guard::roles_of;
use crate::problem::{MEDIA_TYPE, Problem};
use crate::routes::{about, campaigns, commands, devices, groups};

/// The name of the scheme.
const BEARER: &str = "bearer";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Metergraph",
        description = "Commands, end devices and groups of a head-end. Octets are lower-case hex, times Unix \
            seconds. Every call bears a token; every refusal is `application/problem+json` (RFC 9457) with a \
            code, what happened and, where there is one, the way out.",
    ),
    paths(
        about::description,
        about::whoami,
        commands::submit,
        commands::submit_signed,
        commands::list,
        commands::show,
        commands::approve,
        devices::show,
        devices::revoke,
        groups::list,
        groups::create,
        groups::show,
        groups::join,
        groups::leave,
        groups::rekey,
        campaigns::start,
        campaigns::show,
        campaigns::pause,
        campaigns::resume,
    ),
    components(schemas(Problem)),
    modifiers(&Door),
    tags(
        (name = "commands", description = "What end devices and groups are told to do."),
        (name = "devices", description = "End devices."),
        (name = "groups", description = "Groups: one signature and one sealed frame for all members."),
        (name = "campaigns", description = "Key updates of the whole fleet."),
        (name = "about", description = "The interface and the caller."),
    ),
)]
struct Description;

/// What the door adds to every route: the token, the roles, the refusals.
struct Door;

impl Modify for Door {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_with(Components::new);
        components.add_security_scheme(BEARER, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        let schema = RefOr::<openapi::Schema>::Ref(Ref::from_schema_name("Problem"));
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let response = ResponseBuilder::new()
            .description("Refused: code, what happened, the way out.")
            .content(MEDIA_TYPE, content);
        components.responses.insert("Problem".to_owned(), response.build().into());
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in operations(item) {
                describe(&method, path, operation);
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let all =
        [(Method::GET, &mut item.get), (Method::POST, &mut item.post), (Method::DELETE, &mut item.delete)];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn describe(method: &Method, path: &str, operation: &mut Operation) {
    // Any one of them will do.
    let requirement = |role: &crate::Role| SecurityRequirement::new(BEARER, [role.word()]);
    operation.security = Some(roles_of(method, Some(path)).iter().map(requirement).collect());
    let mut refusals = vec!["400", "401", "408", "429", "503"];
    if operation.tags.iter().flatten().any(|tag| tag != "about") {
        refusals.push("504");
    }
    if *method != Method::GET {
        refusals.extend(["403", "409"]);
    }
    if path.contains('{') {
        refusals.push("404");
    }
    if operation.request_body.is_some() {
        refusals.extend(["413", "422"]);
    }
    for status in refusals {
        let response = RefOr::Ref(Ref::from_response_name("Problem"));
        operation.responses.responses.insert(status.to_owned(), response);
    }
}

/// The description as JSON text.
#[must_use]
pub fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    // Texts and numbers into memory: there is nothing that could fail.
    TEXT.get_or_init(|| Description::openapi().to_pretty_json().unwrap_or_default() + "\n")
}
