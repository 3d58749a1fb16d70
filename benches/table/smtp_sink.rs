//! Postfix's test programs: `smtp-sink`, a relay that accepts and discards every message, and `smtp-source`, which sends
//! messages to a relay as fast as it can.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::load::Sample;

const START_TIMEOUT: Duration = Duration::from_secs(5);

/// A running `smtp-sink`.
pub(crate) struct SmtpSink {
    /// The folder of the programs.
    programs: PathBuf,
    /// Killed when dropped.
    _child: Child,
    address: SocketAddr,
}

impl SmtpSink {
    pub(crate) async fn start(programs: PathBuf) -> anyhow::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let child = Command::new(programs.join("smtp-sink"))
            // Required when root starts it, and ignored otherwise.
            .args(["-u", "nobody"])
            .args([&address.to_string(), "1000"])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start smtp-sink")?;
        let sink = Self {
            programs,
            _child: child,
            address,
        };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            let has_time = started.elapsed() < START_TIMEOUT;
            ensure!(has_time, "smtp-sink does not listen");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(sink)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs `smtp-source`, which sends the same message again and again over kept connections.
    pub(crate) async fn measure_source(
        &self,
        connections: usize,
        messages: usize,
        message_bytes: usize,
    ) -> anyhow::Result<Sample> {
        let started = Instant::now();
        let status = Command::new(self.programs.join("smtp-source"))
            .args(["-d", "-s", &connections.to_string()])
            .args([
                "-m",
                &messages.to_string(),
                "-l",
                &message_bytes.to_string(),
            ])
            .args(["-f", "invites@example.com", "-t", "reader@example.com"])
            .arg(self.address.to_string())
            .status()
            .await
            .context("cannot start smtp-source")?;
        ensure!(status.success(), "smtp-source failed");
        Ok(Sample {
            items: messages,
            elapsed: started.elapsed(),
            latencies: Vec::new(),
        })
    }
}
