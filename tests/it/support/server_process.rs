//! A process of the server program.

use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;

use tokio::process::{Child, Command};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use crate::support::waiting::{WAIT_MAX, wait_until};

/// A process that is killed when it is dropped.
pub(crate) struct ServerProcess {
    child: Child,
    log: PathBuf,
    output: PathBuf,
}

impl ServerProcess {
    pub(super) fn new(child: Child, log: PathBuf, output: PathBuf) -> Self {
        Self { child, log, output }
    }

    /// A channel to the gRPC port, as soon as the process listens.
    pub(crate) async fn channel(&self) -> Channel {
        wait_until("the address", async || self.logged_address().is_some()).await;
        Endpoint::from_shared(format!("http://{}", self.address()))
            .unwrap()
            .connect_lazy()
    }

    /// The address of the gRPC port.
    pub(crate) fn address(&self) -> String {
        self.logged_address().unwrap()
    }

    fn logged_address(&self) -> Option<String> {
        let log = self.log();
        // The log is text or JSON.
        let (_, rest) = log
            .split_once("server.address=")
            .or_else(|| log.split_once("\"server.address\":\""))?;
        let (address, _) = rest.split_once([' ', '"'])?;
        Some(address.to_owned())
    }

    /// The standard error so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The standard output so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }

    /// Kills the process as a crash would (SIGKILL).
    pub(crate) async fn crash(mut self) {
        self.child.kill().await.unwrap();
    }

    /// The resident memory in KiB.
    pub(crate) fn memory_kib(&self) -> i64 {
        let status = self.proc_status();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let amount = line.unwrap().split_whitespace().nth(1);
        amount.unwrap().parse().unwrap()
    }

    /// The largest resident memory so far, in bytes.
    pub(crate) fn peak_memory(&self) -> usize {
        let status = self.proc_status();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse::<usize>().unwrap() * 1024
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// The text of `/proc/PID/status`, see proc(5).
    pub(crate) fn proc_status(&self) -> String {
        let status = format!("/proc/{}/status", self.pid());
        fs::read_to_string(status).unwrap()
    }

    /// Requests a graceful shutdown (SIGTERM).
    pub(crate) async fn terminate(&self) {
        self.signal("-TERM").await;
    }

    /// Pauses the process (SIGSTOP), as a paused machine would.
    pub(crate) async fn pause(&self) {
        self.signal("-STOP").await;
    }

    /// Continues a paused process (SIGCONT).
    pub(crate) async fn resume(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let killed = Command::new("kill").args([signal, &pid]).status().await;
        assert!(killed.unwrap().success());
    }

    /// Waits until the process has ended.
    pub(crate) async fn wait_for_exit(&mut self) -> ExitStatus {
        let exit = timeout(WAIT_MAX, self.child.wait()).await;
        exit.expect("the process was expected to end").unwrap()
    }
}
