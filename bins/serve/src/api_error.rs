//! What a client is told when it cannot have what it asks for, in the OpenAI API's form.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::{Value, json};

/// A refusal or a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    /// The field of the request that is at fault.
    param: Option<String>,
    code: Option<&'static str>,
    retry_after: Option<u64>,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            param: None,
            code: None,
            retry_after: None,
        }
    }

    fn coded(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code: Some(code),
            ..Self::new(status, message)
        }
    }

    /// 400: the request makes no sense.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400: field `param` makes no sense.
    pub(crate) fn bad_field(param: &str, message: impl Into<String>) -> Self {
        Self {
            param: Some(param.to_owned()),
            ..Self::bad_request(message)
        }
    }

    /// 400: field `param` asks for what this server does not do.
    pub(crate) fn unsupported(param: &str, message: impl Into<String>) -> Self {
        Self {
            code: Some("unsupported_parameter"),
            ..Self::bad_field(param, message)
        }
    }

    /// 400: prompt and answer need more positions than there are.
    pub(crate) fn too_long(param: &str, message: impl Into<String>) -> Self {
        Self {
            code: Some("context_length_exceeded"),
            ..Self::bad_field(param, message)
        }
    }

    /// 401: no key, or a wrong one.
    pub(crate) fn unauthorised() -> Self {
        Self::coded(
            StatusCode::UNAUTHORIZED,
            "invalid_api_key",
            "this server wants its API key: send it as `Authorization: Bearer KEY`",
        )
    }

    /// 404: no such path.
    pub(crate) fn unknown_path(method: &str, path: &str) -> Self {
        let message = format!(
            "nothing is at {method} {path}; there are POST /v1/chat/completions, POST /v1/completions, GET /v1/models, \
             GET /health and GET /metrics"
        );
        Self::coded(StatusCode::NOT_FOUND, "unknown_url", message)
    }

    /// 404: no such model; `known` are the models that there are.
    pub(crate) fn unknown_model(model: &str, known: &str) -> Self {
        Self {
            param: Some("model".to_owned()),
            ..Self::coded(
                StatusCode::NOT_FOUND,
                "model_not_found",
                format!("the model `{model}` does not exist here; there are {known}"),
            )
        }
    }

    /// 405: the path has other methods.
    pub(crate) fn wrong_method(method: &str, path: &str) -> Self {
        Self::coded(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            format!("{path} does not take {method}; the Allow header says what it takes"),
        )
    }

    /// 408: the body did not arrive in time.
    pub(crate) fn slow_body(seconds: u64) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the request's body did not arrive within {seconds} s"),
        )
    }

    /// 413: the body is larger than `limit` bytes.
    pub(crate) fn large_body(limit: usize) -> Self {
        Self::coded(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request_too_large",
            format!(
                "the request's body has more than {limit} bytes, the most that this server takes"
            ),
        )
    }

    /// 415: the body is not declared to be JSON.
    pub(crate) fn not_json() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the request's body must be JSON: send the header `Content-Type: application/json`",
        )
    }

    /// 429: as many requests as this server takes are running and waiting.
    pub(crate) fn full(limit: usize) -> Self {
        Self {
            retry_after: Some(1),
            ..Self::coded(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_exceeded",
                format!(
                    "{limit} answers are running or waiting, the most that this server takes on; try again later"
                ),
            )
        }
    }

    /// 500: something broke here.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// 503: the server is about to end.
    pub(crate) fn stopping() -> Self {
        Self {
            retry_after: Some(5),
            ..Self::coded(
                StatusCode::SERVICE_UNAVAILABLE,
                "shutting_down",
                "the server is shutting down and takes no new requests",
            )
        }
    }

    /// 504: the answer took longer than the server allows.
    pub(crate) fn timed_out(seconds: u64) -> Self {
        Self::coded(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            format!(
                "the answer was not complete after {seconds} s, the longest that this server works on one request"
            ),
        )
    }

    /// The error as clients of the OpenAI API read it.
    pub(crate) fn body(&self) -> Value {
        let kind = match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        json!({"error": {
            "message": self.message, "type": kind, "param": self.param, "code": self.code,
        }})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body().to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
