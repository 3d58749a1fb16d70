//! Accepts connections with or without TLS, and keeps their sockets so that a call can break its own connection.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream as StdSocket};
use std::sync::Arc;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A connection, encrypted or not.
pub(super) trait ProviderStream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> ProviderStream for T {}

pub(super) struct ProviderListener {
    pub(super) tcp: TcpListener,
    pub(super) acceptor: Option<TlsAcceptor>,
    /// Called for each connection; the listener closes the connection if it returns `false`.
    pub(super) accepts: Box<dyn Fn() -> bool + Send + Sync>,
}

/// The socket of a connection, or none for the listener itself.
#[derive(Debug, Clone)]
pub(super) struct ProviderSocket(Option<Arc<StdSocket>>);

impl ProviderSocket {
    /// The socket below TLS.
    pub(super) fn bare(&self) -> &StdSocket {
        self.0.as_deref().unwrap()
    }

    pub(super) fn close(&self) {
        // Fails if the client has closed the connection already.
        drop(self.bare().shutdown(Shutdown::Both));
    }
}

impl ProviderListener {
    async fn accept_one(&self) -> io::Result<Option<(Box<dyn ProviderStream>, ProviderSocket)>> {
        let (stream, _): (TcpStream, SocketAddr) = self.tcp.accept().await?;
        stream.set_nodelay(true)?;
        if !(self.accepts)() {
            return Ok(None);
        }
        let bare = stream.into_std()?;
        let socket = ProviderSocket(Some(Arc::new(bare.try_clone()?)));
        let stream = TcpStream::from_std(bare)?;
        let stream: Box<dyn ProviderStream> = match &self.acceptor {
            Some(acceptor) => Box::new(acceptor.accept(stream).await?),
            None => Box::new(stream),
        };
        Ok(Some((stream, socket)))
    }
}

impl Listener for ProviderListener {
    type Io = Box<dyn ProviderStream>;
    type Addr = ProviderSocket;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // An error is that of a client, such as one that does not trust the certificate.
            if let Ok(Some(connection)) = self.accept_one().await {
                return connection;
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(ProviderSocket(None))
    }
}

impl Connected<IncomingStream<'_, ProviderListener>> for ProviderSocket {
    fn connect_info(stream: IncomingStream<'_, ProviderListener>) -> Self {
        stream.remote_addr().clone()
    }
}
