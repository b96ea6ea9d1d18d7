//! What this interface is, and who calls.

use actix_web::web::{Json, ReqData};
use actix_web::{HttpResponse, get};

use crate::openapi;
use crate::service::Caller;
use crate::view::Whoami;

/// This description.
#[utoipa::path(tag = "about", operation_id = "openapi", responses((status = 200, description = "OpenAPI 3.1.", body = serde_json::Value)))]
#[get("/v1/openapi.json")]
pub(crate) async fn description() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(openapi::text())
}

/// Whose token this is.
#[utoipa::path(tag = "about", operation_id = "whoami", responses((status = 200, description = "The caller.", body = Whoami)))]
#[get("/v1/whoami")]
pub(crate) async fn whoami(caller: ReqData<Caller>) -> Json<Whoami> {
    let Caller { name, roles, expires } = caller.into_inner();
    Json(Whoami { name, roles, expires })
}
