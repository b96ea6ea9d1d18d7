//! `/v1/groups`.

use actix_web::http::header;
use actix_web::web::{Data, Json, Path, Query, ReqData};
use actix_web::{HttpResponse, delete, get, post};
use seal::ids::{Dev, Gid};

use super::{PageQuery, ask};
use crate::problem::Problem;
use crate::service::{Caller, Service};
use crate::tokens::NAME_MAX;
use crate::view::{self, AcceptedList, Group, GroupList, Members, Named, NewGroup};

/// Devices that may join or leave by one call.
const MEMBERS_MAX: usize = 10_000;

/// Lists all groups.
#[utoipa::path(tag = "groups", operation_id = "listGroups", responses((status = 200, description = "All groups.", body = GroupList)))]
#[get("/v1/groups")]
pub(crate) async fn list(service: Data<Service>) -> Result<Json<GroupList>, Problem> {
    let groups = ask(&service, |desk| desk.groups()).await?;
    Ok(Json(GroupList { groups: groups.into_iter().map(Group::from).collect() }))
}

/// Makes a group of a random number, without members.
#[utoipa::path(
    tag = "groups",
    operation_id = "createGroup",
    request_body = NewGroup,
    responses((status = 201, description = "The group.", body = Group,
        headers(("Location" = String, description = "The group.")))),
)]
#[post("/v1/groups")]
pub(crate) async fn create(service: Data<Service>, body: Json<NewGroup>) -> Result<HttpResponse, Problem> {
    let NewGroup { name, classes } = body.into_inner();
    if !(1..=NAME_MAX).contains(&name.len()) {
        return Err(Problem::format(format!("`name` has 1 to {NAME_MAX} octets")));
    }
    let classes = view::classes(&classes)?;
    let group = Group::from(ask(&service, move |desk| desk.create_group(name, classes)).await?);
    let location = (header::LOCATION, format!("/v1/groups/{}", group.gid));
    Ok(HttpResponse::Created().insert_header(location).json(group))
}

/// Shows a group with a page of its members.
#[utoipa::path(
    tag = "groups",
    operation_id = "showGroup",
    params(("gid" = String, Path, description = "The group.", pattern = "^[0-9a-f]{8}$"), PageQuery),
    responses((status = 200, description = "The group.", body = Group)),
)]
#[get("/v1/groups/{gid}")]
pub(crate) async fn show(
    service: Data<Service>,
    gid: Path<String>,
    page: Query<PageQuery>,
) -> Result<Json<Group>, Problem> {
    let gid: Gid = gid.as_str().read("gid")?;
    let page = page.into_inner().into();
    Ok(Json(ask(&service, move |desk| desk.group(gid, page)).await?.into()))
}

/// Lets devices join: a signed JOIN to each; a device is a member when it has answered.
#[utoipa::path(
    tag = "groups",
    operation_id = "joinGroup",
    params(("gid" = String, Path, description = "The group.", pattern = "^[0-9a-f]{8}$")),
    request_body = Members,
    responses((status = 202, description = "The commands.", body = AcceptedList)),
)]
#[post("/v1/groups/{gid}/members")]
pub(crate) async fn join(
    service: Data<Service>,
    caller: ReqData<Caller>,
    gid: Path<String>,
    body: Json<Members>,
) -> Result<HttpResponse, Problem> {
    let (gid, devs, requester) = members(&gid, &body, &caller)?;
    taken(ask(&service, move |desk| desk.join(gid, devs, requester)).await?)
}

/// Lets members leave: a signed LEAVE to each; a device is a member until it has answered.
#[utoipa::path(
    tag = "groups",
    operation_id = "leaveGroup",
    params(("gid" = String, Path, description = "The group.", pattern = "^[0-9a-f]{8}$")),
    request_body = Members,
    responses((status = 202, description = "The commands.", body = AcceptedList)),
)]
#[delete("/v1/groups/{gid}/members")]
pub(crate) async fn leave(
    service: Data<Service>,
    caller: ReqData<Caller>,
    gid: Path<String>,
    body: Json<Members>,
) -> Result<HttpResponse, Problem> {
    let (gid, devs, requester) = members(&gid, &body, &caller)?;
    taken(ask(&service, move |desk| desk.leave(gid, devs, requester)).await?)
}

fn members(gid: &str, body: &Members, caller: &Caller) -> Result<(Gid, Vec<Dev>, String), Problem> {
    if !(1..=MEMBERS_MAX).contains(&body.devices.len()) {
        return Err(Problem::format(format!("`devices` has 1 to {MEMBERS_MAX} entries")));
    }
    let devs = body.devices.iter().map(|dev| dev.read("devices")).collect::<Result<_, _>>()?;
    Ok((gid.read("gid")?, devs, caller.name.clone()))
}

fn taken(commands: Vec<::commands::front::Accepted>) -> Result<HttpResponse, Problem> {
    let commands = commands.into_iter().map(view::Accepted::from).collect();
    Ok(HttpResponse::Accepted().json(AcceptedList { commands }))
}

/// Begins the group's next epoch at once, as after a member was opened.
#[utoipa::path(
    tag = "groups",
    operation_id = "rekeyGroup",
    params(("gid" = String, Path, description = "The group.", pattern = "^[0-9a-f]{8}$")),
    responses((status = 200, description = "The group.", body = Group)),
)]
#[post("/v1/groups/{gid}/rekey")]
pub(crate) async fn rekey(service: Data<Service>, gid: Path<String>) -> Result<Json<Group>, Problem> {
    let gid: Gid = gid.as_str().read("gid")?;
    Ok(Json(ask(&service, move |desk| desk.rekey(gid)).await?.into()))
}
