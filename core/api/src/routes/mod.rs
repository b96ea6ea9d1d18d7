//! The routes: what is read from a request, asked of the desk, and answered.

pub(crate) mod about;
pub(crate) mod campaigns;
pub(crate) mod commands;
pub(crate) mod devices;
pub(crate) mod groups;

use ::commands::front::{Front, Page, Refusal};
use actix_web::error::JsonPayloadError;
use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{Error, HttpRequest, HttpResponse};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::problem::Problem;
use crate::service::Service;

/// Entries of a page where none are asked for.
const PAGE: usize = 100;

/// Adds all routes.
pub fn configure(config: &mut ServiceConfig, body_max: usize) {
    let json = web::JsonConfig::default().limit(body_max).error_handler(|error, request| {
        let problem = match &error {
            JsonPayloadError::OverflowKnownLength { .. } | JsonPayloadError::Overflow { .. } => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "api-size", "the body is too large")
            }
            JsonPayloadError::ContentType => {
                Problem::format("a body is `application/json`, and its header says so")
            }
            error => Problem::format(error.to_string()),
        };
        refused(problem, request)
    });
    let query = web::QueryConfig::default()
        .error_handler(|error, request| refused(Problem::format(error.to_string()), request));
    let path = web::PathConfig::default()
        .error_handler(|error, request| refused(Problem::format(error.to_string()), request));
    config
        .app_data(json)
        .app_data(query)
        .app_data(path)
        .service(about::description)
        .service(about::whoami)
        .service(commands::submit)
        .service(commands::submit_signed)
        .service(commands::list)
        .service(commands::show)
        .service(commands::approve)
        .service(devices::show)
        .service(devices::revoke)
        .service(groups::list)
        .service(groups::create)
        .service(groups::show)
        .service(groups::join)
        .service(groups::leave)
        .service(groups::rekey)
        .service(campaigns::start)
        .service(campaigns::show)
        .service(campaigns::pause)
        .service(campaigns::resume)
        .default_service(web::to(nowhere));
}

fn refused(problem: Problem, _: &HttpRequest) -> Error {
    problem.into()
}

async fn nowhere(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::not_found(format!("no route {} {}", request.method(), request.path()))
        .help("GET /v1/openapi.json lists all of them"))
}

/// Asks the desk, on a thread that may wait.
async fn ask<T: Send + 'static>(
    service: &Service,
    call: impl FnOnce(&Front) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Problem> {
    let desk = std::sync::Arc::clone(&service.desk);
    let answer = web::block(move || call(&desk)).await;
    answer.unwrap_or(Err(Refusal::Closed)).map_err(Problem::from)
}

/// A part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    /// So many entries are left out.
    #[serde(default)]
    skip: usize,
    /// At most so many entries, up to 1,000.
    #[serde(default = "page")]
    #[param(default = 100, maximum = 1000)]
    count: usize,
}

fn page() -> usize {
    PAGE
}

impl From<PageQuery> for Page {
    fn from(query: PageQuery) -> Self {
        Self { skip: query.skip, count: query.count }
    }
}
