//! TLS of the gRPC port, which reloads its files when they change.
//!
//! Changed files apply to new connections. Existing connections end by their age
//! ([`CONNECTION_AGE_MAX`](crate::grpc::wire::limits::CONNECTION_AGE_MAX)). Revocation lists are not supported: give
//! certificates a short life instead, or remove their root.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;

use crate::clock::{Clock as _, SystemClock};
use crate::grpc::wire::limits::CERTIFICATE_POLL_INTERVAL;
use crate::grpc::wire::tls_files::{CERTIFICATE_FILE, LoadedTls, TlsFiles};

#[derive(Clone)]
pub struct ServerTls {
    files: Arc<TlsFiles>,
    current: Arc<RwLock<LoadedTls>>,
}

/// What was already logged about the files.
#[derive(Default)]
struct ReloadLog {
    /// The problems of the last reload. While files are replaced, two reloads may find different problems.
    problems: Option<String>,
    is_logged: bool,
    /// The digest of the files whose expiry was logged.
    expired: Option<[u8; 32]>,
}

impl ServerTls {
    /// Loads the files.
    ///
    /// # Errors
    ///
    /// All problems, each with the name of its setting. An expired certificate is only logged, because health checks
    /// and callers that do not verify it still work.
    pub fn load(files: TlsFiles) -> Result<Self, Vec<String>> {
        let loaded = files.load()?;
        Ok(Self {
            files: Arc::new(files),
            current: Arc::new(RwLock::new(loaded)),
        })
    }

    pub fn asks_clients(&self) -> bool {
        self.files.clients.is_some()
    }

    /// An acceptor with the files that were loaded last.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current().config)
    }

    /// Reloads the files forever. Invalid files are logged once and do not replace the loaded ones.
    pub(crate) async fn keep_fresh(&self) -> Infallible {
        let mut log = ReloadLog::default();
        loop {
            self.log_expiry(&mut log);
            tokio::time::sleep(CERTIFICATE_POLL_INTERVAL).await;
            let (files, digest) = (Arc::clone(&self.files), self.current().digest);
            let loaded = tokio::task::spawn_blocking(move || files.load_if_changed(digest)).await;
            match loaded.unwrap_or_else(|_| Err(vec!["the reload panicked".to_owned()])) {
                Ok(None) => log.problems = None,
                Ok(Some(loaded)) => {
                    log.problems = None;
                    tracing::info!("the TLS files changed and apply to new connections");
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                }
                Err(problems) => {
                    log.log_problems(problems.join("; "));
                }
            }
        }
    }

    fn current(&self) -> LoadedTls {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn log_expiry(&self, log: &mut ReloadLog) {
        let current = self.current();
        let is_expired = current
            .expires_at
            .is_some_and(|end| end <= SystemClock.now());
        if is_expired && log.expired != Some(current.digest) {
            log.expired = Some(current.digest);
            tracing::warn!(
                "the certificate of {CERTIFICATE_FILE} has expired, so clients that verify it cannot connect"
            );
        }
    }
}

impl ReloadLog {
    /// Logs problems that two reloads found and that were not logged yet. Returns whether it did.
    fn log_problems(&mut self, problems: String) -> bool {
        if self.problems.as_ref() != Some(&problems) {
            self.problems = Some(problems);
            self.is_logged = false;
            return false;
        }
        if !self.is_logged {
            tracing::warn!(
                problems,
                "the TLS files cannot be used, so the previous ones remain in use"
            );
        }
        !std::mem::replace(&mut self.is_logged, true)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut output = formatter.debug_struct("ServerTls");
        output.field("files", &self.files).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_logged_once_after_two_reloads_found_it() {
        let mut log = ReloadLog::default();
        let logged =
            ["a", "a", "a", "b", "a", "a", "a"].map(|problem| log.log_problems(problem.to_owned()));
        assert_eq!(logged, [false, true, false, false, false, true, false]);
    }
}
