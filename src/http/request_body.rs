//! The body of a request, in bounded time and memory.

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use tokio::time::timeout;

use super::limits::{
    BODIES_MEMORY_PERCENT, BODY_BYTES_MAX, RETRY_DELAY_SECONDS, UNSUBSCRIBE_BYTES_MAX,
};
use super::state::HttpState;
use crate::capacity::Reservation;

/// The caller of all bodies, which have one share of the memory for messages.
const HOLDER: &str = "http";

/// A body, and the memory that is reserved for it until the request is processed.
pub(super) struct ReservedBody {
    pub(super) bytes: Vec<u8>,
    memory: Reservation,
}

/// Why a body was not read.
pub(super) enum RefusedBody {
    Malformed,
    TooLarge,
    TooLate,
    /// Other bodies use all the memory.
    NoRoom,
}

impl IntoResponse for RefusedBody {
    fn into_response(self) -> Response {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST.into_response(),
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
            Self::TooLate => StatusCode::REQUEST_TIMEOUT.into_response(),
            Self::NoRoom => {
                let retry_after = [(header::RETRY_AFTER, RETRY_DELAY_SECONDS.to_string())];
                (StatusCode::SERVICE_UNAVAILABLE, retry_after).into_response()
            }
        }
    }
}

/// Reads the report of a provider. It takes memory only as its bytes arrive, so silent peers take none.
pub(super) async fn of_report(
    http: &HttpState,
    request: Request,
) -> Result<ReservedBody, RefusedBody> {
    read_in_time(http, request, BODY_BYTES_MAX).await
}

pub(super) async fn of_unsubscribe(
    http: &HttpState,
    request: Request,
) -> Result<ReservedBody, RefusedBody> {
    read_in_time(http, request, UNSUBSCRIBE_BYTES_MAX).await
}

async fn read_in_time(
    http: &HttpState,
    request: Request,
    bytes_max: usize,
) -> Result<ReservedBody, RefusedBody> {
    let read = timeout(http.body_timeout, read(http, request, bytes_max)).await;
    read.unwrap_or(Err(RefusedBody::TooLate))
}

async fn read(
    http: &HttpState,
    request: Request,
    bytes_max: usize,
) -> Result<ReservedBody, RefusedBody> {
    let share = http.memory.total() / 100 * BODIES_MEMORY_PERCENT;
    let memory = http.memory.reserve(HOLDER, share, 0);
    let mut body = ReservedBody {
        bytes: Vec::new(),
        memory: memory.map_err(|_| RefusedBody::NoRoom)?,
    };
    let mut chunks = request.into_body().into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk: Bytes = chunk.map_err(|_| RefusedBody::Malformed)?;
        let length = body.bytes.len() + chunk.len();
        if length > bytes_max {
            return Err(RefusedBody::TooLarge);
        }
        let reserved = body.memory.resize(length);
        reserved.map_err(|_| RefusedBody::NoRoom)?;
        body.bytes.extend_from_slice(&chunk);
    }
    Ok(body)
}
