//! Postfix's sink, which takes every mail and keeps none, and its source, which sends as fast as a sink takes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::contest::Turn;

/// Longest wait for the sink to listen.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// The programs of a folder, and a sink that runs; it ends when dropped.
pub(crate) struct Sink {
    programs: PathBuf,
    child: Child,
    address: SocketAddr,
}

impl Sink {
    /// Starts it at a free port of this host.
    pub(crate) fn start(programs: &Path) -> anyhow::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let child = Command::new(programs.join("smtp-sink"))
            // It asks for another user where it is started by root, and ignores that otherwise.
            .args(["-u", "nobody", &address.to_string(), "1000"])
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start smtp-sink")?;
        let sink = Self {
            programs: programs.to_owned(),
            child,
            address,
        };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(
                started.elapsed() < START_TIMEOUT,
                "smtp-sink does not listen"
            );
            sleep(Duration::from_millis(20));
        }
        Ok(sink)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has the source send so many mails over kept connections.
    pub(crate) fn feed(
        &self,
        connections: usize,
        mails: usize,
        bytes: usize,
    ) -> anyhow::Result<Turn> {
        let started = Instant::now();
        let status = Command::new(self.programs.join("smtp-source"))
            .args(["-d", "-s", &connections.to_string()])
            .args(["-m", &mails.to_string(), "-l", &bytes.to_string()])
            .args(["-f", "invites@example.com", "-t", "reader@example.com"])
            .arg(self.address.to_string())
            .status()
            .context("cannot start smtp-source")?;
        ensure!(status.success(), "smtp-source failed");
        Ok(Turn {
            items: mails,
            took: started.elapsed(),
            latencies: Vec::new(),
        })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
