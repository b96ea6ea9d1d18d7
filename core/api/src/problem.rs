//! Refusals as answers: problem details (RFC 9457) with a code, what happened and the way out.

use std::fmt;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use commands::desk::RootError;
use commands::front::Refusal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::view::FieldError;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A refusal (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:metergraph:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// A code of the security layer §10 (`SEC-CMD-POLICY`) or of this interface (`api-rate`).
    pub code: String,
    /// What happened.
    pub detail: String,
    /// The way out, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Seconds after which to try again, as in the header `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

impl Problem {
    /// A refusal with this status, code and detail.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:metergraph:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Refused").to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.into(),
            help: None,
            retry_after_s: None,
        }
    }

    /// What was sent is not what this route takes.
    #[must_use]
    pub fn format(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "api-format", detail)
            .help("GET /v1/openapi.json describes every route and body")
    }

    /// There is no such thing.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "api-not-found", detail)
    }

    /// The same with the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with a time after which to try again.
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        let seconds = pause.as_secs().saturating_add(u64::from(pause.subsec_nanos() > 0));
        self.retry_after_s = Some(seconds.max(1));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::build(self.status_code());
        response.content_type(MEDIA_TYPE);
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED.as_u16() {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        // Texts and numbers into memory: there is nothing that could fail.
        response.body(serde_json::to_vec(self).unwrap_or_default())
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        Self::format(error.to_string())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::Busy | Refusal::Full(_) | Refusal::Closed | Refusal::Store | Refusal::NoPolicy => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Refusal::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Refusal::NoCommand(_) | Refusal::NoDevice(_) | Refusal::NoGroup(_) | Refusal::NoCampaign(_) => {
                StatusCode::NOT_FOUND
            }
            Refusal::Invalid(_) => StatusCode::BAD_REQUEST,
            Refusal::Role(_) | Refusal::Approval(_) | Refusal::RootOnly => StatusCode::FORBIDDEN,
            Refusal::Root(error) => of_root(error),
            Refusal::Body(_) | Refusal::GroupClass { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::NotRegistered(_)
            | Refusal::Classic(_)
            | Refusal::EmptyGroup(_)
            | Refusal::MixedGroup(_)
            | Refusal::CampaignRuns(_)
            | Refusal::RequestId(_)
            | Refusal::Restored(_)
            | Refusal::NotAwaiting(_) => StatusCode::CONFLICT,
        };
        let code = match refusal.code() {
            code if code.starts_with("SEC-") => code.to_owned(),
            code => format!("desk-{code}"),
        };
        let problem = Self::new(status, &code, refusal.to_string());
        let problem = match help(&refusal) {
            Some(help) => problem.help(help),
            None => problem,
        };
        let pause = match refusal {
            Refusal::Busy | Refusal::TimedOut | Refusal::Closed => Some(Duration::from_secs(1)),
            Refusal::Store | Refusal::Full(_) => Some(Duration::from_secs(30)),
            _ => None,
        };
        match pause {
            Some(pause) => problem.retry_after(pause),
            None => problem,
        }
    }
}

fn of_root(error: &RootError) -> StatusCode {
    match error {
        RootError::Class(_) => StatusCode::UNPROCESSABLE_ENTITY,
        RootError::NoRoot | RootError::Audit => StatusCode::SERVICE_UNAVAILABLE,
        RootError::Counter(_) => StatusCode::CONFLICT,
        RootError::Skid(_) | RootError::Signature | RootError::When(_) => StatusCode::FORBIDDEN,
    }
}

/// The way out of what the desk refuses.
fn help(refusal: &Refusal) -> Option<&'static str> {
    Some(match refusal {
        Refusal::TimedOut => "what was asked for may still happen: send the same request id again",
        Refusal::Store => "see `metergraph status`: the journal's folder is full or cannot be written",
        Refusal::Full(_) => "let pending commands end first: GET /v1/commands?pending=true lists them",
        Refusal::NotRegistered(_) => "commands reach a device after its registration",
        Refusal::Classic(_) => "a classic device takes no signed command; it must be replaced or upgraded",
        Refusal::EmptyGroup(_) => "POST /v1/groups/{gid}/members lets devices join",
        Refusal::MixedGroup(_) => "make a group for each device profile",
        Refusal::GroupClass { .. } => "a group's classes are fixed when it is made; make another group",
        Refusal::RequestId(_) => "give each command a request id of its own",
        Refusal::Restored(_) => {
            "the campaign after the restore tells it; GET /v1/campaigns/{id} shows how far it is"
        }
        Refusal::RootOnly => {
            "`metergraph keys root-command` signs it where root's key is, `metergraph command send-signed` sends it"
        }
        Refusal::Root(RootError::NoRoot) => {
            "name root's public key in the command signer's `root`, and sign a policy"
        }
        Refusal::Root(RootError::Skid(_)) => "POST /v1/commands asks for a command that the signer signs",
        Refusal::Root(RootError::Signature) => {
            "root signs for one installation and one device or group: give the same here"
        }
        Refusal::Root(RootError::When(_) | RootError::Counter(_)) => {
            "have root sign it anew, with its next counter"
        }
        Refusal::NoPolicy => "sign a policy and put it where the graph file says",
        Refusal::CampaignRuns(_) => "wait for its end; GET /v1/campaigns/{id} shows it",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_code_detail_and_the_way_out() {
        let problem = Problem::from(Refusal::TimedOut);
        assert_eq!((problem.status, &*problem.code, problem.retry_after_s), (504, "desk-timed-out", Some(1)));
        let response = problem.error_response();
        assert_eq!(response.headers().get("retry-after").unwrap(), "1");
        assert_eq!(response.headers().get("content-type").unwrap(), MEDIA_TYPE);
        let text = serde_json::to_value(&problem).unwrap();
        assert_eq!(text["type"], "urn:metergraph:problem:desk-timed-out");
        assert!(text["help"].as_str().unwrap().contains("same request id"));
        assert_eq!(Problem::from(Refusal::Store).code, "SEC-STORE");
        assert_eq!(Problem::from(Refusal::Role("security")).status, 403);
    }
}
