//! One connection of the gRPC port: its TLS handshake, its HTTP/2 preface, its calls and its end.
//!
//! tonic cannot close a single connection gracefully, so its services are served by hyper here. hyper has timeouts only
//! after the preface, so without this a peer that connects and sends nothing would be kept for ever.

use std::error::Error;
use std::future::pending;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tower::util::MapRequest;

use crate::connections::{TrackedConnection, TrackedService};
use crate::grpc::admission::peer::{Peer, WithPeer};
use crate::grpc::admission::peer_identities::PeerIdentities;
use crate::grpc::wire::call_task::CallExecutor;
use crate::grpc::wire::deadline::Deadline;
use crate::grpc::wire::limits::{
    CALL_WINDOW_BYTES, CONCURRENT_STREAMS_MAX, CONNECTION_WINDOW_BYTES, HANDSHAKE_TIMEOUT,
    HEADER_LIST_BYTES_MAX, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, LOCAL_ERROR_RESETS_MAX,
    PENDING_ACCEPT_RESETS_MAX, PREFACE_TIMEOUT,
};
use crate::grpc::wire::prefaced_stream::{MaybeTlsStream, PrefacedStream};
use crate::grpc::wire::tls::ServerTls;

/// What all connections of the port have in common.
pub(crate) struct ConnectionServer {
    pub(crate) tls: Option<ServerTls>,
    /// The services with the layers around all of them.
    pub(crate) routes: Deadline<WithPeer<Routes>>,
    /// Age at which a connection is asked to reconnect.
    pub(crate) age_max: Duration,
}

impl ConnectionServer {
    /// Serves a connection until its peer closes it, it must make room for another one, or the process stops.
    pub(crate) async fn serve(
        &self,
        stream: TcpStream,
        ip: IpAddr,
        connection: Arc<TrackedConnection>,
        stopping: CancellationToken,
    ) {
        // Bytes that have arrived are always read before the connection is closed for another one.
        let accepted = tokio::select! {
            biased;
            accepted = self.handshake(stream, ip) => accepted,
            () = connection.closing() => None,
            () = stopping.cancelled() => None,
        };
        let Some((stream, peer)) = accepted else {
            return;
        };
        let (stream, preface) = PrefacedStream::new(stream);
        let service = TrackedService::new(self.routes.clone(), Arc::clone(&connection));
        let service = MapRequest::new(service, move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            request.map(Body::new)
        });
        let service = TowerToHyperService::new(service);
        let mut calls = pin!(http2_settings().serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            biased;
            _ = calls.as_mut() => return,
            () = no_preface(&preface) => return,
            () = connection.closing() => {}
            () = stopping.cancelled() => {}
            () = sleep(self.age_max) => {}
        }
        if !preface.is_cancelled() {
            return;
        }
        // GOAWAY: calls in progress finish, and the peer opens another connection for the next call.
        calls.as_mut().graceful_shutdown();
        tokio::select! {
            biased;
            _ = calls => {}
            () = connection.overdue() => {}
        }
    }

    /// Returns `None` if the handshake fails or takes too long. That is logged only at DEBUG, because any stranger can
    /// cause it at any rate.
    async fn handshake(&self, stream: TcpStream, ip: IpAddr) -> Option<(MaybeTlsStream, Peer)> {
        let Some(tls) = &self.tls else {
            let peer = Peer {
                ip: Some(ip),
                certificate: None,
            };
            return Some((Either::Left(stream), peer));
        };
        let accepted = timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)).await;
        let stream = accepted
            .unwrap_or_else(|elapsed| Err(elapsed.into()))
            .inspect_err(|error| {
                let error = error as &dyn Error;
                tracing::debug!(peer.ip = %ip, error, "a TLS handshake failed");
            })
            .ok()?;
        let certificates = stream.get_ref().1.peer_certificates();
        let certificate = certificates
            .and_then(|chain| PeerIdentities::of_certificate(chain.first()?))
            .map(Arc::new);
        let peer = Peer {
            ip: Some(ip),
            certificate,
        };
        Some((Either::Right(Box::new(stream)), peer))
    }
}

/// Completes if the preface does not arrive in time.
async fn no_preface(preface: &CancellationToken) {
    if timeout(PREFACE_TIMEOUT, preface.cancelled()).await.is_ok() {
        pending::<()>().await;
    }
}

fn http2_settings() -> http2::Builder<CallExecutor> {
    let mut settings = http2::Builder::new(CallExecutor);
    settings
        .timer(TokioTimer::new())
        .max_concurrent_streams(CONCURRENT_STREAMS_MAX)
        .initial_stream_window_size(CALL_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_local_error_reset_streams(LOCAL_ERROR_RESETS_MAX)
        .max_pending_accept_reset_streams(PENDING_ACCEPT_RESETS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    settings
}
