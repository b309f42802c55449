//! Error responses.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::access::Denied;
use super::bodies::BodyError;
use crate::output::note;
use crate::output::sanitize::printable_json;

/// Returns a response with a JSON document, which a terminal can show: labels, words and texts of requests
/// may have control characters.
pub fn json_body(json: &str) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, "application/json")], printable_json(json).into_owned())
}

/// Error response.
pub struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    /// Creates a response with this status and message.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// Creates the response to a request with a wrong field.
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    /// Creates the response of a server that has no room for the request.
    pub fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests are waiting; try again later")
    }

    /// Creates the response of a server that stops.
    pub fn shutting_down() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down")
    }

    /// Prints an error, and creates a response without it: it may contain paths.
    pub fn internal(error: &anyhow::Error) -> Self {
        note(format!("a request failed: {error:#}"));
        let message = "the request failed; the server printed the reason";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"error": self.message}).to_string();
        let response = (self.status, json_body(&body)).into_response();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                ([(header::RETRY_AFTER, "1")], response).into_response()
            }
            _ => response,
        }
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::InvalidHost => Self::new(
                StatusCode::BAD_REQUEST,
                "the request must name one host, in its header Host",
            ),
            Denied::OtherHost(host) => Self::new(
                StatusCode::FORBIDDEN,
                format!(
                    "the host \"{host}\" is not allowed; if it is this server, start it with \
                     --allow-host {host}"
                ),
            ),
            Denied::OtherOrigin => Self::new(
                StatusCode::FORBIDDEN,
                "pages of other sites are not allowed to use this server; --allow-origin allows them",
            ),
        }
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => {
                let advice = "the request is too large; send fewer texts or raise --max-body-kb";
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, advice)
            }
            BodyError::Full => Self::busy(),
            BodyError::Broken(error) => {
                let message = format!("cannot receive the body of the request: {error}");
                Self::new(StatusCode::BAD_REQUEST, message)
            }
        }
    }
}
