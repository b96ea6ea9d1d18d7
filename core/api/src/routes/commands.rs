//! `/v1/commands`.

use std::time::{Duration, Instant};

use ::commands::front::{
    self, CommandId, CommandState, CommandView, Filter, Page, Roles, SignedSubmission, Submission,
};
use actix_web::http::header;
use actix_web::rt::time::sleep;
use actix_web::web::{Data, Json, Path, Query, ReqData};
use actix_web::{HttpRequest, HttpResponse, get, post};
use seal::command::Addressee;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{ask, page};
use crate::problem::Problem;
use crate::service::{Caller, Service};
use crate::view::{
    self, Accepted, Command, CommandList, Named, NewApproval, NewCommand, NewSigned, REQUEST_ID_MAX, octets,
    octets_of,
};

/// The header that names a request, so that repeating it does nothing twice.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// How often a waiting call looks whether its command has ended.
const LOOK: Duration = Duration::from_millis(250);

/// Asks for a command.
///
/// It is taken durably; what becomes of it, `GET /v1/commands/{id}` shows. Orders about keys need the role
/// `security`, all others `operator`.
#[utoipa::path(
    tag = "commands",
    operation_id = "submitCommand",
    request_body = NewCommand,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same as `request_id`.", max_length = 64)),
    responses(
        (status = 202, description = "It was taken.", body = Accepted,
            headers(("Location" = String, description = "The command."))),
        (status = 200, description = "It was taken earlier, under the same request id.", body = Accepted,
            headers(("Location" = String, description = "The command."))),
    ),
)]
#[post("/v1/commands")]
pub(crate) async fn submit(
    service: Data<Service>,
    caller: ReqData<Caller>,
    request: HttpRequest,
    body: Json<NewCommand>,
) -> Result<HttpResponse, Problem> {
    let body = body.into_inner();
    let submission = Submission {
        request_id: request_id(&request, body.request_id)?,
        addressee: body.to.addressee()?,
        order: body.order.kind()?,
        nbf: body.valid_from,
        ttl_min: body.ttl_min,
        requester: caller.name.clone(),
        roles: roles(&caller),
    };
    Ok(taken(ask(&service, |desk| desk.submit(submission)).await?))
}

/// Has a command sent that the offline root signed.
///
/// `metergraph keys root-command` makes one. It is taken when it is of class 4, its items are `signer-add`,
/// `signer-revoke` or `credential-next`, its time has not passed and the signature is root's for this
/// installation and `to`. No signer has a part in it. The same command again is the same, whatever became of it.
#[utoipa::path(
    tag = "commands",
    operation_id = "submitSignedCommand",
    request_body = NewSigned,
    responses(
        (status = 202, description = "It was taken.", body = Accepted,
            headers(("Location" = String, description = "The command."))),
        (status = 200, description = "It was taken earlier.", body = Accepted,
            headers(("Location" = String, description = "The command."))),
    ),
)]
#[post("/v1/commands/signed")]
pub(crate) async fn submit_signed(
    service: Data<Service>,
    caller: ReqData<Caller>,
    body: Json<NewSigned>,
) -> Result<HttpResponse, Problem> {
    let submission = SignedSubmission {
        addressee: body.to.addressee()?,
        octets: octets("signed", &body.signed)?,
        requester: caller.name.clone(),
        roles: roles(&caller),
    };
    Ok(taken(ask(&service, |desk| desk.submit_signed(submission)).await?))
}

fn taken(accepted: front::Accepted) -> HttpResponse {
    let accepted = Accepted::from(accepted);
    let mut response = if accepted.repeated { HttpResponse::Ok() } else { HttpResponse::Accepted() };
    response.insert_header((header::LOCATION, format!("/v1/commands/{}", accepted.id))).json(accepted)
}

/// What the caller may, in the desk's words.
fn roles(caller: &Caller) -> Roles {
    caller.roles.iter().fold(Roles::default(), |roles, role| roles.and(role.of_desk()))
}

fn request_id(request: &HttpRequest, field: Option<String>) -> Result<String, Problem> {
    let header = match request.headers().get(IDEMPOTENCY_KEY) {
        Some(value) => {
            let text = value.to_str().map_err(|_| Problem::format("`Idempotency-Key` is no plain text"))?;
            Some(text.to_owned())
        }
        None => None,
    };
    let id = match (header, field) {
        (Some(header), Some(field)) if header != field => {
            return Err(Problem::format("`request_id` and `Idempotency-Key` differ"));
        }
        (Some(id), _) | (None, Some(id)) => id,
        (None, None) => {
            return Err(Problem::format("no request id").help(
                "send `request_id` or the header `Idempotency-Key`: a repeat then does nothing twice",
            ));
        }
    };
    if (1..=REQUEST_ID_MAX).contains(&id.len()) {
        Ok(id)
    } else {
        Err(Problem::format(format!("a request id has 1 to {REQUEST_ID_MAX} octets")))
    }
}

/// Which commands are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Only those to this end device.
    device: Option<String>,
    /// Only those to this group.
    group: Option<String>,
    /// Only those that have not ended.
    #[serde(default)]
    pending: bool,
    /// Only those of this requester.
    requester: Option<String>,
    /// So many entries are left out.
    #[serde(default)]
    skip: usize,
    /// At most so many entries, up to 1,000.
    #[serde(default = "page")]
    #[param(default = 100, maximum = 1000)]
    count: usize,
}

/// Lists commands, the newest first.
#[utoipa::path(
    tag = "commands",
    operation_id = "listCommands",
    params(ListQuery),
    responses((status = 200, description = "A page of them.", body = CommandList)),
)]
#[get("/v1/commands")]
pub(crate) async fn list(
    service: Data<Service>,
    query: Query<ListQuery>,
) -> Result<Json<CommandList>, Problem> {
    let query = query.into_inner();
    let addressee = match (&query.device, &query.group) {
        (Some(_), Some(_)) => return Err(Problem::format("`device` and `group` exclude each other")),
        (Some(device), None) => Some(Addressee::Device(device.read("device")?)),
        (None, Some(group)) => Some(Addressee::Group(group.read("group")?)),
        (None, None) => None,
    };
    let filter = Filter { addressee, pending: query.pending, requester: query.requester };
    let page = Page { skip: query.skip, count: query.count };
    let commands = ask(&service, move |desk| desk.commands(filter, page)).await?;
    Ok(Json(CommandList { commands: commands.into_iter().map(Command::from).collect() }))
}

/// How long to wait, and which results.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShowQuery {
    /// Seconds to wait for the command's end, up to the head-end's own limit.
    #[serde(default)]
    wait: u64,
    /// So many results of a group's members are left out.
    #[serde(default)]
    skip: usize,
    /// At most so many results of a group's members, up to 1,000.
    #[serde(default = "page")]
    #[param(default = 100, maximum = 1000)]
    count: usize,
}

/// Shows a command with its whole intent; waits for its end where asked to.
#[utoipa::path(
    tag = "commands",
    operation_id = "showCommand",
    params(("id" = String, Path, description = "The command.", pattern = "^[0-9a-f]{32}$"), ShowQuery),
    responses((status = 200, description = "The command.", body = Command)),
)]
#[get("/v1/commands/{id}")]
pub(crate) async fn show(
    service: Data<Service>,
    id: Path<String>,
    query: Query<ShowQuery>,
) -> Result<Json<Command>, Problem> {
    let id = id.as_str().read("id")?;
    let wait = Duration::from_secs(query.wait).min(service.limits.wait_max);
    let page = Page { skip: query.skip, count: query.count };
    let since = Instant::now();
    loop {
        let view = ask(&service, move |desk| desk.command(id, page)).await?;
        if view.state == CommandState::Ended || since.elapsed() >= wait {
            return whole(view).map(Json);
        }
        sleep(LOOK).await;
    }
}

/// The command with its intent.
fn whole(view: CommandView) -> Result<Command, Problem> {
    let intent = view::Intent::read(&view.intent).ok_or_else(|| {
        let status = actix_web::http::StatusCode::INTERNAL_SERVER_ERROR;
        Problem::new(status, "desk-intent", format!("the intent of {} cannot be read", view.id))
    })?;
    Ok(Command { intent: Some(intent), ..Command::from(view) })
}

/// Adds an approval.
///
/// The signer verifies the signature under its policy; of the same approver only one counts.
#[utoipa::path(
    tag = "commands",
    operation_id = "approveCommand",
    params(("id" = String, Path, description = "The command.", pattern = "^[0-9a-f]{32}$")),
    request_body = NewApproval,
    responses((status = 200, description = "The command.", body = Command)),
)]
#[post("/v1/commands/{id}/approvals")]
pub(crate) async fn approve(
    service: Data<Service>,
    id: Path<String>,
    body: Json<NewApproval>,
) -> Result<Json<Command>, Problem> {
    let id: CommandId = id.as_str().read("id")?;
    let NewApproval { approver, signature } = body.into_inner();
    if !(1..=crate::tokens::NAME_MAX).contains(&approver.len()) {
        return Err(Problem::format(format!("`approver` has 1 to {} octets", crate::tokens::NAME_MAX)));
    }
    let signature = octets_of("signature", &signature)?;
    ask(&service, move |desk| desk.approve(id, approver, signature)).await?;
    whole(ask(&service, move |desk| desk.command(id, Page::NONE)).await?).map(Json)
}
