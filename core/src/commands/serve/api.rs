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
use super::batching::{Job, Question};
use super::measures::Measures;
use crate::commands::output::listed;
use crate::commands::texts::TextColumns;
use crate::explanation::Method;
use crate::predictor::ClassProbability;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("../explain/page.css");
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
pub struct Shared {
    /// The columns that the model reads.
    pub columns: TextColumns,
    /// The label of each class number.
    pub labels: Vec<String>,
    /// What is served.
    pub checkpoint: String,
    /// How much is taken.
    pub limits: Limits,
    /// Room for texts.
    pub room: Arc<Semaphore>,
    /// Counts requests.
    pub measures: Arc<Measures>,
    /// To what classifies.
    pub texts: Sender<Job>,
    /// To what explains.
    pub questions: SyncSender<Question>,
}

type Server = Arc<Shared>;

/// Why a request has no answer.
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
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

impl IntoResponse for Refusal {
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
pub fn router(shared: Shared) -> Router {
    let server = Arc::new(shared);
    let limit = DefaultBodyLimit::max(server.limits.max_body_kb.get().saturating_mul(1000));
    Router::new()
        .route("/", get(page))
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
        return Refusal::new(StatusCode::FORBIDDEN, message).into_response();
    }
    let time = Duration::from_secs(server.limits.timeout.get());
    let response = tokio::time::timeout(time, next.run(request)).await.unwrap_or_else(|_| {
        let message = "the request was not sent and answered within --timeout";
        Refusal::new(StatusCode::REQUEST_TIMEOUT, message).into_response()
    });
    server.measures.request(path, response.status().as_u16(), begun.elapsed());
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

async fn page() -> Response {
    (HTML, PAGE.replace("/* page.css */", STYLE)).into_response()
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
    let waiting = server.limits.queue.get() - server.room.available_permits();
    (TEXT, server.measures.text(waiting)).into_response()
}

async fn unknown(uri: Uri) -> Refusal {
    let path = uri.path();
    let known = "POST /predict, POST /explain, GET /, GET /healthz, GET /metrics";
    Refusal::new(StatusCode::NOT_FOUND, format!("there is no \"{path}\"; known are {known}"))
}

async fn wrong_method(uri: Uri) -> Refusal {
    let method = if ["/predict", "/explain"].contains(&uri.path()) { "POST" } else { "GET" };
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} takes {method}", uri.path()))
}

/// One text or several, each a string, or an object where the model reads several columns.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PredictRequest {
    text: Option<Value>,
    texts: Option<Vec<Value>>,
    /// Classes in the answer, the most probable ones; all by default.
    top: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainRequest {
    text: Value,
    class: Option<String>,
    method: Option<String>,
}

#[derive(Serialize)]
struct Predictions<'a> {
    predictions: Vec<Prediction<'a>>,
}

#[derive(Serialize)]
struct Prediction<'a> {
    #[serde(flatten)]
    best: Class<'a>,
    classes: Vec<Class<'a>>,
}

#[derive(Clone, Copy, Serialize)]
struct Class<'a> {
    label: &'a str,
    probability: f64,
}

async fn predict(
    State(server): State<Server>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let PredictRequest { text, texts, top } = parsed(body)?;
    let (texts, is_one) = match (text, texts) {
        (Some(text), None) => (vec![text], true),
        (None, Some(texts)) => (texts, false),
        _ => {
            return Err(Refusal::unprocessable("expected either \"text\" or \"texts\""));
        }
    };
    let top = match top {
        Some(0) => return Err(Refusal::unprocessable("\"top\" is 0, allowed is 1 or more")),
        top => top.unwrap_or(usize::MAX).min(server.labels.len()),
    };
    let mut columns = vec![Vec::with_capacity(texts.len()); server.columns.names().len()];
    for (number, text) in texts.iter().enumerate() {
        let name =
            if is_one { "\"text\"".into() } else { format!("text {} of \"texts\"", number + 1) };
        for (column, text) in columns.iter_mut().zip(server.example(&name, text)?) {
            column.push(text);
        }
    }
    let results = server.classify(columns).await?;
    let mut predictions = results.iter().map(|ranked| server.prediction(ranked, top));
    let body = match (is_one, predictions.next()) {
        (true, Some(prediction)) => serde_json::to_string(&prediction),
        (_, first) => serde_json::to_string(&Predictions {
            predictions: first.into_iter().chain(predictions).collect(),
        }),
    };
    answer(body)
}

async fn explain(
    State(server): State<Server>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let ExplainRequest { text, class, method } = parsed(body)?;
    let texts = server.example("\"text\"", &text)?;
    let class = match class {
        None => None,
        Some(label) => {
            Some(server.labels.iter().position(|known| *known == label).ok_or_else(|| {
                let labels = listed(&server.labels);
                Refusal::unprocessable(format!("\"class\" is \"{label}\"; the labels are {labels}"))
            })?)
        }
    };
    let method = method.map_or(Ok(Method::IntegratedGradients), |name| {
        Method::from_str(&name, false).map_err(|_| {
            let allowed = "allowed are integrated-gradients and leave-one-out";
            Refusal::unprocessable(format!("\"method\" is \"{name}\"; {allowed}"))
        })
    })?;
    let (reply, explanation) = oneshot::channel();
    let question = Question { texts, class, method, reply };
    server.questions.try_send(question).map_err(|fault| match fault {
        TrySendError::Full(_) => Refusal::busy(),
        TrySendError::Disconnected(_) => {
            let message = "nothing explains any more: start the server again";
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
        }
    })?;
    let explanation = explanation.await.map_err(|_| ended())?;
    let explanation = explanation
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")))?;
    answer(serde_json::to_string(&explanation))
}

fn answer(body: serde_json::Result<String>) -> Result<Response, Refusal> {
    match body {
        Ok(body) => Ok((JSON, body).into_response()),
        Err(error) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

fn ended() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server is ending")
}

/// The request in a body, whatever type that is said to have.
fn parsed<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Refusal> {
    let body = body.map_err(|fault| match fault.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let advice = "the request is too large; send fewer texts, or raise --max-body-kb";
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, advice)
        }
        status => Refusal::new(status, fault.body_text()),
    })?;
    let object: Map<String, Value> = serde_json::from_slice(&body).map_err(|fault| {
        let expected = "expected a JSON object, as {\"text\": \"…\"}";
        Refusal::new(StatusCode::BAD_REQUEST, format!("{expected}: {fault}"))
    })?;
    serde_json::from_value(Value::Object(object))
        .map_err(|fault| Refusal::unprocessable(fault.to_string()))
}

impl Shared {
    /// The texts of an example, one for each column.
    fn example(&self, name: &str, text: &Value) -> Result<Vec<String>, Refusal> {
        let texts = self
            .columns
            .example(text)
            .map_err(|fault| Refusal::unprocessable(format!("{name}: {fault}")))?;
        let most = self.limits.max_text_kb.get().saturating_mul(1000);
        match texts.iter().map(String::len).find(|length| *length > most) {
            None => Ok(texts),
            Some(length) => Err(Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("{name} has {length} bytes, at most {most} are taken (--max-text-kb)"),
            )),
        }
    }

    async fn classify(
        &self,
        columns: Vec<Vec<String>>,
    ) -> Result<Vec<Vec<ClassProbability>>, Refusal> {
        let (count, most) = (columns[0].len(), self.limits.queue.get());
        if count > most {
            let message =
                format!("{count} texts in one request, at most {most} are taken (--queue)");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        let room = u32::try_from(count).ok();
        let room = room.and_then(|count| self.room.clone().try_acquire_many_owned(count).ok());
        let (reply, results) = oneshot::channel();
        let job = Job { columns, reply, room: room.ok_or_else(Refusal::busy)? };
        self.texts.send(job).map_err(|_| ended())?;
        results.await.map_err(|_| ended())
    }

    fn prediction(&self, ranked: &[ClassProbability], top: usize) -> Prediction<'_> {
        let class = |class: &ClassProbability| Class {
            label: &self.labels[class.class],
            probability: class.probability,
        };
        Prediction { best: class(&ranked[0]), classes: ranked[..top].iter().map(class).collect() }
    }
}
