//! The connections of the gRPC port. Each is pending until it has sent the HTTP/2 preface, and then needs a slot.
//!
//! hyper has timeouts only after the preface, so without this a peer that connects and sends nothing would be kept for
//! ever. Each TLS handshake is a task of its own, so that a slow one does not delay others.

use std::io;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::PollSemaphore;
use tonic::transport::server::Connected;

use crate::connection_limiter::{ConnectionLimiter, PendingConnection};
use crate::grpc::admission::peer::Peer;
use crate::grpc::admission::peer_identities::PeerIdentities;
use crate::grpc::wire::limits::{
    CONNECTIONS_MAX, HANDSHAKE_TIMEOUT, PENDING_CONNECTIONS_MAX, PREFACE_TIMEOUT,
};
use crate::grpc::wire::tls::ServerTls;
use crate::shutdown;

/// Bytes of the client's connection preface (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;

type MaybeTlsStream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

pub(crate) struct GrpcConnection {
    stream: MaybeTlsStream,
    peer: Peer,
    phase: Phase,
}

enum Phase {
    Pending(PendingPhase),
    Admitted { _slot: OwnedSemaphorePermit },
}

/// A connection that has not sent its whole preface, or waits for a slot.
struct PendingPhase {
    /// Bytes of the preface that were not received yet.
    missing: usize,
    /// Completes when the connection must be closed.
    expired: Pin<Box<dyn Future<Output = ()> + Send>>,
    slots: PollSemaphore,
    _counted: PendingConnection,
}

struct Incoming {
    listener: TcpListener,
    tls: Option<ServerTls>,
    limiter: ConnectionLimiter,
    handshakes: FuturesUnordered<BoxFuture<'static, Option<GrpcConnection>>>,
}

/// The connections of a listener, each after its TLS handshake.
pub(crate) fn incoming(
    listener: TcpListener,
    tls: Option<ServerTls>,
) -> impl Stream<Item = io::Result<GrpcConnection>> {
    let incoming = Incoming {
        listener,
        tls,
        limiter: ConnectionLimiter::new(PENDING_CONNECTIONS_MAX, CONNECTIONS_MAX),
        handshakes: FuturesUnordered::new(),
    };
    futures::stream::unfold(incoming, |mut incoming| async move {
        let next = incoming.next().await;
        Some((Ok(next), incoming))
    })
}

impl Incoming {
    async fn next(&mut self) -> GrpcConnection {
        loop {
            let (stream, counted) = tokio::select! {
                Some(done) = self.handshakes.next() => match done {
                    Some(connection) => return connection,
                    None => continue,
                },
                accepted = self.limiter.accept(&self.listener) => accepted,
            };
            let ip = stream.peer_addr().ok().map(|address| address.ip());
            let slots = PollSemaphore::new(self.limiter.slots());
            let Some(tls) = self.tls.clone() else {
                let peer = Peer {
                    ip,
                    certificate: None,
                };
                return GrpcConnection::new(Either::Left(stream), peer, counted, slots);
            };
            self.handshakes.push(Box::pin(shutdown::detached(
                "handshake",
                // A panic would end the only listener of the process.
                AssertUnwindSafe(handshake(tls, stream, ip, counted, slots))
                    .catch_unwind()
                    .map(|done| done.unwrap_or(None)),
            )));
        }
    }
}

/// Returns `None` if the handshake fails, takes too long or must make room for a newer connection. That is logged only
/// at DEBUG, because any stranger can cause it at any rate.
async fn handshake(
    tls: ServerTls,
    stream: TcpStream,
    ip: Option<IpAddr>,
    counted: PendingConnection,
    slots: PollSemaphore,
) -> Option<GrpcConnection> {
    let expired = counted.expired(HANDSHAKE_TIMEOUT);
    let accepted = tokio::select! {
        accepted = tls.acceptor().accept(stream) => accepted,
        () = expired => Err(io::ErrorKind::TimedOut.into()),
    };
    let stream = accepted
        .inspect_err(|error| {
            let error = error as &dyn std::error::Error;
            tracing::debug!(
                peer.ip = ip.map(tracing::field::display),
                error,
                "a TLS handshake failed"
            );
        })
        .ok()?;
    let certificates = stream.get_ref().1.peer_certificates();
    let certificate = certificates
        .and_then(|chain| PeerIdentities::of_certificate(chain.first()?))
        .map(Arc::new);
    let peer = Peer { ip, certificate };
    let stream = Either::Right(Box::new(stream));
    Some(GrpcConnection::new(stream, peer, counted, slots))
}

impl GrpcConnection {
    fn new(
        stream: MaybeTlsStream,
        peer: Peer,
        counted: PendingConnection,
        slots: PollSemaphore,
    ) -> Self {
        let pending = PendingPhase {
            missing: PREFACE_BYTES,
            expired: Box::pin(counted.expired(PREFACE_TIMEOUT)),
            slots,
            _counted: counted,
        };
        Self {
            stream,
            peer,
            phase: Phase::Pending(pending),
        }
    }

    /// Reads the missing bytes of the preface and no others, then waits for a slot.
    fn poll_pending(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Phase::Pending(pending) = &mut self.phase else {
            return Poll::Ready(Ok(()));
        };
        if pending.expired.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if pending.missing > 0 {
            let mut bytes = [0; PREFACE_BYTES];
            let length = pending.missing.min(buffer.remaining());
            let mut preface = ReadBuf::new(&mut bytes[..length]);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut preface))?;
            pending.missing -= preface.filled().len();
            buffer.put_slice(preface.filled());
            return Poll::Ready(Ok(()));
        }
        let slot = ready!(pending.slots.poll_acquire(context));
        let slot = slot.expect("the semaphore is never closed");
        self.phase = Phase::Admitted { _slot: slot };
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for GrpcConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if matches!(self.phase, Phase::Pending(_)) {
            let before = buffer.filled().len();
            ready!(self.poll_pending(context, buffer))?;
            // Bytes of the preface were read, or the peer closed the connection.
            if matches!(self.phase, Phase::Pending(_)) || buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for GrpcConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for GrpcConnection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.peer.clone()
    }
}
