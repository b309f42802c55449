//! What is asked and answered over HTTP.

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
const TEXT: [(HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
/// The page loads nothing from elsewhere and sends nothing elsewhere.
const HTML: [(HeaderName, &str); 2] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
         form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
];

/// What every request needs.
pub struct AppState {
    /// The columns that the model reads.
    pub columns: TextColumns,
    /// The label of each class number.
    pub labels: Vec<String>,
    /// What is served.
    pub checkpoint: String,
    /// How much is taken.
    pub limits: Limits,
    /// A permit for each text that may wait.
    pub permits: Arc<Semaphore>,
    /// Counts requests.
    pub metrics: Arc<Metrics>,
    /// To what classifies.
    pub predicting: Sender<PredictJob>,
    /// To what explains.
    pub explaining: SyncSender<ExplainJob>,
}

type Server = Arc<AppState>;

/// Why a request has no answer.
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
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too much is waiting; try again")
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

/// Everything that can be asked.
pub fn router(shared: AppState) -> Router {
    let server = Arc::new(shared);
    let limit = DefaultBodyLimit::max(server.limits.max_body_kb.get().saturating_mul(1000));
    Router::new()
        .route("/", get(index))
        .route("/predict", post(predict))
        .route("/explain", post(explain))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(limit)
        .layer(from_fn_with_state(server.clone(), measured))
        .with_state(server)
}

async fn measured(State(server): State<Server>, request: Request, next: Next) -> Response {
    const KNOWN: [&str; 5] = ["/", "/predict", "/explain", "/healthz", "/metrics"];
    let path = KNOWN.into_iter().find(|known| *known == request.uri().path()).unwrap_or("other");
    let begun = Instant::now();
    if is_foreign(request.headers()) {
        let message = "asked by the page of another site";
        return ApiError::new(StatusCode::FORBIDDEN, message).into_response();
    }
    let time = Duration::from_secs(server.limits.timeout.get());
    let response = tokio::time::timeout(time, next.run(request)).await.unwrap_or_else(|_| {
        let message = "the request was not sent and answered within --timeout";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, message).into_response()
    });
    server.metrics.request(path, response.status().as_u16(), begun.elapsed());
    response
}

/// Whether the page of another site asks, which a browser here may show.
fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let origin = text(header::ORIGIN);
    let own = |origin: &str| {
        origin.split_once("://").is_some_and(|(_, host)| text(header::HOST) == Some(host))
    };
    origin.is_some_and(|origin| !own(origin))
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
    (TEXT, server.metrics.text(waiting)).into_response()
}

async fn unknown(uri: Uri) -> ApiError {
    let path = uri.path();
    let known = "POST /predict, POST /explain, GET /, GET /healthz, GET /metrics";
    ApiError::new(StatusCode::NOT_FOUND, format!("there is no \"{path}\"; known are {known}"))
}

async fn wrong_method(uri: Uri) -> ApiError {
    let method = if ["/predict", "/explain"].contains(&uri.path()) { "POST" } else { "GET" };
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} takes {method}", uri.path()))
}

/// One text or several, each a string, or an object where the model reads several columns.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PredictRequest {
    text: Option<Value>,
    texts: Option<Vec<Value>>,
    /// Classes in the answer, the most probable ones; all by default.
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
struct Predictions {
    predictions: Vec<Prediction>,
}

async fn predict(
    State(server): State<Server>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let PredictRequest { text, texts, top } = parsed(body)?;
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
                let allowed = "allowed is a whole number from 1";
                return Err(ApiError::unprocessable(format!("\"top\" is {top}, {allowed}")));
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
    answer(match (is_one, &predictions[..]) {
        (true, [prediction]) => serde_json::to_string(prediction),
        _ => serde_json::to_string(&Predictions { predictions }),
    })
}

/// Answers in JSON, or with a part of a page where the request accepts HTML.
async fn explain(
    State(server): State<Server>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let ExplainRequest { text, class, method } = parsed(body)?;
    let texts = server.example("\"text\"", &text)?;
    let class = match class {
        None => None,
        Some(label) => {
            Some(server.labels.iter().position(|known| *known == label).ok_or_else(|| {
                let labels = join_names(&server.labels);
                ApiError::unprocessable(format!(
                    "\"class\" is \"{label}\"; the labels are {labels}"
                ))
            })?)
        }
    };
    let method = method.map_or(Ok(Method::IntegratedGradients), |name| {
        Method::from_str(&name, false).map_err(|_| {
            let allowed = "allowed are integrated-gradients and leave-one-out";
            ApiError::unprocessable(format!("\"method\" is \"{name}\"; {allowed}"))
        })
    })?;
    let (reply, explanation) = oneshot::channel();
    let job = ExplainJob { texts, class, method, reply };
    server.explaining.try_send(job).map_err(|fault| match fault {
        TrySendError::Full(_) => ApiError::busy(),
        TrySendError::Disconnected(_) => {
            let message = "nothing explains any more: start the server again";
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
        }
    })?;
    let explanation = explanation.await.map_err(|_| ended())?.map_err(failed)?;
    match accepts_html(&headers) {
        true => Ok((HTML, page::article(&explanation)).into_response()),
        false => answer(serde_json::to_string(&explanation)),
    }
}

fn accepts_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let kind = |part: &str| part.split(';').next().unwrap_or_default().trim() == "text/html";
    accepted.is_some_and(|accepted| accepted.split(',').any(kind))
}

fn answer(body: serde_json::Result<String>) -> Result<Response, ApiError> {
    match body {
        Ok(body) => Ok((JSON, body).into_response()),
        Err(error) => Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

fn failed(error: anyhow::Error) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))
}

fn ended() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the server is ending")
}

/// The request in a body, whatever type that is said to have.
fn parsed<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, ApiError> {
    let body = body.map_err(|fault| match fault.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let advice = "the request is too large; send fewer texts, or raise --max-body-kb";
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, advice)
        }
        status => ApiError::new(status, fault.body_text()),
    })?;
    let object: Map<String, Value> = serde_json::from_slice(&body).map_err(|fault| {
        let expected = "expected a JSON object, as {\"text\": \"…\"}";
        ApiError::new(StatusCode::BAD_REQUEST, format!("{expected}: {fault}"))
    })?;
    serde_json::from_value(Value::Object(object))
        .map_err(|fault| ApiError::unprocessable(fault.to_string()))
}

impl AppState {
    /// The texts of an example, one for each column.
    fn example(&self, name: &str, text: &Value) -> Result<Vec<String>, ApiError> {
        let texts = self
            .columns
            .example(text)
            .map_err(|fault| ApiError::unprocessable(format!("{name}: {fault}")))?;
        let most = self.limits.max_text_kb.get().saturating_mul(1000);
        match texts.iter().map(String::len).find(|length| *length > most) {
            None => Ok(texts),
            Some(length) => Err(ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("{name} has {length} bytes, at most {most} are taken (--max-text-kb)"),
            )),
        }
    }

    async fn predict(&self, columns: Vec<Vec<String>>) -> Result<Vec<Prediction>, ApiError> {
        let (count, most) = (columns[0].len(), self.limits.queue.get());
        if count > most {
            let message =
                format!("{count} texts in one request, at most {most} are taken (--queue)");
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
        self.predicting.send(job).map_err(|_| ended())?;
        predictions.await.map_err(|_| ended())?.map_err(failed)
    }
}
