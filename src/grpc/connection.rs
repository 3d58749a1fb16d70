//! Connections: how many there are at once, how long one may take to shake hands, and how long it may say nothing before
//! it begins to speak HTTP/2.
//!
//! hyper watches over a connection only once its preface has come: without this, a peer that connects and stays silent
//! is kept for ever. Each handshake is a task of its own, so that nobody waits for the slow one of somebody else.

use std::io;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::limits::{CONNECTIONS_MAX, HANDSHAKE_TIMEOUT, PREFACE_TIMEOUT};
use super::peer::Peer;
use super::peer_identities::PeerIdentities;
use super::tls::Tls;
use crate::shutdown;

/// Octets of the client's connection preface (RFC 9113 §3.4).
const PREFACE_OCTETS: usize = 24;

/// One connection, counted for as long as it lives.
pub(super) struct Connection {
    stream: Encryption,
    peer: Peer,
    /// How many octets of the preface are missing, and until when they have to come.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    _place: OwnedSemaphorePermit,
}

/// What is around the octets of a connection.
enum Encryption {
    None(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A listener, and the connections that do not speak yet.
struct Incoming {
    listener: TcpListener,
    tls: Option<Tls>,
    places: Arc<Semaphore>,
    handshakes: FuturesUnordered<BoxFuture<'static, Option<Connection>>>,
}

/// The connections of a listener. While there are too many, further ones wait to be accepted; those that shake hands
/// count.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Option<Tls>,
) -> impl Stream<Item = io::Result<Connection>> {
    let incoming = Incoming {
        listener,
        tls,
        places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        handshakes: FuturesUnordered::new(),
    };
    futures::stream::unfold(incoming, |mut incoming| async move {
        let next = incoming.next().await;
        Some((next, incoming))
    })
}

impl Incoming {
    /// The next connection that may speak.
    async fn next(&mut self) -> io::Result<Connection> {
        loop {
            let accepted = accept(&self.listener, &self.places);
            let (stream, place) = tokio::select! {
                Some(done) = self.handshakes.next() => match done {
                    Some(connection) => return Ok(connection),
                    None => continue,
                },
                accepted = accepted => accepted?,
            };
            let Some(tls) = self.tls.clone() else {
                let ip = ip(&stream);
                return Ok(Connection::new(Encryption::None(stream), ip, None, place));
            };
            self.handshakes.push(Box::pin(shutdown::detached(
                "handshake",
                // A panic would end the process' only listener.
                AssertUnwindSafe(handshake(tls, stream, place))
                    .catch_unwind()
                    .map(|done| done.unwrap_or(None)),
            )));
        }
    }
}

/// Waits for a place first and for a peer then.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .expect("nobody closes the semaphore");
    let (stream, _) = listener.accept().await?;
    // Small frames must not wait for each other's acknowledgement.
    let _ = stream.set_nodelay(true);
    Ok((stream, place))
}

/// Shakes hands; `None` with a peer that is slow, shows a bad certificate or speaks something else. That is told at
/// debug level alone, since any stranger can do it as often as it likes.
async fn handshake(tls: Tls, stream: TcpStream, place: OwnedSemaphorePermit) -> Option<Connection> {
    let ip = ip(&stream);
    let accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)).await;
    let accepted = accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
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
    let stream = Encryption::Tls(Box::new(stream));
    Some(Connection::new(stream, ip, certificate, place))
}

fn ip(stream: &TcpStream) -> Option<IpAddr> {
    stream.peer_addr().ok().map(|address| address.ip())
}

impl Connection {
    fn new(
        stream: Encryption,
        ip: Option<IpAddr>,
        certificate: Option<Arc<PeerIdentities>>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let preface = Box::pin(tokio::time::sleep(PREFACE_TIMEOUT));
        Self {
            stream,
            peer: Peer { ip, certificate },
            preface: Some((PREFACE_OCTETS, preface)),
            _place: place,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match &mut self.stream {
            Encryption::None(stream) => Pin::new(stream).poll_read(context, buffer),
            Encryption::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        let Some((missing, deadline)) = &mut self.preface else {
            return read;
        };
        *missing = missing.saturating_sub(buffer.filled().len() - before);
        if *missing == 0 {
            self.preface = None;
        } else if deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Encryption::None(stream) => Pin::new(stream).poll_write(context, octets),
            Encryption::Tls(stream) => Pin::new(stream).poll_write(context, octets),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Encryption::None(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
            Encryption::Tls(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Encryption::None(stream) => stream.is_write_vectored(),
            Encryption::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Encryption::None(stream) => Pin::new(stream).poll_flush(context),
            Encryption::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Encryption::None(stream) => Pin::new(stream).poll_shutdown(context),
            Encryption::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.peer.clone()
    }
}
