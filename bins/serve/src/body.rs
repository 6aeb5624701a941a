//! The bodies of requests, within a size and a time.

use std::time::Duration;

use axum::extract::Request;
use axum::http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};

use crate::api_error::ApiError;

/// A client that sends too much still has to be heard out for a while: one that is cut off while it writes never reads why.
const HEARD_OUT: usize = 16 << 20;

/// Reads the body of a request, which must be JSON of at most `limit` bytes and arrive within `patience`.
pub(crate) async fn read(
    request: Request,
    limit: usize,
    patience: Duration,
) -> Result<Vec<u8>, ApiError> {
    let (head, body) = request.into_parts();
    if !is_json(&head.headers) {
        return Err(ApiError::not_json());
    }
    let announced = announced(&head.headers);
    if announced.is_some_and(|length| length > limit.saturating_add(HEARD_OUT)) {
        return Err(ApiError::large_body(limit));
    }
    let read = tokio::time::timeout(patience, collect(body, limit, announced));
    read.await
        .unwrap_or_else(|_| Err(ApiError::slow_body(patience.as_secs())))
}

async fn collect(
    mut body: axum::body::Body,
    limit: usize,
    announced: Option<usize>,
) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::with_capacity(announced.unwrap_or(0).min(limit).min(1 << 16));
    let mut length: usize = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| {
            ApiError::bad_request(format!("the request's body could not be read: {e}"))
        })?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        length = length.saturating_add(data.len());
        if length <= limit {
            bytes.extend_from_slice(data);
        } else {
            bytes = Vec::new();
            if length > limit.saturating_add(HEARD_OUT) {
                break;
            }
        }
    }
    if length > limit {
        return Err(ApiError::large_body(limit));
    }
    Ok(bytes)
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A web page can send other types to a server on the same machine without asking it first.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
