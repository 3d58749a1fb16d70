//! Liveness and readiness of the process, for orchestrators and load balancers.

use axum::extract::State;
use axum::http::StatusCode;

use super::state::HttpState;

/// The process is alive if it answers. A restart does not help while the database is down.
pub(super) async fn is_alive() -> &'static str {
    "ok\n"
}

/// The same as the gRPC health.
pub(super) async fn is_ready(State(http): State<HttpState>) -> (StatusCode, &'static str) {
    if *http.readiness.borrow() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}
