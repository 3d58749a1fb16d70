//! A proxy in front of the database that delays answers, resets connections, swallows everything, or hides commits.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use url::Url;

use crate::support::database::Database;

/// The state of the network between the service and the database.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Network {
    /// By how much each answer of the database is delayed.
    pub(crate) delay: Duration,
    /// Whether all bytes are swallowed, on existing and on new connections. Such a connection never recovers.
    pub(crate) is_black_hole: bool,
    /// Whether new connections are reset immediately.
    pub(crate) is_closed: bool,
}

/// A proxy in front of the database of one test.
pub(crate) struct DatabaseProxy {
    url: String,
    network: watch::Sender<Network>,
    /// Counts how often all connections were reset.
    resets: watch::Sender<u32>,
    /// How many more bytes of answers pass before all connections are reset. There is no limit below zero.
    bytes_left: Arc<AtomicI64>,
    /// Whether the answers to commits are withheld.
    hides_commits: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

/// The answer to a commit: a `CommandComplete` message of the protocol of Postgres.
const COMMITTED: &[u8] = b"C\0\0\0\x0bCOMMIT\0";

#[derive(Clone)]
enum ProxyTarget {
    Tcp(String, u16),
    Unix(PathBuf),
}

#[derive(Clone)]
struct ProxyLink {
    target: ProxyTarget,
    network: watch::Receiver<Network>,
    resets: watch::Receiver<u32>,
    reset: watch::Sender<u32>,
    bytes_left: Arc<AtomicI64>,
    hides_commits: Arc<AtomicBool>,
}

impl DatabaseProxy {
    /// Starts a proxy in front of this database.
    pub(crate) async fn to(database: &Database) -> Self {
        let options = PgConnectOptions::from_str(&database.url()).unwrap();
        let target = match options.get_socket() {
            Some(folder) => {
                ProxyTarget::Unix(folder.join(format!(".s.PGSQL.{}", options.get_port())))
            }
            None => ProxyTarget::Tcp(options.get_host().to_owned(), options.get_port()),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut url = Url::parse(&database.url()).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(address.port())).unwrap();
        url.set_query(Some("sslmode=disable"));
        let network = watch::Sender::new(Network::default());
        let resets = watch::Sender::new(0);
        let bytes_left = Arc::new(AtomicI64::new(-1));
        let hides_commits = Arc::new(AtomicBool::new(false));
        let link = ProxyLink {
            target,
            network: network.subscribe(),
            resets: resets.subscribe(),
            reset: resets.clone(),
            bytes_left: Arc::clone(&bytes_left),
            hides_commits: Arc::clone(&hides_commits),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, link));
        Self {
            url: url.into(),
            network,
            resets,
            bytes_left,
            hides_commits,
            _tasks: tasks,
        }
    }

    /// The URL of the database through the proxy.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    pub(crate) fn set_network(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// Delays each answer from now on.
    pub(crate) fn delay(&self, delay: Duration) {
        self.set_network(Network {
            delay,
            ..Network::default()
        });
    }

    /// Resets every connection.
    pub(crate) fn reset(&self) {
        self.resets.send_modify(|resets| *resets += 1);
    }

    /// Resets every connection after this many more bytes of answers.
    pub(crate) fn reset_after(&self, bytes: i64) {
        self.bytes_left.store(bytes, Ordering::SeqCst);
    }

    /// Withholds the answer to every commit from now on: the database commits, and its client never learns of it.
    pub(crate) fn hide_commits(&self) {
        self.hides_commits.store(true, Ordering::SeqCst);
    }
}

async fn accept(listener: TcpListener, link: ProxyLink) {
    let mut connections = JoinSet::new();
    loop {
        let (near, _) = listener.accept().await.unwrap();
        near.set_nodelay(true).unwrap();
        let mut link = link.clone();
        connections.spawn(async move {
            // The peer sees a reset immediately, whatever ends the connection.
            near.set_zero_linger().unwrap();
            link.resets.mark_unchanged();
            if link.network.borrow().is_closed {
                return;
            }
            match link.target.clone() {
                ProxyTarget::Tcp(host, port) => {
                    let far = TcpStream::connect((host, port)).await;
                    relay(near, far, link).await;
                }
                ProxyTarget::Unix(path) => relay(near, UnixStream::connect(path).await, link).await,
            }
        });
    }
}

async fn relay<F>(near: TcpStream, far: std::io::Result<F>, mut link: ProxyLink)
where
    F: AsyncRead + AsyncWrite + Unpin,
{
    let Ok(far) = far else { return };
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = tokio::io::split(far);
    let requests = pipe(near_in, far_out, link.clone(), false);
    let answers = pipe(far_in, near_out, link.clone(), true);
    tokio::select! {
        () = requests => {}
        () = answers => {}
        _ = link.resets.changed() => {}
    }
}

/// Copies bytes in one direction. Only the answers of the database (`is_answer`) are delayed and counted.
async fn pipe(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    link: ProxyLink,
    is_answer: bool,
) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let reading = async {
        let mut buffer = vec![0; 16 * 1024];
        // The end of what has passed, because a message may arrive in two parts.
        let mut passed = Vec::new();
        loop {
            let count = from.read(&mut buffer).await.unwrap_or(0);
            if link.network.borrow().is_black_hole {
                // Not even the end of the connection is forwarded.
                std::future::pending::<()>().await;
            }
            if count == 0 {
                return;
            }
            if is_answer && link.hides_commits.load(Ordering::SeqCst) {
                passed.extend_from_slice(&buffer[..count]);
                let mut messages = passed.windows(COMMITTED.len());
                if messages.any(|message| message == COMMITTED) {
                    std::future::pending::<()>().await;
                }
                passed.drain(..passed.len().saturating_sub(COMMITTED.len() - 1));
            }
            let mut count = count;
            if is_answer && link.bytes_left.load(Ordering::SeqCst) >= 0 {
                let length = i64::try_from(count).unwrap();
                let left = link.bytes_left.fetch_sub(length, Ordering::SeqCst);
                if left < length {
                    count = usize::try_from(left).unwrap_or(0);
                    let _ = sender.send((Instant::now(), buffer[..count].to_vec()));
                    tokio::task::yield_now().await;
                    link.bytes_left.store(-1, Ordering::SeqCst);
                    link.reset.send_modify(|resets| *resets += 1);
                    return;
                }
            }
            let delay = link.network.borrow().delay * u32::from(is_answer);
            let _ = sender.send((Instant::now() + delay, buffer[..count].to_vec()));
        }
    };
    let writing = async {
        while let Some((when, bytes)) = receiver.recv().await {
            sleep_until(when).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}
