//! Connections: a place for each that speaks HTTP/2, and an end for those that do not begin to.
//!
//! hyper watches over a connection only once its preface has come: without this, a peer that connects and stays silent
//! is kept for ever. Until then it is a guest of the [`Lobby`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::PollSemaphore;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::limits::{CONNECTIONS_MAX, GUESTS_MAX, PREFACE_TIMEOUT};
use crate::lobby::{Guest, Lobby};

/// Octets of the client's connection preface (RFC 9113 §3.4).
const PREFACE_OCTETS: usize = 24;

/// One connection, counted for as long as it lives.
pub(super) struct Connection {
    stream: TcpStream,
    stage: Stage,
}

/// How far a connection has come.
enum Stage {
    /// It has not said all of its preface.
    Guest(Arrival),
    /// It speaks.
    Seated { _place: OwnedSemaphorePermit },
}

/// What is known of a connection until it speaks.
struct Arrival {
    /// Octets of the preface that are still to come.
    missing: usize,
    /// Ends when it took too long, or when others need the room.
    overdue: Pin<Box<dyn Future<Output = ()> + Send>>,
    places: PollSemaphore,
    _guest: Guest,
}

impl Arrival {
    fn new(guest: Guest, places: PollSemaphore) -> Self {
        let leaving = guest.asked_to_leave();
        let overdue = Box::pin(async move {
            let _ = tokio::time::timeout(PREFACE_TIMEOUT, leaving).await;
        });
        Self {
            missing: PREFACE_OCTETS,
            overdue,
            places,
            _guest: guest,
        }
    }
}

/// The connections of a listener.
pub(super) fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Connection>> {
    let lobby = Lobby::new(GUESTS_MAX, CONNECTIONS_MAX);
    futures::stream::unfold((listener, lobby), |(listener, lobby)| async move {
        let (stream, guest) = lobby.accept(&listener).await;
        let arrival = Arrival::new(guest, PollSemaphore::new(lobby.places()));
        let connection = Connection {
            stream,
            stage: Stage::Guest(arrival),
        };
        Some((Ok(connection), (listener, lobby)))
    })
}

impl Connection {
    /// Reads what is missing of the preface and no more, then waits for a place.
    fn poll_arrival(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Stage::Guest(arrival) = &mut self.stage else {
            return Poll::Ready(Ok(()));
        };
        if arrival.overdue.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if arrival.missing > 0 {
            let mut octets = [0; PREFACE_OCTETS];
            let most = arrival.missing.min(buffer.remaining());
            let mut preface = ReadBuf::new(&mut octets[..most]);
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
        if matches!(self.stage, Stage::Guest(_)) {
            let before = buffer.filled().len();
            ready!(self.poll_arrival(context, buffer))?;
            // Something was said, or the connection has ended.
            if matches!(self.stage, Stage::Guest(_)) || buffer.filled().len() > before {
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
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
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
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}
