//! The body of a request, in bounded time and memory.

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use tokio::time::timeout;

use super::body_memory::{BodyReservation, BodyRoute, PeerNetwork};
use super::limits::{BODY_BYTES_MAX, RETRY_DELAY_SECONDS, UNSUBSCRIBE_BYTES_MAX};
use super::state::HttpState;

/// A body, and the memory that is reserved for it until the request is processed.
pub(super) struct ReservedBody {
    pub(super) bytes: Vec<u8>,
    memory: BodyReservation,
}

impl ReservedBody {
    /// Records that the sender is authenticated, so the body no longer counts against its network.
    pub(super) fn authenticate(&mut self) {
        self.memory.release_network();
    }
}

/// Why a body was not read.
pub(super) enum RefusedBody {
    Malformed,
    TooLarge,
    TooLate,
    /// Other bodies use all the memory of the route, or of the peer's network.
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

/// Reads the body of a request whose sender is authenticated. It takes memory only as its bytes arrive, so silent peers
/// take none.
pub(super) async fn of_authenticated(
    http: &HttpState,
    request: Request,
    route: BodyRoute,
) -> Result<ReservedBody, RefusedBody> {
    let memory = http.body_memory.begin(route, None);
    let memory = memory.map_err(|_| RefusedBody::NoRoom)?;
    read_in_time(http, request, route, memory).await
}

/// Reads a body that authenticates its sender. It also counts against the network of the peer.
pub(super) async fn of_unauthenticated(
    http: &HttpState,
    request: Request,
    route: BodyRoute,
) -> Result<ReservedBody, RefusedBody> {
    // The server adds the network to every request.
    let network = request.extensions().get::<PeerNetwork>();
    let memory = http.body_memory.begin(route, network);
    let memory = memory.map_err(|_| RefusedBody::NoRoom)?;
    read_in_time(http, request, route, memory).await
}

async fn read_in_time(
    http: &HttpState,
    request: Request,
    route: BodyRoute,
    memory: BodyReservation,
) -> Result<ReservedBody, RefusedBody> {
    let bytes_max = match route {
        BodyRoute::Unsubscribe => UNSUBSCRIBE_BYTES_MAX,
        BodyRoute::Postmark | BodyRoute::Resend => BODY_BYTES_MAX,
    };
    let read = timeout(http.body_timeout, read(request, bytes_max, memory)).await;
    read.unwrap_or(Err(RefusedBody::TooLate))
}

async fn read(
    request: Request,
    bytes_max: usize,
    memory: BodyReservation,
) -> Result<ReservedBody, RefusedBody> {
    let mut body = ReservedBody {
        bytes: Vec::new(),
        memory,
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
