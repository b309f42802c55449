//! HTTP endpoints, their requests and their responses.

use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use axum::Router;
use axum::extract::{FromRequest, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, oneshot};

use super::access::Access;
use super::batching::{ExplainJob, PredictJob};
use super::bodies::{Bodies, ReceivedBody};
use super::error::{ApiError, json_body};
use super::limits::Limits;
use super::metrics::Metrics;
use crate::config::Labelling;
use crate::explanation::{Method as Attribution, page};
use crate::output::format::join_names;
use crate::prediction::Prediction;
use crate::prediction::text_columns::TextColumns;

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const JAVASCRIPT: [(HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
const OPEN_METRICS: [(HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
/// The page may load its script from this server, and connect to it, and to nothing else.
const HTML: [(HeaderName, &str); 2] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; \
         form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
];
/// Headers of every response, unless it has its own.
const SECURITY: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// Maximum number of probabilities in a response.
const MAX_PROBABILITIES: usize = 1 << 18;

/// State shared by all requests.
pub struct AppState {
    /// Text columns of the model.
    pub columns: TextColumns,
    /// Label of each class.
    pub labels: Vec<String>,
    /// Number of labels that a text can have.
    pub labelling: Labelling,
    /// True if the predictions are calibrated.
    pub calibrated: bool,
    /// Name of the model.
    pub model: String,
    /// Attribution methods that apply to the model, the default one first.
    pub methods: Vec<Attribution>,
    /// Decides which requests are answered.
    pub access: Access,
    /// Limits on requests.
    pub limits: Limits,
    /// Receives requests.
    pub bodies: Arc<Bodies>,
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

/// Method, path and handler of an endpoint.
type Endpoint = (&'static str, &'static str, MethodRouter<Server>);

fn endpoints() -> [Endpoint; 6] {
    [
        ("POST", "/predict", post(predict)),
        ("POST", "/explain", post(explain)),
        ("GET", "/", get(index)),
        ("GET", "/page.js", get(script)),
        ("GET", "/healthz", get(health)),
        ("GET", "/metrics", get(metrics)),
    ]
}

/// Creates the router of all endpoints.
pub fn router(shared: AppState) -> Router {
    let server = Arc::new(shared);
    let known = endpoints().map(|(method, path, _)| format!("{method} {path}")).join(", ");
    let unknown = move |status: StatusCode| {
        let known = known.clone();
        async move |method: Method, uri: Uri| {
            ApiError::new(status, format!("no endpoint {method} {}; expected {known}", uri.path()))
        }
    };
    let mut router = Router::new();
    for (_, path, handler) in endpoints() {
        router = router.route(path, handler);
    }
    router = router
        .fallback(unknown(StatusCode::NOT_FOUND))
        .method_not_allowed_fallback(unknown(StatusCode::METHOD_NOT_ALLOWED))
        .layer(from_fn_with_state(server.clone(), limit));
    if let Some(cors) = server.access.cors() {
        router = router.layer(cors);
    }
    router.layer(from_fn_with_state(server.clone(), guard)).with_state(server)
}

/// Rejects requests that name another host, records the request, and adds headers to the response.
async fn guard(
    State(server): State<Server>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let mut response = match server.access.check_host(&request) {
        Ok(()) => next.run(request).await,
        Err(denied) => ApiError::from(denied).into_response(),
    };
    for (name, value) in SECURITY {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    let path = path.as_ref().map_or("other", MatchedPath::as_str);
    server.metrics.record_request(path, response.status().as_u16(), started.elapsed());
    response
}

/// Rejects requests of other sites' pages, and applies the timeout.
async fn limit(State(server): State<Server>, request: Request, next: Next) -> Response {
    if let Err(denied) = server.access.check_origin(&request) {
        return ApiError::from(denied).into_response();
    }
    let time = Duration::from_secs(server.limits.timeout.get());
    tokio::time::timeout(time, next.run(request)).await.unwrap_or_else(|_| {
        let message = "the request was not received and answered within --timeout";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, message).into_response()
    })
}

impl FromRequest<Server> for ReceivedBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, server: &Server) -> Result<Self, ApiError> {
        Ok(server.bodies.receive(request).await?)
    }
}

async fn index() -> Response {
    (HTML, PAGE.replace("/* page.css */", page::STYLE)).into_response()
}

async fn script() -> Response {
    (JAVASCRIPT, SCRIPT).into_response()
}

async fn health(State(server): State<Server>) -> Response {
    let body = json!({
        "status": "ok",
        "lstmtext": env!("CARGO_PKG_VERSION"),
        "model": server.model,
        "labels": server.labels,
        "multi_label": server.labelling == Labelling::Several,
        "calibrated": server.calibrated,
        "columns": server.columns.names(),
        "methods": server.methods,
    });
    json_body(&body.to_string()).into_response()
}

async fn metrics(State(server): State<Server>) -> Response {
    let waiting = server.limits.queue.get() - server.permits.available_permits();
    (OPEN_METRICS, server.metrics.encode(waiting)).into_response()
}

/// One text or several. Each is a string, or an object if the model has several text columns.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PredictRequest<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    texts: Option<Vec<&'a RawValue>>,
    /// Number of classes in the response, the most probable ones. The default is all.
    top: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainRequest<'a> {
    #[serde(borrow)]
    text: &'a RawValue,
    class: Option<String>,
    method: Option<String>,
}

#[derive(Serialize)]
struct PredictResponse {
    predictions: Vec<Prediction>,
}

async fn predict(State(server): State<Server>, body: ReceivedBody) -> Result<Response, ApiError> {
    let PredictRequest { text, texts, top } = parse(&body)?;
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
    let mut predictions = server.predict(columns, top).await?;
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
    body: ReceivedBody,
) -> Result<Response, ApiError> {
    let ExplainRequest { text, class, method } = parse(&body)?;
    let texts = server.example("\"text\"", text)?;
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
    let method = method.map(|name| {
        let unknown = |_| {
            let expected = "expected integrated-gradients or leave-one-out";
            ApiError::unprocessable(format!("unknown method \"{name}\"; {expected}"))
        };
        let method = Attribution::from_str(&name, false).map_err(unknown)?;
        match server.methods.contains(&method) {
            true => Ok(method),
            false => Err(ApiError::unprocessable(format!(
                "the method {name} does not apply to this ensemble; omit \"method\""
            ))),
        }
    });
    let method = method.transpose()?;
    let (reply, explanation) = oneshot::channel();
    let job = ExplainJob { texts, class, method, reply };
    server.explain_jobs.try_send(job).map_err(|error| match error {
        TrySendError::Full(_) => ApiError::busy(),
        TrySendError::Disconnected(_) => {
            ApiError::internal(&anyhow!("the explanation thread has stopped; restart the server"))
        }
    })?;
    let explanation = explanation
        .await
        .map_err(|_| ApiError::shutting_down())?
        .map_err(|error| ApiError::internal(&error))?;
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
        Ok(body) => Ok(json_body(&body).into_response()),
        Err(error) => Err(ApiError::internal(&error.into())),
    }
}

/// Parses a request body as JSON, whatever its Content-Type.
fn parse<'a, T: Deserialize<'a>>(body: &'a ReceivedBody) -> Result<T, ApiError> {
    // The content of raw values is not checked otherwise.
    let _: Map<String, Value> = serde_json::from_slice(&body.bytes).map_err(|error| {
        let expected = "expected a JSON object such as {\"text\": \"…\"}";
        ApiError::new(StatusCode::BAD_REQUEST, format!("{expected}: {error}"))
    })?;
    serde_json::from_slice(&body.bytes).map_err(|error| ApiError::unprocessable(error.to_string()))
}

impl AppState {
    /// Returns the text of each column of an example.
    fn example(&self, name: &str, text: &RawValue) -> Result<Vec<String>, ApiError> {
        let texts = self
            .columns
            .parse_json(text.get())
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

    async fn predict(
        &self,
        columns: Vec<Vec<String>>,
        top: usize,
    ) -> Result<Vec<Prediction>, ApiError> {
        let (count, most) = (columns[0].len(), self.limits.queue.get());
        if count > most {
            let message = format!("{count} texts in one request; the maximum is {most} (--queue)");
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        let (all, top) = (self.labels.len(), top.min(self.labels.len()));
        // Whatever "top" is, all labels may be predicted ones.
        let (most, advice) = match self.labelling {
            Labelling::One => (top, "send fewer texts, or lower \"top\""),
            Labelling::Several => (all, "send fewer texts"),
        };
        if count > 1 && count.saturating_mul(most) > MAX_PROBABILITIES {
            let message = format!(
                "{count} texts with {most} classes each; the maximum is {MAX_PROBABILITIES} probabilities \
                 in one response: {advice}"
            );
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        let permits = u32::try_from(count).ok();
        let permit =
            permits.and_then(|count| self.permits.clone().try_acquire_many_owned(count).ok());
        let (reply, predictions) = oneshot::channel();
        let job = PredictJob { columns, top, reply, permit: permit.ok_or_else(ApiError::busy)? };
        self.predict_jobs.send(job).map_err(|_| ApiError::shutting_down())?;
        predictions
            .await
            .map_err(|_| ApiError::shutting_down())?
            .map_err(|error| ApiError::internal(&error))
    }
}
