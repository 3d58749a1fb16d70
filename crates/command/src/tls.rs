//! Command line options for TLS: the roots that verify the server, and the certificate that identifies the caller.
//!
//! An `https` address needs no options if the system trusts the root of the server. No option disables verification.

use std::fs;
use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::error::CommandError;

#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct TlsArgs {
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
    client_certificate_file: Option<PathBuf>,
    /// Private key (PEM) of the client certificate
    #[arg(
        long,
        env = "INVITATIONS_CLIENT_KEY_FILE",
        value_name = "FILE",
        requires = "client_certificate_file"
    )]
    client_key_file: Option<PathBuf>,
}

impl TlsArgs {
    pub const fn has_client_certificate(&self) -> bool {
        self.client_certificate_file.is_some()
    }

    /// Whether any option is set. Options for TLS are an error for a server without TLS.
    pub const fn is_given(&self) -> bool {
        self.server_roots_file.is_some()
            || self.server_name.is_some()
            || self.client_certificate_file.is_some()
    }

    /// Reads the files.
    pub fn config(&self) -> Result<ClientTlsConfig, CommandError> {
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
    fs::read(path).map_err(|source| CommandError::file("read", path, source))
}
