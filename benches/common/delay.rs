//! Distance to a server: a proxy that hands on every byte a while after it came.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Listens on a free port; half of `round_trip` is spent on the way there and half on the way back.
///
/// Bytes on their way do not wait for each other: each read has its own time of arrival.
pub(crate) async fn listen(server: SocketAddr, round_trip: Duration) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(far) = TcpStream::connect(server).await else {
                    return;
                };
                if near.set_nodelay(true).and(far.set_nodelay(true)).is_err() {
                    return;
                }
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                carry(near_read, far_write, round_trip / 2);
                carry(far_read, near_write, round_trip / 2);
            });
        }
    });
    Ok(address)
}

fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (sender, mut on_the_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        let mut bytes = vec![0; 64 * 1_024];
        while let Ok(length @ 1..) = from.read(&mut bytes).await {
            let arrival = Instant::now() + delay;
            if sender.send((arrival, bytes[..length].to_vec())).is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((arrival, bytes)) = on_the_way.recv().await {
            sleep_until(arrival).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
}
