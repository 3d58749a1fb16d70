//! Connections: a place for each that speaks HTTP/2, and an end for those that do not begin to.
//!
//! hyper watches over a connection only once its preface has come: without this, a peer that connects and stays silent
//! is kept for ever. Until then it is a guest of the [`ConnectionLimiter`], while it shakes hands too. Each handshake is a task of
//! its own, so that nobody waits for the slow one of somebody else.

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
use tokio_util::sync::PollSemaphore;
use tonic::transport::server::Connected;

use crate::connection_limiter::{ConnectionLimiter, PendingConnection};
use crate::grpc::admission::peer::Peer;
use crate::grpc::admission::peer_identities::PeerIdentities;
use crate::grpc::wire::encryption::Encryption;
use crate::grpc::wire::limits::{
    CONNECTIONS_MAX, HANDSHAKE_TIMEOUT, PENDING_CONNECTIONS_MAX, PREFACE_TIMEOUT,
};
use crate::grpc::wire::tls::Tls;
use crate::shutdown;

/// Bytes of the client's connection preface (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;

/// One connection, counted for as long as it lives.
pub(crate) struct Connection {
    stream: Encryption,
    peer: Peer,
    stage: Stage,
}

/// How far a connection has come.
enum Stage {
    /// It has not said all of its preface.
    PendingConnection(Arrival),
    /// It speaks.
    Seated { _place: OwnedSemaphorePermit },
}

/// What is known of a connection until it speaks.
struct Arrival {
    /// Bytes of the preface that are still to come.
    missing: usize,
    /// Ends when it took too long, or when others need the room.
    overdue: Pin<Box<dyn Future<Output = ()> + Send>>,
    places: PollSemaphore,
    _guest: PendingConnection,
}

/// A listener, and the connections that do not speak yet.
struct Incoming {
    listener: TcpListener,
    tls: Option<Tls>,
    lobby: ConnectionLimiter,
    handshakes: FuturesUnordered<BoxFuture<'static, Option<Connection>>>,
}

/// The connections of a listener.
pub(crate) fn incoming(
    listener: TcpListener,
    tls: Option<Tls>,
) -> impl Stream<Item = io::Result<Connection>> {
    let incoming = Incoming {
        listener,
        tls,
        lobby: ConnectionLimiter::new(PENDING_CONNECTIONS_MAX, CONNECTIONS_MAX),
        handshakes: FuturesUnordered::new(),
    };
    futures::stream::unfold(incoming, |mut incoming| async move {
        let next = incoming.next().await;
        Some((Ok(next), incoming))
    })
}

impl Incoming {
    /// The next connection that may speak.
    async fn next(&mut self) -> Connection {
        loop {
            let (stream, guest) = tokio::select! {
                Some(done) = self.handshakes.next() => match done {
                    Some(connection) => return connection,
                    None => continue,
                },
                accepted = self.lobby.accept(&self.listener) => accepted,
            };
            let ip = stream.peer_addr().ok().map(|address| address.ip());
            let places = PollSemaphore::new(self.lobby.places());
            let Some(tls) = self.tls.clone() else {
                let peer = Peer {
                    ip,
                    certificate: None,
                };
                let arrival = Arrival::new(guest, places);
                return Connection::new(Encryption::None(stream), peer, arrival);
            };
            self.handshakes.push(Box::pin(shutdown::detached(
                "handshake",
                // A panic would end the process' only listener.
                AssertUnwindSafe(handshake(tls, stream, ip, guest, places))
                    .catch_unwind()
                    .map(|done| done.unwrap_or(None)),
            )));
        }
    }
}

/// Shakes hands; `None` with a peer that is slow, has to make room, shows a bad certificate or speaks something else.
/// That is told at debug level alone, since any stranger can do it as often as it likes.
async fn handshake(
    tls: Tls,
    stream: TcpStream,
    ip: Option<IpAddr>,
    guest: PendingConnection,
    places: PollSemaphore,
) -> Option<Connection> {
    let overdue = guest.overdue(HANDSHAKE_TIMEOUT);
    let accepted = tokio::select! {
        accepted = tls.acceptor().accept(stream) => accepted,
        () = overdue => Err(io::ErrorKind::TimedOut.into()),
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
    let shown = stream.get_ref().1.peer_certificates();
    let certificate = shown
        .and_then(|chain| PeerIdentities::of_certificate(chain.first()?))
        .map(Arc::new);
    let peer = Peer { ip, certificate };
    let arrival = Arrival::new(guest, places);
    Some(Connection::new(
        Encryption::Tls(Box::new(stream)),
        peer,
        arrival,
    ))
}

impl Arrival {
    fn new(guest: PendingConnection, places: PollSemaphore) -> Self {
        Self {
            missing: PREFACE_BYTES,
            overdue: Box::pin(guest.overdue(PREFACE_TIMEOUT)),
            places,
            _guest: guest,
        }
    }
}

impl Connection {
    const fn new(stream: Encryption, peer: Peer, arrival: Arrival) -> Self {
        Self {
            stream,
            peer,
            stage: Stage::PendingConnection(arrival),
        }
    }

    /// Reads what is missing of the preface and no more, then waits for a place.
    fn poll_arrival(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Stage::PendingConnection(arrival) = &mut self.stage else {
            return Poll::Ready(Ok(()));
        };
        if arrival.overdue.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if arrival.missing > 0 {
            let mut bytes = [0; PREFACE_BYTES];
            let most = arrival.missing.min(buffer.remaining());
            let mut preface = ReadBuf::new(&mut bytes[..most]);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut preface))?;
            arrival.missing -= preface.filled().len();
            buffer.put_slice(preface.filled());
            return Poll::Ready(Ok(()));
        }
        let place = ready!(arrival.places.poll_acquire(context));
        let place = place.expect("nobody closes the semaphore");
        self.stage = Stage::Seated { _place: place };
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if matches!(self.stage, Stage::PendingConnection(_)) {
            let before = buffer.filled().len();
            ready!(self.poll_arrival(context, buffer))?;
            // Something was said, or the connection has ended.
            if matches!(self.stage, Stage::PendingConnection(_)) || buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
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

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.peer.clone()
    }
}
