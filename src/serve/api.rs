//! HTTP endpoints, their requests and their responses.

use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, http::Uri};
use clap::ValueEnum;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, oneshot};

use super::Limits;
use super::batching::{ExplainJob, PredictJob};
use super::metrics::Metrics;
use crate::explanation::{Method, page};
use crate::output::format::join_names;
use crate::prediction::Prediction;
use crate::prediction::text_columns::TextColumns;

const PAGE: &str = include_str!("page.html");
const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
const OPEN_METRICS: [(HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
/// The page may connect to this server only.
const HTML: [(HeaderName, &str); 2] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
         form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
];

/// State shared by all requests.
pub struct AppState {
    /// Text columns of the model.
    pub columns: TextColumns,
    /// Label of each class.
    pub labels: Vec<String>,
    /// Path of the checkpoint.
    pub checkpoint: String,
    /// Limits on requests.
    pub limits: Limits,
    /// One permit for each text that may wait.
    pub permits: Arc<Semaphore>,
    /// Records requests.
    pub metrics: Arc<Metrics>,
    /// Queue of the prediction thread.
    pub predict_jobs: Sender<PredictJob>,
    /// Queue of the explanation thread.
    pub explain_jobs: SyncSender<ExplainJob>,
}

type Server = Arc<AppState>;

/// Error response.
struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests are waiting; try again later")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"error": self.message}).to_string();
        let response = (self.status, JSON, body).into_response();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                ([(header::RETRY_AFTER, "1")], response).into_response()
            }
            _ => response,
        }
    }
}

/// Creates the router of all endpoints.
pub fn router(shared: AppState) -> Router {
    let server = Arc::new(shared);
    let limit = DefaultBodyLimit::max(server.limits.max_body_kb.get().saturating_mul(1000));
    Router::new()
        .route("/", get(index))
        .route("/predict", post(predict))
        .route("/explain", post(explain))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(limit)
        .layer(from_fn_with_state(server.clone(), guard))
        .with_state(server)
}

/// Rejects cross-origin requests, applies the timeout and records the request.
async fn guard(State(server): State<Server>, request: Request, next: Next) -> Response {
    const PATHS: [&str; 5] = ["/", "/predict", "/explain", "/healthz", "/metrics"];
    let path = PATHS.into_iter().find(|path| *path == request.uri().path()).unwrap_or("other");
    let started = Instant::now();
    if is_cross_origin(request.headers()) {
        let message = "cross-origin requests are not allowed";
        return ApiError::new(StatusCode::FORBIDDEN, message).into_response();
    }
    let time = Duration::from_secs(server.limits.timeout.get());
    let response = tokio::time::timeout(time, next.run(request)).await.unwrap_or_else(|_| {
        let message = "the request was not received and answered within --timeout";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, message).into_response()
    });
    server.metrics.record_request(path, response.status().as_u16(), started.elapsed());
    response
}

/// Returns true if a page of another site sent the request from the browser of its visitor.
fn is_cross_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let origin = text(header::ORIGIN);
    let is_same_host = |origin: &str| {
        origin.split_once("://").is_some_and(|(_, host)| text(header::HOST) == Some(host))
    };
    origin.is_some_and(|origin| !is_same_host(origin))
}

async fn index() -> Response {
    (HTML, PAGE.replace("/* page.css */", page::STYLE)).into_response()
}

async fn health(State(server): State<Server>) -> Response {
    let body = json!({
        "status": "ok",
        "lstmtext": env!("CARGO_PKG_VERSION"),
        "checkpoint": server.checkpoint,
        "labels": server.labels,
        "columns": server.columns.names(),
    });
    (JSON, body.to_string()).into_response()
}

async fn metrics(State(server): State<Server>) -> Response {
    let waiting = server.limits.queue.get() - server.permits.available_permits();
    (OPEN_METRICS, server.metrics.encode(waiting)).into_response()
}

async fn not_found(uri: Uri) -> ApiError {
    let path = uri.path();
    let expected = "POST /predict, POST /explain, GET /, GET /healthz or GET /metrics";
    ApiError::new(StatusCode::NOT_FOUND, format!("unknown path \"{path}\"; expected {expected}"))
}

async fn method_not_allowed(uri: Uri) -> ApiError {
    let method = if ["/predict", "/explain"].contains(&uri.path()) { "POST" } else { "GET" };
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} only accepts {method}", uri.path()))
}

/// One text or several. Each is a string, or an object if the model has several text columns.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PredictRequest {
    text: Option<Value>,
    texts: Option<Vec<Value>>,
    /// Number of classes in the response, the most probable ones. The default is all.
    top: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainRequest {
    text: Value,
    class: Option<String>,
    method: Option<String>,
}

#[derive(Serialize)]
struct PredictResponse {
    predictions: Vec<Prediction>,
}

async fn predict(
    State(server): State<Server>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let PredictRequest { text, texts, top } = parse_body(body)?;
    let (texts, is_one) = match (text, texts) {
        (Some(text), None) => (vec![text], true),
        (None, Some(texts)) => (texts, false),
        _ => {
            return Err(ApiError::unprocessable("expected either \"text\" or \"texts\""));
        }
    };
    let top = match top {
        None => usize::MAX,
        Some(top) => match top.as_u64() {
            None | Some(0) => {
                let message = format!("\"top\" must be a positive integer, not {top}");
                return Err(ApiError::unprocessable(message));
            }
            Some(top) => usize::try_from(top).unwrap_or(usize::MAX),
        },
    };
    let mut columns = vec![Vec::with_capacity(texts.len()); server.columns.names().len()];
    for (number, text) in texts.iter().enumerate() {
        let name =
            if is_one { "\"text\"".into() } else { format!("text {} of \"texts\"", number + 1) };
        for (column, text) in columns.iter_mut().zip(server.example(&name, text)?) {
            column.push(text);
        }
    }
    let mut predictions = server.predict(columns).await?;
    predictions.iter_mut().for_each(|prediction| prediction.classes.truncate(top));
    json_response(match (is_one, &predictions[..]) {
        (true, [prediction]) => serde_json::to_string(prediction),
        _ => serde_json::to_string(&PredictResponse { predictions }),
    })
}

/// Responds with JSON, or with an HTML fragment if the request accepts HTML.
async fn explain(
    State(server): State<Server>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let ExplainRequest { text, class, method } = parse_body(body)?;
    let texts = server.example("\"text\"", &text)?;
    let class = match class {
        None => None,
        Some(label) => {
            Some(server.labels.iter().position(|each| *each == label).ok_or_else(|| {
                let labels = join_names(&server.labels);
                ApiError::unprocessable(format!(
                    "unknown class \"{label}\"; the labels are {labels}"
                ))
            })?)
        }
    };
    let method = method.map_or(Ok(Method::IntegratedGradients), |name| {
        Method::from_str(&name, false).map_err(|_| {
            let expected = "expected integrated-gradients or leave-one-out";
            ApiError::unprocessable(format!("unknown method \"{name}\"; {expected}"))
        })
    })?;
    let (reply, explanation) = oneshot::channel();
    let job = ExplainJob { texts, class, method, reply };
    server.explain_jobs.try_send(job).map_err(|error| match error {
        TrySendError::Full(_) => ApiError::busy(),
        TrySendError::Disconnected(_) => {
            let message = "the explanation thread has stopped; restart the server";
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
        }
    })?;
    let explanation = explanation.await.map_err(|_| shutting_down())?.map_err(internal_error)?;
    match accepts_html(&headers) {
        true => Ok((HTML, page::article(&explanation)).into_response()),
        false => json_response(serde_json::to_string(&explanation)),
    }
}

fn accepts_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let kind = |part: &str| part.split(';').next().unwrap_or_default().trim() == "text/html";
    accepted.is_some_and(|accepted| accepted.split(',').any(kind))
}

fn json_response(body: serde_json::Result<String>) -> Result<Response, ApiError> {
    match body {
        Ok(body) => Ok((JSON, body).into_response()),
        Err(error) => Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

fn internal_error(error: anyhow::Error) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))
}

fn shutting_down() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down")
}

/// Parses a request body as JSON, whatever its Content-Type.
fn parse_body<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, ApiError> {
    let body = body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let advice = "the request is too large; send fewer texts or raise --max-body-kb";
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, advice)
        }
        status => ApiError::new(status, error.body_text()),
    })?;
    let object: Map<String, Value> = serde_json::from_slice(&body).map_err(|error| {
        let expected = "expected a JSON object such as {\"text\": \"…\"}";
        ApiError::new(StatusCode::BAD_REQUEST, format!("{expected}: {error}"))
    })?;
    serde_json::from_value(Value::Object(object))
        .map_err(|error| ApiError::unprocessable(error.to_string()))
}

impl AppState {
    /// Returns the text of each column of an example.
    fn example(&self, name: &str, text: &Value) -> Result<Vec<String>, ApiError> {
        let texts = self
            .columns
            .parse_json(text)
            .map_err(|error| ApiError::unprocessable(format!("{name}: {error}")))?;
        let most = self.limits.max_text_kb.get().saturating_mul(1000);
        match texts.iter().map(String::len).find(|length| *length > most) {
            None => Ok(texts),
            Some(length) => Err(ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("{name} has {length} bytes; the maximum is {most} (--max-text-kb)"),
            )),
        }
    }

    async fn predict(&self, columns: Vec<Vec<String>>) -> Result<Vec<Prediction>, ApiError> {
        let (count, most) = (columns[0].len(), self.limits.queue.get());
        if count > most {
            let message = format!("{count} texts in one request; the maximum is {most} (--queue)");
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        let permits = u32::try_from(count).ok();
        let permit =
            permits.and_then(|count| self.permits.clone().try_acquire_many_owned(count).ok());
        let (reply, predictions) = oneshot::channel();
        let job = PredictJob { columns, reply, permit: permit.ok_or_else(ApiError::busy)? };
        self.predict_jobs.send(job).map_err(|_| shutting_down())?;
        predictions.await.map_err(|_| shutting_down())?.map_err(internal_error)
    }
}
