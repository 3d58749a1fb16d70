//! The HTTP server: its connections, their limits, and its graceful shutdown in bounded time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::config::{HttpConfig, HttpTimeouts};
use super::limits::{CONNECTIONS_MAX, HEAD_BYTES_MAX, HEADERS_MAX, PENDING_CONNECTIONS_MAX};
use super::router::router;
use super::state::HttpState;
use crate::clock::Clock;
use crate::connection_limiter::{ConnectionLimiter, PendingConnection};
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
        let limiter = ConnectionLimiter::new(PENDING_CONNECTIONS_MAX, CONNECTIONS_MAX);
        loop {
            let (stream, pending) = tokio::select! {
                () = stopping.cancelled() => break,
                accepted = limiter.accept(&self.listener) => accepted,
            };
            let admission = Arc::new(Admission {
                slots: limiter.slots(),
                slot: OnceCell::new(),
                is_admitted: CancellationToken::new(),
            });
            let router = self.router.clone();
            let router = router.layer(from_fn_with_state(Arc::clone(&admission), admit));
            let stopping = connections.stopping().clone();
            let timeouts = self.timeouts;
            connections.spawn("http", async move {
                tokio::select! {
                    () = serve(stream, router, timeouts, stopping) => {}
                    () = evicted(pending, admission.is_admitted.clone()) => {}
                }
                drop(admission);
            });
        }
        // From here on no connection is accepted.
        drop(self.listener);
        if !connections.stop(self.drain_timeout).await {
            tracing::warn!("HTTP connections did not end in time and are closed");
        }
    }
}

/// The slot of one connection, which it gets with the head of its first request.
struct Admission {
    slots: Arc<Semaphore>,
    slot: OnceCell<OwnedSemaphorePermit>,
    is_admitted: CancellationToken,
}

async fn admit(State(admission): State<Arc<Admission>>, request: Request, next: Next) -> Response {
    let acquire = || async {
        let slot = Arc::clone(&admission.slots).acquire_owned().await;
        slot.expect("the semaphore is never closed")
    };
    admission.slot.get_or_init(acquire).await;
    admission.is_admitted.cancel();
    next.run(request).await
}

/// Completes when a pending connection must be closed for a newer one. Never completes for an admitted connection.
async fn evicted(pending: PendingConnection, admitted: CancellationToken) {
    tokio::select! {
        () = pending.evicted() => return,
        () = admitted.cancelled() => {}
    }
    drop(pending);
    std::future::pending::<()>().await;
}

/// Serves one connection until the peer closes it, its time is over, or the process stops.
async fn serve(
    stream: TcpStream,
    router: Router,
    timeouts: HttpTimeouts,
    stopping: CancellationToken,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    // Errors of the peer are ignored.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopping.cancelled() => {}
        () = tokio::time::sleep(timeouts.connection) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(timeouts.request, connection).await;
}
