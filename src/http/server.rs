//! The server: routes, limits on connections and requests, and an end that comes in bounded time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::limits::{
    BODY_BYTES_MAX, CONNECTIONS_MAX, HEAD_BYTES_MAX, HEADERS_MAX, HttpTimeouts,
    PENDING_CONNECTIONS_MAX,
};
use super::webhooks::{PostmarkPassword, WebhookSecret, postmark, resend};
use super::{health, page, unsubscribe};
use crate::clock::Clock;
use crate::connection_limiter::{ConnectionLimiter, PendingConnection};
use crate::service::Service;
use crate::shutdown::Tasks;

/// How the server listens.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Where.
    pub listen: SocketAddr,
    /// Whether it answers everybody, or health checks alone.
    pub serves_api: bool,
    /// What Resend signs its reports with; without it there is no route for them.
    pub resend: Option<WebhookSecret>,
    /// What Postmark proves itself by; without it there is no route for its reports.
    pub postmark: Option<PostmarkPassword>,
    /// How long a peer may take.
    pub timeouts: HttpTimeouts,
    /// How long requests in flight may take to end when the process does.
    pub drain_timeout: Duration,
}

/// What every handler can reach.
#[derive(Clone)]
pub(super) struct Http {
    pub(super) service: Service,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) readiness: watch::Receiver<bool>,
}

/// A server that listens, and answers when it is told to.
pub struct HttpServer {
    listener: TcpListener,
    router: Router,
    timeouts: HttpTimeouts,
    drain_timeout: Duration,
}

impl HttpServer {
    /// Listens. `readiness` says whether the service serves.
    pub async fn bind(
        config: HttpConfig,
        service: Service,
        clock: Arc<dyn Clock>,
        readiness: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        let (timeouts, drain_timeout) = (config.timeouts, config.drain_timeout);
        let http = Http {
            service,
            clock,
            readiness,
        };
        Ok(Self {
            listener,
            router: router(config, http),
            timeouts,
            drain_timeout,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until told to stop, then lets requests in flight end for as long as the configuration gives them.
    pub async fn run(self, stopping: CancellationToken) {
        let connections = Tasks::new();
        let lobby = ConnectionLimiter::new(PENDING_CONNECTIONS_MAX, CONNECTIONS_MAX);
        loop {
            let (stream, guest) = tokio::select! {
                () = stopping.cancelled() => break,
                accepted = lobby.accept(&self.listener) => accepted,
            };
            let seat = Arc::new(Seat::new(lobby.places()));
            let seated = seat.is_taken.clone();
            let router = self.router.clone();
            let router = router.layer(from_fn_with_state(Arc::clone(&seat), take_seat));
            let stopping = connections.stopping().clone();
            let timeouts = self.timeouts;
            connections.spawn("http", async move {
                let lingering = linger(guest, seated);
                tokio::select! {
                    () = converse(stream, router, timeouts, stopping) => {}
                    () = lingering => {}
                }
                drop(seat);
            });
        }
        // Nobody is let in from here on.
        drop(self.listener);
        if !connections.stop(self.drain_timeout).await {
            tracing::warn!("HTTP connections did not end in time and are cut off");
        }
    }
}

/// The place of one connection, taken with the head of its first request.
struct Seat {
    places: Arc<Semaphore>,
    place: OnceCell<OwnedSemaphorePermit>,
    is_taken: CancellationToken,
}

impl Seat {
    fn new(places: Arc<Semaphore>) -> Self {
        Self {
            places,
            place: OnceCell::new(),
            is_taken: CancellationToken::new(),
        }
    }

    async fn take(&self) {
        let taking = || async {
            let place = Arc::clone(&self.places).acquire_owned().await;
            place.expect("nobody closes the semaphore")
        };
        self.place.get_or_init(taking).await;
        self.is_taken.cancel();
    }
}

async fn take_seat(State(seat): State<Arc<Seat>>, request: Request, next: Next) -> Response {
    seat.take().await;
    next.run(request).await
}

/// Ends when a peer without a seat has to make room, and with a seat never.
async fn linger(guest: PendingConnection, seated: CancellationToken) {
    tokio::select! {
        () = guest.asked_to_leave() => return,
        () = seated.cancelled() => {}
    }
    drop(guest);
    std::future::pending::<()>().await;
}

/// Answers one peer, until it has no more to ask, its time is over, or the process ends.
async fn converse(
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
    // Peers that break off or talk nonsense are no concern of ours.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopping.cancelled() => {}
        () = tokio::time::sleep(timeouts.connection) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(timeouts.request, connection).await;
}

fn router(config: HttpConfig, http: Http) -> Router {
    let mut router = Router::new()
        .route("/healthz", get(health::lives))
        .route("/readyz", get(health::is_ready));
    if config.serves_api {
        router = router.route(
            "/u/{token}",
            get(unsubscribe::show).post(unsubscribe::confirm),
        );
        if let Some(secret) = config.resend {
            let secret = Arc::new(secret);
            router = router.route(
                "/webhooks/resend",
                post(move |http, request| resend::report(http, secret, request)),
            );
        }
        if let Some(password) = config.postmark {
            let password = Arc::new(password);
            router = router.route(
                "/webhooks/postmark",
                post(move |http, request| postmark::report(http, password, request)),
            );
        }
    }
    router
        .fallback(async || page::missing())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(config.timeouts, end_in_time))
        .layer(from_fn(add_headers))
        .with_state(http)
}

/// Ends a request whose body does not come. Work that was begun goes on: it is done whole or not at all.
async fn end_in_time(
    State(timeouts): State<HttpTimeouts>,
    request: Request,
    next: Next,
) -> Response {
    match tokio::time::timeout(timeouts.request, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

async fn add_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The address of a page is a secret of its reader.
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
