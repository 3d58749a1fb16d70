//! The body of a request, in bounded time and memory.

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::limits::{BODY_BYTES_MAX, RETRY_DELAY_SECONDS, UNSUBSCRIBE_BYTES_MAX};
use super::state::HttpState;

/// A body and its share of the memory for bodies.
pub(super) struct ReportBody<'s> {
    pub(super) bytes: Vec<u8>,
    /// Held until the report is processed.
    room: Option<SemaphorePermit<'s>>,
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

type Result<T> = std::result::Result<T, RefusedBody>;

/// Reads the report of a provider. It takes memory only as its bytes arrive, so silent peers take none.
pub(super) async fn of_report(http: &HttpState, request: Request) -> Result<ReportBody<'_>> {
    let reading = read(request, BODY_BYTES_MAX, Some(&http.reports_bytes));
    in_time(http, reading).await
}

pub(super) async fn of_unsubscribe(http: &HttpState, request: Request) -> Result<Vec<u8>> {
    let reading = read(request, UNSUBSCRIBE_BYTES_MAX, None);
    in_time(http, reading).await.map(|body| body.bytes)
}

async fn in_time<T>(http: &HttpState, reading: impl Future<Output = Result<T>>) -> Result<T> {
    let read = timeout(http.body_timeout, reading).await;
    read.unwrap_or(Err(RefusedBody::TooLate))
}

async fn read(
    request: Request,
    bytes_max: usize,
    room: Option<&Semaphore>,
) -> Result<ReportBody<'_>> {
    let mut body = ReportBody {
        bytes: Vec::new(),
        room: None,
    };
    let mut chunks = request.into_body().into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk: Bytes = chunk.map_err(|_| RefusedBody::Malformed)?;
        if body.bytes.len() + chunk.len() > bytes_max {
            return Err(RefusedBody::TooLarge);
        }
        if let Some(room) = room {
            body.take_room(room, chunk.len())?;
        }
        body.bytes.extend_from_slice(&chunk);
    }
    Ok(body)
}

impl<'s> ReportBody<'s> {
    fn take_room(&mut self, room: &'s Semaphore, bytes: usize) -> Result<()> {
        let permits = u32::try_from(bytes).ok();
        let permits = permits.and_then(|permits| room.try_acquire_many(permits).ok());
        let permits = permits.ok_or(RefusedBody::NoRoom)?;
        match &mut self.room {
            Some(all) => all.merge(permits),
            none => *none = Some(permits),
        }
        Ok(())
    }
}
