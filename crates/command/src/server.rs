//! The address of the server and the TLS settings of the connection to it.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::error::CommandError;
use crate::tls::TlsArgs;

/// How long to wait for a connection: a server that is up answers at once, and one that is not should be told of soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the server is, and how long to wait for it.
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
    /// How long each call may take, such as 60s or 2m
    #[arg(long, value_name = "TIME", default_value = "60s")]
    timeout: humantime::Duration,
    #[command(flatten)]
    tls: TlsArgs,
}

impl ServerArgs {
    /// The address, as given.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.server
    }

    /// Whether the way there is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.server.starts_with("https://")
    }

    /// How long each call may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout.into()
    }

    /// Connects, so that a server that is away is found out before anything else.
    pub async fn connect(&self) -> Result<Channel, CommandError> {
        let endpoint = self.endpoint()?;
        endpoint
            .connect()
            .await
            .map_err(|source| CommandError::Away {
                address: self.server.clone(),
                source,
            })
    }

    fn endpoint(&self) -> Result<Endpoint, CommandError> {
        let is_encrypted = self.is_encrypted();
        if !is_encrypted && !self.server.starts_with("http://") {
            let message = format!(
                "--server must be an address like http://127.0.0.1:50051 or https://invitations.example.com, not {:?}",
                self.server
            );
            return Err(CommandError::Usage(message));
        }
        if !is_encrypted && self.tls.is_given() {
            let message = "certificates and roots are for an https server, and --server is another";
            return Err(CommandError::Usage(message.to_owned()));
        }
        let unusable = |error| CommandError::Usage(format!("--server {:?}: {error}", self.server));
        let mut endpoint = Endpoint::from_shared(self.server.clone()).map_err(unusable)?;
        if is_encrypted {
            let config = self.tls.config()?;
            endpoint = endpoint.tls_config(config).map_err(|error| {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let cause = cause.unwrap_or_else(|| error.to_string());
                CommandError::Usage(format!(
                    "certificates, keys or roots cannot be used: {cause}"
                ))
            })?;
        }
        Ok(endpoint.connect_timeout(CONNECT_TIMEOUT))
    }

    /// A server at this address, with calls of at most 10 seconds.
    #[must_use]
    pub fn at(address: &str) -> Self {
        Self {
            server: address.to_owned(),
            timeout: Duration::from_secs(10).into(),
            tls: TlsArgs::default(),
        }
    }

    /// Whether a client certificate tells the server who calls.
    #[must_use]
    pub const fn has_client_certificate(&self) -> bool {
        self.tls.has_client_certificate()
    }
}
