//! The settings of TLS and of proxies that tell of certificates, checked: their relations, and what their files hold.
//!
//! Part of [`settings`](crate::settings), which has all the others.

use crate::grpc::{ClientCertificates, Tls, TlsFiles, TrustedProxies};
use crate::identity::Callers;
use crate::settings::arguments::{ProcessRole, ServeArgs, TlsClientAuth};

/// How connections are encrypted, and who is believed when they tell of certificates.
pub(crate) type Certificates = (Option<Tls>, TrustedProxies);

impl ServeArgs {
    /// Reads the certificates and the proxies; the callers are those of a callers file that could be read.
    pub(crate) fn certificates(
        &self,
        callers: Option<&Callers>,
    ) -> Result<Certificates, Vec<String>> {
        let mut problems = Vec::new();
        let tls = self.tls().map_err(|found| problems.extend(found));
        let proxies = TrustedProxies::parse(&self.trusted_proxies).map_err(|found| {
            let place = |problem| format!("trusted-proxies: {problem}");
            problems.extend(found.into_iter().map(place));
        });
        let (Ok(tls), Ok(proxies)) = (tls, proxies) else {
            return Err(problems);
        };
        let is_asked = tls.as_ref().is_some_and(Tls::asks_clients);
        let unreachable = callers
            .and_then(Callers::known_by_certificate)
            .filter(|_| !is_asked && proxies.is_empty() && self.role != ProcessRole::Worker);
        match unreachable {
            None => Ok((tls, proxies)),
            Some(name) => Err(vec![format!(
                "tls-client-roots-file: the caller {name:?} is known by a certificate, but callers are not asked for theirs"
            )]),
        }
    }

    fn tls(&self) -> Result<Option<Tls>, Vec<String>> {
        let mut problems = Vec::new();
        let mut missing =
            |setting: &str, reason: &str| problems.push(format!("{setting}: {reason}"));
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
            let reason = "callers cannot be asked for certificates that nobody vouches for";
            missing("tls-client-roots-file", reason);
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
        Tls::load(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            clients,
        })
        .map(Some)
    }
}
