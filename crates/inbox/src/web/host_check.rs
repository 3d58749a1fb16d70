//! Protects the pages against DNS rebinding, with which a foreign web site could read the messages.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// On the loopback interface, answers only requests with a local host name.
pub(super) async fn require_local_host(
    State(listen): State<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !listen.ip().is_loopback() || is_local(host) {
        return next.run(request).await;
    }
    let message = "the inbox answers only requests with a local host name, such as localhost";
    (StatusCode::MISDIRECTED_REQUEST, message).into_response()
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let literal = name.trim_start_matches('[').trim_end_matches(']');
    let is_localhost = name.eq_ignore_ascii_case("localhost") || name.ends_with(".localhost");
    is_localhost || literal.parse::<IpAddr>().is_ok()
}
