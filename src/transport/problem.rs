//! Errors over HTTP: problem documents (RFC 9457).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use topichub_protocol::code::ErrorCode;
use topichub_protocol::command::CommandError;
use topichub_protocol::topic::TopicError;
use utoipa::ToSchema;

use crate::embed::{AskError, PublishError, SubscribeError};

/// An error over HTTP (RFC 9457).
#[derive(Serialize, ToSchema)]
pub(crate) struct ProblemDocument<'a> {
    /// Always `about:blank`: `code` says what kind it is.
    r#type: &'a str,
    /// The status in words.
    title: &'a str,
    /// The status of the answer.
    status: u16,
    /// What exactly, for people: with limit and value.
    detail: &'a str,
    /// What kind, for programs: the same words as in `error` over WebSocket.
    code: &'a str,
}

/// Why a request failed, for programs (`code`) and people (`detail`).
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: ErrorCode,
    detail: Cow<'static, str>,
    /// In seconds.
    retry_after: Option<u64>,
    /// The methods that the address takes.
    allow: Option<&'static str>,
}

impl Problem {
    /// A problem with the status that goes with the code.
    pub(crate) fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, code, detail: detail.into(), retry_after: None, allow: None }
    }

    pub(crate) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::BadRequest, detail)
    }

    pub(crate) fn upgrade_required(detail: &'static str) -> Self {
        Self { status: StatusCode::UPGRADE_REQUIRED, ..Self::bad_request(detail) }
    }

    pub(crate) fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status: StatusCode::NOT_FOUND, ..Self::bad_request(detail) }
    }

    /// It is not known who asks.
    pub(crate) fn unauthorized(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Unauthorized, detail)
    }

    pub(crate) fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Forbidden, detail)
    }

    pub(crate) fn invalid_topic(error: TopicError) -> Self {
        Self::new(ErrorCode::InvalidTopic, error.to_string())
    }

    /// The hub is no more.
    pub(crate) fn stopped() -> Self {
        Self::new(ErrorCode::Unavailable, "the hub has stopped")
    }

    /// A part of a request was not there after so long.
    pub(crate) fn too_late(part: &str, max: Duration) -> Self {
        let detail = format!("the {part} of the request did not come within the limit of {max:?}");
        Self { status: StatusCode::REQUEST_TIMEOUT, ..Self::new(ErrorCode::Timeout, detail) }
    }

    /// The head of a request is longer than so many bytes.
    pub(crate) fn head_too_long(max: usize) -> Self {
        let detail = format!("the head of the request is longer than the limit of {max} bytes");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self { status, ..Self::new(ErrorCode::TooLarge, detail) }
    }

    /// There is no room now; there may be in so many seconds.
    pub(crate) fn unavailable(detail: String, retry_after: u64) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(ErrorCode::Unavailable, detail) }
    }

    /// For addresses that take these methods only.
    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        let problem = Self::bad_request(format!("this address takes {allow}"));
        Self { status: StatusCode::METHOD_NOT_ALLOWED, allow: Some(allow), ..problem }
    }

    /// The same as the error of one entry in a batch.
    pub(crate) fn into_command_error(self) -> CommandError {
        CommandError::new(self.code, self.detail)
    }

    fn document(&self) -> String {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let status = self.status.as_u16();
        let document = ProblemDocument {
            r#type: "about:blank",
            title,
            status,
            detail: &self.detail,
            code: self.code.as_str(),
        };
        serde_json::to_string(&document).unwrap_or_default()
    }

    /// The problem as the bytes of an HTTP/1.1 response that closes the connection: for a socket that is no longer
    /// under the HTTP server.
    pub(crate) fn to_response_bytes(&self) -> Vec<u8> {
        let (status, body) = (self.status, self.document());
        let reason = status.canonical_reason().unwrap_or("Error");
        let mut also = String::new();
        if status == StatusCode::UPGRADE_REQUIRED {
            also.push_str("sec-websocket-version: 13\r\nupgrade: websocket\r\n");
        }
        if status == StatusCode::UNAUTHORIZED {
            also.push_str("www-authenticate: Bearer\r\n");
        }
        if let Some(seconds) = self.retry_after {
            also.push_str(&format!("retry-after: {seconds}\r\n"));
        }
        format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n{also}\
             connection: close\r\n\r\n{body}",
            status.as_u16(),
            body.len(),
        )
        .into_bytes()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        if self.status == StatusCode::UPGRADE_REQUIRED {
            response.insert_header((header::SEC_WEBSOCKET_VERSION, "13"));
            response.insert_header((header::UPGRADE, "websocket"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 6750 §3.
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        if let Some(methods) = self.allow {
            response.insert_header((header::ALLOW, methods));
        }
        response.body(self.document())
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        let code = match &error {
            PublishError::Topic(_) => ErrorCode::InvalidTopic,
            PublishError::SystemTopic => ErrorCode::Forbidden,
            PublishError::Payload(_) => ErrorCode::BadRequest,
            PublishError::TooLarge { .. } => ErrorCode::TooLarge,
            PublishError::Refused(error) => error.code,
            PublishError::HubStopped => ErrorCode::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let retry_after = error.after.map(|after| after.as_secs_f64().ceil() as u64);
        Self { retry_after, ..Self::new(error.code, error.message) }
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Refused(error) => error.into(),
            AskError::HubStopped => Self::new(ErrorCode::Unavailable, error.to_string()),
        }
    }
}

impl From<SubscribeError> for Problem {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::Filter(_) => Self::new(ErrorCode::InvalidTopic, error.to_string()),
            SubscribeError::Refused(error) => error.into(),
            SubscribeError::HubStopped => Self::new(ErrorCode::Unavailable, error.to_string()),
        }
    }
}
