//! Command line options for the connection to the server: address, timeout and TLS.

use std::error::Error as _;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::error::CommandError;
use crate::tls::TlsArgs;

/// Timeout for opening a connection. A running server accepts at once, and a wrong address must be reported soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ServerArgs {
    /// Address of the server
    #[arg(
        long,
        env = "INVITATIONS_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:50051"
    )]
    server: String,
    /// Timeout of each call, such as 60s or 2m
    #[arg(long, value_name = "TIME", default_value = "60s")]
    timeout: humantime::Duration,
    #[command(flatten)]
    tls: TlsArgs,
}

impl ServerArgs {
    pub fn address(&self) -> &str {
        &self.server
    }

    pub fn is_encrypted(&self) -> bool {
        self.server.starts_with("https://")
    }

    pub fn timeout(&self) -> Duration {
        self.timeout.into()
    }

    pub const fn has_client_certificate(&self) -> bool {
        self.tls.has_client_certificate()
    }

    /// Connects at once, so that an unreachable server is reported before the command does anything else.
    pub async fn connect(&self) -> Result<Channel, CommandError> {
        let endpoint = self.endpoint()?;
        endpoint
            .connect()
            .await
            .map_err(|source| CommandError::Unreachable {
                address: self.server.clone(),
                source,
            })
    }

    fn endpoint(&self) -> Result<Endpoint, CommandError> {
        let usage = |message: String| Err(CommandError::Usage(message));
        let is_encrypted = self.is_encrypted();
        if !is_encrypted && !self.server.starts_with("http://") {
            return usage(format!(
                "--server must be an address like http://127.0.0.1:50051 or https://invitations.example.com, not {:?}",
                self.server
            ));
        }
        if !is_encrypted && self.tls.is_given() {
            return usage(format!(
                "certificates and roots need an https:// server, and --server is {:?}",
                self.server
            ));
        }
        let mut endpoint = Endpoint::from_shared(self.server.clone())
            .map_err(|error| CommandError::Usage(format!("--server {:?}: {error}", self.server)))?;
        if is_encrypted {
            endpoint = endpoint.tls_config(self.tls.config()?).map_err(|error| {
                let cause = error.source().map(ToString::to_string);
                let cause = cause.unwrap_or_else(|| error.to_string());
                CommandError::Usage(format!(
                    "the certificate, key or root files are not usable: {cause}"
                ))
            })?;
        }
        Ok(endpoint.connect_timeout(CONNECT_TIMEOUT))
    }

    /// Options for tests: this address and a timeout of 10 seconds.
    pub fn at(address: &str) -> Self {
        Self {
            server: address.to_owned(),
            timeout: Duration::from_secs(10).into(),
            tls: TlsArgs::default(),
        }
    }
}
