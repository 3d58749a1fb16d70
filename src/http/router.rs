//! The routes of the HTTP port, its health checks, the timeout of a request and the headers of every response.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};

use super::config::{HttpConfig, HttpTimeouts};
use super::state::HttpState;
use super::webhooks::{postmark_webhook, resend_webhook};
use super::{page, unsubscribe};

pub(super) fn router(config: HttpConfig, state: HttpState) -> Router {
    let mut router = Router::new();
    if config.serves_api {
        router = router.route(
            "/u/{token}",
            get(unsubscribe::show).post(unsubscribe::confirm),
        );
        if let Some(secret) = config.resend {
            let secret = Arc::new(secret);
            router = router.route(
                "/webhooks/resend",
                post(move |state, request| resend_webhook::receive(state, secret, request)),
            );
        }
        if let Some(password) = config.postmark {
            let password = Arc::new(password);
            router = router.route(
                "/webhooks/postmark",
                post(move |state, request| postmark_webhook::receive(state, password, request)),
            );
        }
        router = router.route_layer(from_fn_with_state(state.clone(), refuse_until_ready));
    }
    router
        .route("/healthz", get(is_alive))
        .route("/readyz", get(is_ready))
        .fallback(async || page::missing())
        .layer(from_fn_with_state(config.timeouts, end_in_time))
        .layer(from_fn(add_headers))
        .with_state(state)
}

/// The process is alive if it answers. A restart does not help while the database is down.
async fn is_alive() -> &'static str {
    "ok\n"
}

/// The same as the gRPC health.
async fn is_ready(State(http): State<HttpState>) -> (StatusCode, &'static str) {
    if *http.readiness.borrow() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

/// As the gRPC port, answers nothing with keys or tables that may be wrong.
async fn refuse_until_ready(
    State(http): State<HttpState>,
    request: Request,
    next: Next,
) -> Response {
    if http.service.readiness().is_ready() {
        next.run(request).await
    } else {
        page::unavailable()
    }
}

/// Ends a request that is not answered in time. A use case that has begun still completes.
async fn end_in_time(
    State(timeouts): State<HttpTimeouts>,
    request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    let response = tokio::time::timeout(timeouts.request, next.run(request)).await;
    response.map_err(|_| StatusCode::REQUEST_TIMEOUT)
}

async fn add_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The URL of a page contains the secret token of its reader.
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ));
    response
}
