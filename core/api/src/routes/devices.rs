//! `/v1/devices`.

use actix_web::web::{Data, Json, Path, ReqData};
use actix_web::{get, post};
use seal::ids::Dev;

use super::ask;
use crate::problem::Problem;
use crate::service::{Caller, Service};
use crate::view::{Device, Named};

/// Shows an end device.
#[utoipa::path(
    tag = "devices",
    operation_id = "showDevice",
    params(("dev" = String, Path, description = "Its EUI-64.", pattern = "^[0-9a-f]{16}$")),
    responses((status = 200, description = "The device.", body = Device)),
)]
#[get("/v1/devices/{dev}")]
pub(crate) async fn show(service: Data<Service>, dev: Path<String>) -> Result<Json<Device>, Problem> {
    let dev: Dev = dev.as_str().read("dev")?;
    Ok(Json(ask(&service, move |desk| desk.device(dev)).await?.into()))
}

/// Believes an end device no longer: its credential and association are refused at once, its groups get new
/// keys.
#[utoipa::path(
    tag = "devices",
    operation_id = "revokeDevice",
    params(("dev" = String, Path, description = "Its EUI-64.", pattern = "^[0-9a-f]{16}$")),
    responses((status = 200, description = "The device.", body = Device)),
)]
#[post("/v1/devices/{dev}/revoke")]
pub(crate) async fn revoke(
    service: Data<Service>,
    caller: ReqData<Caller>,
    dev: Path<String>,
) -> Result<Json<Device>, Problem> {
    let dev: Dev = dev.as_str().read("dev")?;
    let requester = caller.name.clone();
    ask(&service, move |desk| desk.revoke(dev, requester)).await?;
    Ok(Json(ask(&service, move |desk| desk.device(dev)).await?.into()))
}
