//! A deployment with TLS, whose callers are identified by certificates, tokens, or headers of a proxy.

use invitations::proto::invitation_service_client::InvitationServiceClient;
use tokio::time::timeout;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::certificates::{CertificateAuthority, KeyedCertificate, client_tls};
use crate::support::deployment::{Deployment, is_serving};
use crate::support::requests::list_request;
use crate::support::server_process::ServerProcess;
use crate::support::waiting::{WAIT_MAX, wait_until};

/// The names in the certificates of the callers `web` and `api`.
pub(crate) const WEB: &str = "spiffe://a.example/web";
pub(crate) const API: &str = "api.a.example";
/// Each caller may act only for the organization of its own name.
const CALLERS: &str = r#"
[[caller]]
name = "web"
certificate = "spiffe://a.example/web"
scopes = ["invitations:read"]
organizations = ["web"]

[[caller]]
name = "api"
certificate = "dns:api.a.example"
scopes = ["invitations:read"]
organizations = ["api"]
"#;
/// What [`caller_of`] returns if the TLS handshake fails.
pub(crate) const NO_CONNECTION: &str = "no connection";
pub(crate) const CREDENTIALS_INVALID: &str = "CREDENTIALS_INVALID";

pub(crate) struct TlsDeployment {
    pub(crate) deployment: Deployment,
    /// Issues the certificate of the server.
    pub(crate) server_root: CertificateAuthority,
    /// Issues the certificates of clients.
    pub(crate) client_root: CertificateAuthority,
}

impl TlsDeployment {
    pub(crate) async fn create() -> Self {
        let deployment = Deployment::create().await;
        let callers = std::fs::read_to_string(deployment.path("callers")).unwrap();
        deployment.write("callers", &format!("{callers}{CALLERS}"));
        let client_root = CertificateAuthority::new();
        deployment.write("client-roots", &client_root.pem());
        let tls = Self {
            deployment,
            server_root: CertificateAuthority::new(),
            client_root,
        };
        tls.write_server_certificate(&tls.server_root.server(2100));
        tls
    }

    pub(crate) fn write_server_certificate(&self, certificate: &KeyedCertificate) {
        let deployment = &self.deployment;
        deployment.write("certificate", &certificate.certificate);
        deployment.write("key", &certificate.key);
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.deployment.path(name).display().to_string()
    }

    /// Starts a server with TLS and these settings.
    pub(crate) fn start(&self, settings: &[(&str, &str)]) -> ServerProcess {
        let (certificate, key) = (self.path("certificate"), self.path("key"));
        let roots = self.path("client-roots");
        let mut all = vec![
            ("INVITATIONS_TLS_CERTIFICATE_FILE", certificate.as_str()),
            ("INVITATIONS_TLS_KEY_FILE", &key),
            ("INVITATIONS_TLS_CLIENT_ROOTS_FILE", &roots),
        ];
        all.extend(settings);
        self.deployment.start("serve", &all)
    }

    /// Starts a server with TLS and waits until it serves.
    pub(crate) async fn serve(&self, settings: &[(&str, &str)]) -> ServerProcess {
        let process = self.start(settings);
        process.channel().await;
        let certificate = self.client_root.client(&["health.a.example"]);
        let endpoint = endpoint(&process, Some(self.client_tls(Some(&certificate))));
        let channel = endpoint.connect_lazy();
        wait_until("SERVING", async || is_serving(&channel).await).await;
        process
    }

    /// The TLS of a client that trusts the server and may present a certificate.
    pub(crate) fn client_tls(&self, certificate: Option<&KeyedCertificate>) -> ClientTlsConfig {
        client_tls(&self.server_root, certificate)
    }

    /// The caller that the server sees in a client with this certificate and these headers, see [`caller_of`].
    pub(crate) async fn caller(
        &self,
        process: &ServerProcess,
        certificate: Option<&KeyedCertificate>,
        headers: &[(&'static str, &str)],
    ) -> String {
        let tls = self.client_tls(certificate);
        caller_of(&endpoint(process, Some(tls)), headers).await
    }
}

pub(crate) fn endpoint(process: &ServerProcess, tls: Option<ClientTlsConfig>) -> Endpoint {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{}", process.address())).unwrap();
    match tls {
        Some(tls) => endpoint.tls_config(tls).unwrap(),
        None => endpoint,
    }
}

/// The caller that the server sees over a new connection: `all` (by its token), `web` or `api`. If the server refuses the
/// credentials, the reason. If there is no connection, [`NO_CONNECTION`].
pub(crate) async fn caller_of(endpoint: &Endpoint, headers: &[(&'static str, &str)]) -> String {
    match timeout(WAIT_MAX, endpoint.connect()).await.unwrap() {
        Ok(channel) => caller_over(&channel, headers).await,
        Err(_) => NO_CONNECTION.to_owned(),
    }
}

/// Does the same over an existing connection.
pub(crate) async fn caller_over(channel: &Channel, headers: &[(&'static str, &str)]) -> String {
    let mut reasons = Vec::new();
    for organization_id in ["web", "api"] {
        let mut list = list_request();
        organization_id.clone_into(&mut list.organization_id);
        let mut request = Request::new(list);
        for (name, value) in headers {
            request.metadata_mut().append(*name, value.parse().unwrap());
        }
        let mut client = InvitationServiceClient::new(channel.clone());
        let answer = client.list(request).await;
        let status = answer.err().expect("the organizations do not exist");
        let reason = reason_of(&status);
        if reason == NO_CONNECTION {
            // The next call would reconnect, and the server may have read other certificate files by then.
            return reason;
        }
        reasons.push(reason);
    }
    let (allowed, denied) = ("ORGANIZATION_NOT_FOUND", "ORGANIZATION_DENIED");
    match [reasons[0].as_str(), reasons[1].as_str()] {
        [web, api] if web == allowed && api == allowed => "all".to_owned(),
        [web, api] if web == allowed && api == denied => "web".to_owned(),
        [web, api] if web == denied && api == allowed => "api".to_owned(),
        [web, api] if web == api => web.to_owned(),
        other => panic!("{other:?}"),
    }
}

fn reason_of(status: &Status) -> String {
    match status.get_error_details().error_info() {
        Some(info) => {
            let is_refusal = status.code() == Code::Unauthenticated;
            let is_invalid = info.reason == CREDENTIALS_INVALID;
            assert_eq!(is_refusal, is_invalid, "{status:?}");
            info.reason.clone()
        }
        None => NO_CONNECTION.to_owned(),
    }
}
