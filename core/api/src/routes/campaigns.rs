//! `/v1/campaigns`: all associations go some epochs on.

use actix_web::http::header;
use actix_web::web::{Data, Json, Path, Query};
use actix_web::{HttpResponse, get, post};
use seal::ids::Gid;

use super::{PageQuery, ask};
use crate::problem::Problem;
use crate::service::Service;
use crate::view::{Campaign, Named, NewCampaign};

/// Starts an epoch campaign.
#[utoipa::path(
    tag = "campaigns",
    operation_id = "startCampaign",
    request_body = NewCampaign,
    responses((status = 202, description = "The campaign.", body = Campaign,
        headers(("Location" = String, description = "The campaign.")))),
)]
#[post("/v1/campaigns")]
pub(crate) async fn start(service: Data<Service>, body: Json<NewCampaign>) -> Result<HttpResponse, Problem> {
    let NewCampaign { delta, wave, group } = body.into_inner();
    let group: Option<Gid> = group.as_deref().map(|group| group.read("group")).transpose()?;
    let campaign = ask(&service, move |desk| desk.start_epoch_campaign(delta, wave, group)).await?;
    let location = (header::LOCATION, format!("/v1/campaigns/{}", campaign.campaign));
    Ok(HttpResponse::Accepted().insert_header(location).json(Campaign::from(campaign)))
}

/// Shows how far a campaign is, with a page of the devices that must register anew.
#[utoipa::path(
    tag = "campaigns",
    operation_id = "showCampaign",
    params(("id" = u32, Path, description = "The campaign."), PageQuery),
    responses((status = 200, description = "The campaign.", body = Campaign)),
)]
#[get("/v1/campaigns/{id}")]
pub(crate) async fn show(
    service: Data<Service>,
    id: Path<u32>,
    page: Query<PageQuery>,
) -> Result<Json<Campaign>, Problem> {
    let (id, page) = (id.into_inner(), page.into_inner().into());
    Ok(Json(ask(&service, move |desk| desk.campaign(id, page)).await?.into()))
}

/// Tells no further device until the campaign is resumed.
#[utoipa::path(
    tag = "campaigns",
    operation_id = "pauseCampaign",
    params(("id" = u32, Path, description = "The campaign.")),
    responses((status = 200, description = "The campaign.", body = Campaign)),
)]
#[post("/v1/campaigns/{id}/pause")]
pub(crate) async fn pause(service: Data<Service>, id: Path<u32>) -> Result<Json<Campaign>, Problem> {
    let id = id.into_inner();
    Ok(Json(ask(&service, move |desk| desk.pause_campaign(id)).await?.into()))
}

/// Goes on with a paused campaign.
#[utoipa::path(
    tag = "campaigns",
    operation_id = "resumeCampaign",
    params(("id" = u32, Path, description = "The campaign.")),
    responses((status = 200, description = "The campaign.", body = Campaign)),
)]
#[post("/v1/campaigns/{id}/resume")]
pub(crate) async fn resume(service: Data<Service>, id: Path<u32>) -> Result<Json<Campaign>, Problem> {
    let id = id.into_inner();
    Ok(Json(ask(&service, move |desk| desk.resume_campaign(id)).await?.into()))
}
