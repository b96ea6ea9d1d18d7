//! The door: every call is known by its token, allowed by its role and kept within the limits before any
//! of its body is read.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode, header};
use actix_web::middleware::Next;
use actix_web::rt::time::timeout;
use actix_web::{Error, HttpMessage, web};

use crate::problem::Problem;
use crate::refusal::Refusal;
use crate::role::Role;
use crate::service::{Caller, Place, Service};

/// The roles of which a call needs one. What is not named here is for `security`.
#[must_use]
pub fn roles_of(method: &Method, pattern: Option<&str>) -> &'static [Role] {
    match (method, pattern) {
        (&Method::GET | &Method::HEAD, _) => &Role::ALL,
        // The desk tells by the order which of the two it takes: keys are not for operators, nor meters for
        // security.
        (&Method::POST, Some("/v1/commands")) => &[Role::Operator, Role::Security],
        (&Method::POST, Some("/v1/commands/{id}/approvals")) => &[Role::Approver],
        _ => &[Role::Security],
    }
}

/// The middleware around all routes.
///
/// # Errors
/// Those of actix; refusals are answers.
pub async fn guard(
    service: web::Data<Service>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let path = told(request.path(), None);
    let answered = match admit(&service, &request) {
        Ok(_place) => pass(&service, request, next).await,
        Err(problem) => Ok(request.error_response(problem)),
    };
    let status =
        answered.as_ref().map_or_else(|error| error.as_response_error().status_code(), |a| a.status());
    service.count_answer(status.as_u16());
    let refusal = match status {
        StatusCode::BAD_REQUEST => Some(Refusal::Format),
        StatusCode::PAYLOAD_TOO_LARGE => Some(Refusal::Size),
        StatusCode::REQUEST_TIMEOUT => Some(Refusal::Time),
        _ => None,
    };
    if let Some(refusal) = refusal {
        service.refusals.count(refusal, || path);
    }
    answered
}

/// Hands the call on, for as long as it may take.
async fn pass(
    service: &Service,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let waits = request.query_string().split('&').any(|pair| pair.starts_with("wait="));
    let more = if waits { service.limits.wait_max } else { Duration::ZERO };
    match timeout(service.limits.time.saturating_add(more), next.call(request)).await {
        Ok(response) => response.map(ServiceResponse::map_into_boxed_body),
        Err(_) => {
            Err(refused(Refusal::Time, StatusCode::REQUEST_TIMEOUT, "the request took too long").into())
        }
    }
}

/// Who calls is known, allowed and not too fast, or the refusal.
fn admit<'a>(service: &'a Service, request: &ServiceRequest) -> Result<Place<'a>, Problem> {
    let peer = || told(request.path(), request.peer_addr().map(|peer| peer.ip().to_string()));
    let Some(place) = service.enter() else {
        service.refusals.count(Refusal::Busy, peer);
        let problem =
            refused(Refusal::Busy, StatusCode::SERVICE_UNAVAILABLE, "too many requests are in flight");
        return Err(problem.retry_after(Duration::from_secs(1)));
    };
    let authorization = request.headers().get(header::AUTHORIZATION);
    let presented = authorization.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    // A missing token is looked up as well: it takes as long as a wrong one.
    let Some(caller) = service.caller(presented.unwrap_or_default(), now()) else {
        service.refusals.count(Refusal::Token, peer);
        let problem =
            refused(Refusal::Token, StatusCode::UNAUTHORIZED, "no token, or none that is good here");
        return Err(problem.help("send `Authorization: Bearer TOKEN`; `metergraph token add` makes one"));
    };
    if let Err(pause) = service.take_call(&caller.name, Instant::now()) {
        service.refusals.count(Refusal::Rate, || format!("token `{}`", caller.name));
        let problem = refused(Refusal::Rate, StatusCode::TOO_MANY_REQUESTS, "this token calls too often");
        return Err(problem.retry_after(pause));
    }
    let roles = roles_of(request.method(), request.match_pattern().as_deref());
    if !roles.iter().any(|role| caller.roles.contains(role)) {
        service.refusals.count(Refusal::Role, || format!("token `{}`, {}", caller.name, peer()));
        let wanted: Vec<_> = roles.iter().map(|role| format!("`{role}`")).collect();
        let wanted = wanted.join(" or ");
        let detail = format!("this call needs the role {wanted}, which token `{}` lacks", caller.name);
        return Err(refused(Refusal::Role, StatusCode::FORBIDDEN, detail));
    }
    request.extensions_mut().insert::<Caller>(caller);
    Ok(place)
}

fn refused(refusal: Refusal, status: StatusCode, detail: impl Into<String>) -> Problem {
    Problem::new(status, refusal.code(), detail)
}

/// Where a refused call went and whence it came; a stranger's path is cut.
fn told(path: &str, peer: Option<String>) -> String {
    let path: String = path.chars().take(64).collect();
    match peer {
        Some(peer) => format!("{path} from {peer}"),
        None => path,
    }
}

/// Unix seconds; a clock before 1970 expires every token.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}
