//! Command line options for the connection to the server: address, timeout and TLS.
//!
//! An `https` address needs no options for TLS if the system trusts the root of the server.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::bounded_file::{self, FILE_BYTES_MAX};
use crate::error::CommandError;

/// Timeout for opening a connection. A running server accepts at once, and a wrong address must be reported soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ServerArgs {
    /// Address of the server
    #[arg(
        long = "server",
        env = "INVITATIONS_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:50051"
    )]
    pub address: String,
    /// Timeout of each call, such as 60s or 2m
    #[arg(long, value_name = "TIME", default_value = "60s")]
    timeout: humantime::Duration,
    /// Root certificates (PEM) that verify an https server [default: the roots of the system]
    #[arg(long, env = "INVITATIONS_SERVER_ROOTS_FILE", value_name = "FILE")]
    server_roots_file: Option<PathBuf>,
    /// Name in the certificate of an https server [default: the host of its address]
    #[arg(long, env = "INVITATIONS_SERVER_NAME", value_name = "NAME")]
    server_name: Option<String>,
    /// Client certificate (PEM) for an https server; it identifies the caller if there is no token
    #[arg(
        long,
        env = "INVITATIONS_CLIENT_CERTIFICATE_FILE",
        value_name = "FILE",
        requires = "client_key_file"
    )]
    pub client_certificate_file: Option<PathBuf>,
    /// Private key (PEM) of the client certificate
    #[arg(
        long,
        env = "INVITATIONS_CLIENT_KEY_FILE",
        value_name = "FILE",
        requires = "client_certificate_file"
    )]
    client_key_file: Option<PathBuf>,
}

impl ServerArgs {
    pub fn is_encrypted(&self) -> bool {
        self.address.starts_with("https://")
    }

    pub fn timeout(&self) -> Duration {
        self.timeout.into()
    }

    /// Connects at once, so that an unreachable server is reported before the command does anything else.
    pub async fn connect(&self) -> Result<Channel, CommandError> {
        let connected = self.endpoint()?.connect().await;
        connected.map_err(|source| CommandError::Unreachable {
            address: self.address.clone(),
            source,
        })
    }

    fn endpoint(&self) -> Result<Endpoint, CommandError> {
        let usage = |message: String| Err(CommandError::Usage(message));
        let (server, is_encrypted) = (&self.address, self.is_encrypted());
        if !is_encrypted && !server.starts_with("http://") {
            return usage(format!(
                "--server must be an address like http://127.0.0.1:50051 or https://invitations.example.com, not {server:?}"
            ));
        }
        let has_tls_options = self.server_roots_file.is_some()
            || self.server_name.is_some()
            || self.client_certificate_file.is_some();
        if !is_encrypted && has_tls_options {
            return usage(format!(
                "certificates and roots need an https:// server, and --server is {server:?}"
            ));
        }
        let mut endpoint = Endpoint::from_shared(server.clone())
            .map_err(|error| CommandError::Usage(format!("--server {server:?}: {error}")))?;
        if is_encrypted {
            endpoint = endpoint.tls_config(self.tls_config()?).map_err(|error| {
                let cause = error.source().map(ToString::to_string);
                let cause = cause.unwrap_or_else(|| error.to_string());
                CommandError::Usage(format!(
                    "the certificate, key or root files are not usable: {cause}"
                ))
            })?;
        }
        Ok(endpoint.connect_timeout(CONNECT_TIMEOUT))
    }

    /// Reads the files. No option disables verification.
    fn tls_config(&self) -> Result<ClientTlsConfig, CommandError> {
        let mut config = match &self.server_roots_file {
            None => ClientTlsConfig::new().with_native_roots(),
            Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(path)?)),
        };
        if let Some(name) = &self.server_name {
            config = config.domain_name(name);
        }
        if let (Some(certificate), Some(key)) =
            (&self.client_certificate_file, &self.client_key_file)
        {
            config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        Ok(config)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    bounded_file::read(path, FILE_BYTES_MAX)
        .map_err(|source| CommandError::file("read", path, source))
}
