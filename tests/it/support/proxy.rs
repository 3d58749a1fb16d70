//! A way to the database that breaks as it is told to: slow, cut, reset, or swallowing everything.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use url::Url;

use crate::support::database::Database;

/// How the network is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    /// How long what the database says is on its way.
    pub(crate) delay: Duration,
    /// Whether everything is swallowed, on connections that exist as on new ones. They never come back to life.
    pub(crate) is_hole: bool,
    /// Whether new connections are reset at once.
    pub(crate) is_closed: bool,
}

/// A way to the database of one test.
pub(crate) struct Proxy {
    url: String,
    weather: watch::Sender<Weather>,
    /// Raised each time everything is cut.
    cuts: watch::Sender<u32>,
    /// How many more bytes the database may say until everything is cut; below zero there is no end.
    bytes_left: Arc<AtomicI64>,
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
enum Target {
    Tcp(String, u16),
    Unix(PathBuf),
}

#[derive(Clone)]
struct Link {
    target: Target,
    weather: watch::Receiver<Weather>,
    cuts: watch::Receiver<u32>,
    cut: watch::Sender<u32>,
    bytes_left: Arc<AtomicI64>,
}

impl Proxy {
    /// One in front of this database.
    pub(crate) async fn to(database: &Database) -> Self {
        let options = PgConnectOptions::from_str(&database.url()).unwrap();
        let target = match options.get_socket() {
            Some(folder) => Target::Unix(folder.join(format!(".s.PGSQL.{}", options.get_port()))),
            None => Target::Tcp(options.get_host().to_owned(), options.get_port()),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut url = Url::parse(&database.url()).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(address.port())).unwrap();
        url.set_query(Some("sslmode=disable"));
        let weather = watch::Sender::new(Weather::default());
        let cuts = watch::Sender::new(0);
        let bytes_left = Arc::new(AtomicI64::new(-1));
        let link = Link {
            target,
            weather: weather.subscribe(),
            cuts: cuts.subscribe(),
            cut: cuts.clone(),
            bytes_left: Arc::clone(&bytes_left),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, link));
        Self {
            url: url.into(),
            weather,
            cuts,
            bytes_left,
            _tasks: tasks,
        }
    }

    /// The URL of the database by this way.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// From now on the network is like this.
    pub(crate) fn turn(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// From now on everything is on its way for this long.
    pub(crate) fn slow(&self, delay: Duration) {
        self.turn(Weather {
            delay,
            ..Weather::default()
        });
    }

    /// Resets every connection.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Resets every connection once the database has said so many more bytes.
    pub(crate) fn cut_after(&self, bytes: i64) {
        self.bytes_left.store(bytes, Ordering::SeqCst);
    }
}

async fn accept(listener: TcpListener, link: Link) {
    let mut connections = JoinSet::new();
    loop {
        let (near, _) = listener.accept().await.unwrap();
        near.set_nodelay(true).unwrap();
        let mut link = link.clone();
        connections.spawn(async move {
            // Whatever ends a connection, its peer sees a reset, and at once.
            near.set_zero_linger().unwrap();
            link.cuts.mark_unchanged();
            if link.weather.borrow().is_closed {
                return;
            }
            match link.target.clone() {
                Target::Tcp(host, port) => {
                    let far = TcpStream::connect((host, port)).await;
                    relay(near, far, link).await;
                }
                Target::Unix(path) => relay(near, UnixStream::connect(path).await, link).await,
            }
        });
    }
}

async fn relay<F>(near: TcpStream, far: std::io::Result<F>, mut link: Link)
where
    F: AsyncRead + AsyncWrite + Unpin,
{
    let Ok(far) = far else { return };
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = tokio::io::split(far);
    let asked = pipe(near_in, far_out, link.clone(), false);
    let said = pipe(far_in, near_out, link.clone(), true);
    tokio::select! {
        () = asked => {}
        () = said => {}
        _ = link.cuts.changed() => {}
    }
}

/// Carries bytes one way. What the database says (`is_answer`) is what is late and what is counted.
async fn pipe(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    link: Link,
    is_answer: bool,
) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let reading = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = from.read(&mut buffer).await.unwrap_or(0);
            if link.weather.borrow().is_hole {
                // Nobody learns of anything any more, not even of an end.
                std::future::pending::<()>().await;
            }
            if count == 0 {
                return;
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
                    link.cut.send_modify(|cuts| *cuts += 1);
                    return;
                }
            }
            let delay = link.weather.borrow().delay * u32::from(is_answer);
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
