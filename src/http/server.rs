//! The HTTP server: its connections, their limits, and its graceful shutdown in bounded time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::middleware::AddExtension;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::Layer as _;

use super::body_memory::{BodyMemory, PeerNetwork};
use super::config::{HttpConfig, HttpTimeouts};
use super::limits::{CONNECTION_LIMITS, HEAD_BYTES_MAX, HEADERS_MAX};
use super::router::router;
use super::state::HttpState;
use crate::clock::Clock;
use crate::connections::{ConnectionLimiter, TrackedConnection, TrackedService};
use crate::service::Service;
use crate::shutdown::Tasks;

pub struct HttpServer {
    listener: TcpListener,
    router: Router,
    timeouts: HttpTimeouts,
    drain_timeout: Duration,
}

impl HttpServer {
    /// Listens. `readiness` is whether the gRPC health is SERVING.
    pub async fn bind(
        config: HttpConfig,
        service: Service,
        clock: Arc<dyn Clock>,
        readiness: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        let state = HttpState {
            service,
            clock,
            readiness,
            body_timeout: config.timeouts.body,
            body_memory: BodyMemory::new(config.memory.clone()),
        };
        Ok(Self {
            listener,
            timeouts: config.timeouts,
            drain_timeout: config.drain_timeout,
            router: router(config, state),
        })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stopping` is cancelled, then lets running requests finish for at most the configured drain
    /// timeout.
    pub async fn run(self, stopping: CancellationToken) {
        let connections = Tasks::default();
        let limiter = ConnectionLimiter::new(CONNECTION_LIMITS);
        loop {
            let (stream, ip, connection) = tokio::select! {
                () = stopping.cancelled() => break,
                accepted = limiter.accept(&self.listener) => accepted,
            };
            let serving = serve(
                stream,
                Arc::new(connection),
                Extension(PeerNetwork::of(ip)).layer(self.router.clone()),
                self.timeouts,
                connections.stopping().clone(),
            );
            connections.spawn("http", serving);
        }
        // From here on no connection is accepted.
        drop(self.listener);
        if !connections.stop(self.drain_timeout).await {
            tracing::warn!("HTTP connections did not end in time and are closed");
        }
    }
}

/// Serves one connection until the peer closes it, it must make room for another one, its time is over, or the process
/// stops.
async fn serve(
    stream: TcpStream,
    connection: Arc<TrackedConnection>,
    router: AddExtension<Router, PeerNetwork>,
    timeouts: HttpTimeouts,
    stopping: CancellationToken,
) {
    let service = TrackedService::new(router, Arc::clone(&connection));
    let requests = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(requests);
    // Errors of the peer are ignored. Bytes that have arrived are read before the connection is closed for another one.
    tokio::select! {
        biased;
        _ = requests.as_mut() => return,
        () = connection.closing() => if !connection.has_request() { return },
        () = stopping.cancelled() => {}
        () = tokio::time::sleep(timeouts.connection) => {}
    }
    requests.as_mut().graceful_shutdown();
    tokio::select! {
        _ = tokio::time::timeout(timeouts.request, requests) => {}
        () = connection.overdue() => {}
    }
}
