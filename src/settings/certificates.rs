//! Settings of TLS and of the proxies that forward client certificates.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::calls::ProcessRole;
use super::problems::Problems;
use crate::grpc::{ClientCertificates, ServerTls, TlsFiles, TrustedProxies};
use crate::identity::Callers;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TlsClientAuth {
    /// Clients present no certificate
    Off,
    /// Clients may present a certificate; an invalid one is refused
    Optional,
    /// Clients must present a valid certificate
    Required,
}

#[derive(Debug, Clone, Args)]
pub(super) struct CertificateArgs {
    /// File of the server's certificate chain (PEM); without it, connections are not encrypted
    #[arg(long, env = "INVITATIONS_TLS_CERTIFICATE_FILE")]
    tls_certificate_file: Option<PathBuf>,
    /// File of the certificate's private key (PEM)
    #[arg(long, env = "INVITATIONS_TLS_KEY_FILE")]
    tls_key_file: Option<PathBuf>,
    /// File of the root certificates that issue client certificates (PEM)
    #[arg(long, env = "INVITATIONS_TLS_CLIENT_ROOTS_FILE")]
    tls_client_roots_file: Option<PathBuf>,
    /// Whether clients must present certificates; by default `required` if there are client roots, otherwise `off`
    #[arg(long, env = "INVITATIONS_TLS_CLIENT_AUTH", value_enum)]
    tls_client_auth: Option<TlsClientAuth>,
    /// Proxies whose `x-forwarded-client-cert` header is trusted: IP networks or names in their own certificates,
    /// separated by commas
    #[arg(long, env = "INVITATIONS_TRUSTED_PROXIES", value_delimiter = ',')]
    trusted_proxies: Vec<String>,
}

impl CertificateArgs {
    /// Reads the certificates and parses the proxies. `callers` are those of a valid callers file.
    pub(super) fn load(
        &self,
        role: ProcessRole,
        callers: Option<&Callers>,
    ) -> Result<(Option<ServerTls>, TrustedProxies), Vec<String>> {
        let mut problems = Problems::default();
        let tls = problems.check_all(self.tls());
        let proxies = TrustedProxies::parse(&self.trusted_proxies).map_err(|found| {
            let in_setting = |problem| format!("trusted-proxies: {problem}");
            found.into_iter().map(in_setting).collect()
        });
        let proxies = problems.check_all(proxies);
        let (tls, proxies) = problems.into_result(tls.zip(proxies))?;
        let asks_clients = tls.as_ref().is_some_and(ServerTls::asks_clients);
        let unreachable = callers
            .and_then(Callers::known_by_certificate)
            .filter(|_| !asks_clients && proxies.is_empty() && role != ProcessRole::Worker);
        match unreachable {
            None => Ok((tls, proxies)),
            Some(name) => Err(vec![format!(
                "tls-client-roots-file: the caller {name:?} authenticates by a certificate, but clients are not asked for one"
            )]),
        }
    }

    fn tls(&self) -> Result<Option<ServerTls>, Vec<String>> {
        let mut problems = Vec::new();
        let mut missing = |setting: &str, rule: &str| problems.push(format!("{setting}: {rule}"));
        let has_tls = self.tls_certificate_file.is_some() || self.tls_key_file.is_some();
        let client_auth = self.tls_client_auth.unwrap_or_else(|| {
            if self.tls_client_roots_file.is_some() {
                TlsClientAuth::Required
            } else {
                TlsClientAuth::Off
            }
        });
        let asks_clients = client_auth != TlsClientAuth::Off;
        if self.tls_certificate_file.is_none() && (has_tls || asks_clients) {
            missing("tls-certificate-file", "TLS needs a certificate");
        }
        if self.tls_key_file.is_none() && (has_tls || asks_clients) {
            missing("tls-key-file", "TLS needs the key of its certificate");
        }
        if self.tls_client_roots_file.is_none() && asks_clients {
            let rule = "client certificates can only be verified with root certificates";
            missing("tls-client-roots-file", rule);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let (Some(certificate), Some(key)) = (&self.tls_certificate_file, &self.tls_key_file)
        else {
            return Ok(None);
        };
        let roots = self.tls_client_roots_file.clone();
        let clients = roots
            .filter(|_| asks_clients)
            .map(|roots| ClientCertificates {
                roots,
                required: client_auth == TlsClientAuth::Required,
            });
        ServerTls::load(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            clients,
        })
        .map(Some)
    }
}
