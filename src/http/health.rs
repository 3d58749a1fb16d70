//! Whether the process lives and whether it serves, for whoever restarts it or sends requests its way.

use axum::extract::State;
use axum::http::StatusCode;

use super::server::Http;

/// The process lives: it answers. A database that is away is no reason to restart it.
pub(super) async fn lives() -> &'static str {
    "ok\n"
}

/// The service serves: the same answer as gRPC health gives.
pub(super) async fn is_ready(State(http): State<Http>) -> (StatusCode, &'static str) {
    if *http.readiness.borrow() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}
