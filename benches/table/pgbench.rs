//! pgbench, Postgres' own client for measuring: a statement by many connections at once, prepared, with its own clock.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::contest::Turn;

/// Begins the names of the files in which it writes down each transaction.
const LOG: &str = "log";
/// Threads of the client: as many as the machine for which the figures in the documentation are has cores.
const THREADS_MAX: usize = 2;

/// What each of its connections does how often.
pub(crate) struct Run<'a> {
    pub(crate) url: &'a str,
    /// One transaction, with `:n` for a number that is another one each time.
    pub(crate) statement: &'a str,
    pub(crate) connections: usize,
    pub(crate) transactions: usize,
    /// The first number. Each connection takes those that follow on from where the one before it ends.
    pub(crate) first: usize,
}

impl Run<'_> {
    /// Runs it.
    pub(crate) fn turn(&self) -> anyhow::Result<Turn> {
        let folder = TempDir::new()?;
        let script = folder.path().join("script.sql");
        // Variables are a connection's own and stay from one transaction to the next.
        let numbers = "\\set i :i + 1\n\\set n :first + :client_id * :transactions + :i\n";
        fs::write(&script, format!("{numbers}{}", self.statement))?;
        let output = Command::new("pgbench")
            .args(["--no-vacuum", "--protocol", "prepared", "--log"])
            .arg("--log-prefix")
            .arg(folder.path().join(LOG))
            .args(["--client", &self.connections.to_string()])
            .args(["--jobs", &self.connections.min(THREADS_MAX).to_string()])
            .args(["--transactions", &self.transactions.to_string()])
            .args(["--define", "i=-1"])
            .args(["--define", &format!("first={}", self.first)])
            .args(["--define", &format!("transactions={}", self.transactions)])
            .arg("--file")
            .arg(&script)
            .arg(self.url)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .context("cannot start pgbench")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "pgbench failed: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let items = self.connections * self.transactions;
        let latencies = latencies(&folder)?;
        ensure!(
            latencies.len() == items,
            "pgbench ended {} of {items} transactions",
            latencies.len()
        );
        let rate: f64 = said
            .lines()
            .find_map(|line| line.strip_prefix("tps = "))
            .and_then(|rest| rest.split(' ').next()?.parse().ok())
            .context("pgbench told no rate")?;
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        Ok(Turn {
            items,
            took: Duration::from_secs_f64(items as f64 / rate),
            latencies,
        })
    }
}

/// A line for each transaction: the connection, its number there, and how many microseconds it took.
fn latencies(folder: &TempDir) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    for entry in fs::read_dir(folder.path())? {
        let path = entry?.path();
        let is_log = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(LOG));
        if !is_log {
            continue;
        }
        for line in fs::read_to_string(path)?.lines() {
            let micros = line.split(' ').nth(2).context("a line without a time")?;
            latencies.push(Duration::from_micros(micros.parse()?));
        }
    }
    Ok(latencies)
}
