//! What a client needs for TLS: who vouches for the server, and the certificate that says who calls.
//!
//! An `https` address is enough where the system knows the server's root. Nothing turns verification off.

use std::fs;
use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::error::CommandError;

/// Files and names for TLS.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct TlsArgs {
    /// File of the roots (PEM) that vouch for an https server, in place of the system's
    #[arg(long, env = "INVITATIONS_SERVER_ROOTS_FILE", value_name = "FILE")]
    server_roots_file: Option<PathBuf>,
    /// Name in the certificate of an https server, if that is not the one of its address
    #[arg(long, env = "INVITATIONS_SERVER_NAME", value_name = "NAME")]
    server_name: Option<String>,
    /// File of the certificate (PEM) to show to an https server; it says who calls if there is no token
    #[arg(
        long,
        env = "INVITATIONS_CLIENT_CERTIFICATE_FILE",
        value_name = "FILE",
        requires = "client_key_file"
    )]
    client_certificate_file: Option<PathBuf>,
    /// File of its private key (PEM)
    #[arg(
        long,
        env = "INVITATIONS_CLIENT_KEY_FILE",
        value_name = "FILE",
        requires = "client_certificate_file"
    )]
    client_key_file: Option<PathBuf>,
}

impl TlsArgs {
    /// Whether a certificate says who calls.
    #[must_use]
    pub const fn has_client_certificate(&self) -> bool {
        self.client_certificate_file.is_some()
    }

    /// Whether any of them was given, which makes sense for an https server alone.
    #[must_use]
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
