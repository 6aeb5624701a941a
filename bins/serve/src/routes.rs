//! What stands at which path.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api_error::ApiError;
use crate::app::{App, random};
use crate::models::ModelName;
use crate::reply::{Endpoint, Reply};
use crate::respond::{self, Answers};
use crate::{body, chat, completions};

type Reached = Result<Response, ApiError>;

/// All routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/completions", post(plain_completions))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/metrics", get(metrics))
        .route_layer(from_fn_with_state(app.clone(), authorise))
        .route("/health", get(health))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), count))
        .with_state(app)
}

async fn chat_completions(State(app): State<Arc<App>>, request: Request) -> Reached {
    complete(app, request, Endpoint::Chat).await
}

async fn plain_completions(State(app): State<Arc<App>>, request: Request) -> Reached {
    complete(app, request, Endpoint::Completions).await
}

async fn complete(app: Arc<App>, request: Request, endpoint: Endpoint) -> Reached {
    let settings = &app.settings;
    let body = body::read(request, settings.max_body, settings.patience).await?;
    let mut ask = match endpoint {
        Endpoint::Chat => chat::parse(&body, random())?,
        Endpoint::Completions => completions::parse(&body, random())?,
    };
    drop(body);
    let model = app.models.find(&ask.options.model)?.clone();
    let room = app.admit(ask.answers())?;
    let deadline = Instant::now() + settings.timeout;

    let options = &mut ask.options;
    let (n, stream, stops) = (options.n, options.stream, std::mem::take(&mut options.stop));
    let reply = reply(
        endpoint,
        &model,
        options.logprobs.is_some(),
        options.include_usage,
    );
    let encoder = app.clone();
    // A long prompt takes its time; other connections must not wait for it.
    let requests = tokio::task::spawn_blocking(move || {
        ask.requests(&encoder.models, &model, encoder.settings.max_tokens)
    });
    let requests = requests
        .await
        .map_err(|e| ApiError::internal(format!("encoding the prompt failed: {e}")))??;
    let answers = Answers::begin(&app, requests, n, deadline, room)?;
    if stream {
        Ok(respond::stream(app, answers, stops, reply))
    } else {
        respond::whole(&app, answers, &stops, &reply).await
    }
}

fn reply(endpoint: Endpoint, model: &ModelName, logprobs: bool, include_usage: bool) -> Reply {
    let kind = match endpoint {
        Endpoint::Chat => "chatcmpl",
        Endpoint::Completions => "cmpl",
    };
    Reply {
        endpoint,
        id: format!("{kind}-{:016x}{:016x}", random(), random()),
        created: now(),
        model: model.id.clone(),
        logprobs,
        include_usage,
    }
}

async fn models(State(app): State<Arc<App>>) -> Response {
    let all: Vec<Value> = app
        .models
        .names
        .iter()
        .map(|name| described(&app, name))
        .collect();
    json_response(&json!({"object": "list", "data": all}))
}

async fn model(State(app): State<Arc<App>>, Path(id): Path<String>) -> Reached {
    Ok(json_response(&described(&app, app.models.find(&id)?)))
}

fn described(app: &App, name: &ModelName) -> Value {
    let base = app
        .models
        .names
        .iter()
        .find(|other| other.adapter.is_none());
    let parent = base.filter(|_| name.adapter.is_some()).map(|base| &base.id);
    json!({
        "id": name.id, "object": "model", "created": app.started, "owned_by": "smoltune",
        "parent": parent, "max_model_len": app.models.config.max_position_embeddings,
    })
}

async fn health(State(app): State<Arc<App>>) -> Response {
    if app.stopping() {
        return ApiError::stopping().into_response();
    }
    json_response(&json!({"status": "ok"}))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut response = Response::new(Body::from(app.metrics.text()));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}

async fn unknown_path(request: Request) -> ApiError {
    ApiError::unknown_path(request.method().as_str(), request.uri().path())
}

async fn wrong_method(request: Request) -> ApiError {
    ApiError::wrong_method(request.method().as_str(), request.uri().path())
}

async fn authorise(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Reached {
    let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    if app.settings.keys.admit(given) {
        Ok(next.run(request).await)
    } else {
        Err(ApiError::unauthorised())
    }
}

/// Counts every request, and gives it a number that the client and a log can agree on.
async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = match request.uri().path() {
        "/v1/chat/completions" => "chat",
        "/v1/completions" => "completions",
        "/health" => "health",
        "/metrics" => "metrics",
        path if path == "/v1/models" || path.starts_with("/v1/models/") => "models",
        _ => "other",
    };
    let mut response = next.run(request).await;
    app.metrics.request(route, response.status().as_u16());
    if let Ok(id) = HeaderValue::from_str(&format!("req_{:016x}", random())) {
        let name = HeaderName::from_static("x-request-id");
        response.headers_mut().insert(name, id);
    }
    response
}

fn json_response(value: &Value) -> Response {
    let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (StatusCode::OK, headers, value.to_string()).into_response()
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
