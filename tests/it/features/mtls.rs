//! TLS on the port that answers calls: who is let in with which certificate, and what holds when files change.

use std::time::Duration;

use futures::future::join_all;
use invitations::grpc::limits::HANDSHAKE_TIMEOUT;
use invitations::proto::ListRequest;
use invitations::proto::invitation_service_client::InvitationServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::certificates::{
    CertificateAuthority, KeyedCertificate, SERVER_NAME, client_tls,
};
use crate::support::deployment::{Deployment, TOKEN, is_serving};
use crate::support::programs::invitectl;
use crate::support::server_process::ServerProcess;
use crate::support::waiting::{WAIT_MAX, wait_until};

/// What the certificates of callers name.
pub(crate) const WEB: &str = "spiffe://a.example/web";
pub(crate) const API: &str = "api.a.example";
/// Known by certificates; each may act for the organization of its name alone.
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
/// What becomes of a client that TLS turns away.
const TURNED_AWAY: &str = "no connection";
const UNKNOWN: &str = "CREDENTIALS_INVALID";
/// What a handshake begins with: a record of 512 bytes, of which one comes.
const HALF_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A deployment whose callers are known by certificates too, and the roots of both sides.
pub(crate) struct Secured {
    pub(crate) deployment: Deployment,
    /// Vouches for the server.
    root: CertificateAuthority,
    /// Vouches for clients.
    pub(crate) clients: CertificateAuthority,
}

impl Secured {
    pub(crate) async fn new() -> Self {
        let deployment = Deployment::create().await;
        let callers = std::fs::read_to_string(deployment.path("callers")).unwrap();
        deployment.write("callers", &format!("{callers}{CALLERS}"));
        let (root, clients) = (CertificateAuthority::new(), CertificateAuthority::new());
        let secured = Self {
            deployment,
            root,
            clients,
        };
        secured.write_server(&secured.root.server(2100));
        secured
            .deployment
            .write("client-roots", &secured.clients.pem());
        secured
    }

    fn write_server(&self, leaf: &KeyedCertificate) {
        self.deployment.write("certificate", &leaf.certificate);
        self.deployment.write("key", &leaf.key);
    }

    fn path(&self, name: &str) -> String {
        self.deployment.path(name).display().to_string()
    }

    /// Starts the server with TLS and these settings.
    fn start(&self, settings: &[(&str, &str)]) -> ServerProcess {
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

    /// The same, and waits until it serves.
    pub(crate) async fn serve(&self, settings: &[(&str, &str)]) -> ServerProcess {
        let running = self.start(settings);
        running.channel().await;
        let leaf = self.clients.client(&["health.a.example"]);
        let endpoint = endpoint(&running, Some(self.tls(Some(&leaf))));
        let channel = endpoint.connect_lazy();
        wait_until("SERVING", async || is_serving(&channel).await).await;
        running
    }

    pub(crate) fn tls(&self, leaf: Option<&KeyedCertificate>) -> ClientTlsConfig {
        client_tls(&self.root, leaf)
    }

    /// Who a client with this certificate is to the server.
    pub(crate) async fn who(
        &self,
        running: &ServerProcess,
        leaf: Option<&KeyedCertificate>,
        headers: &[(&'static str, &str)],
    ) -> String {
        who(&endpoint(running, Some(self.tls(leaf))), headers).await
    }
}

pub(crate) fn endpoint(running: &ServerProcess, tls: Option<ClientTlsConfig>) -> Endpoint {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{}", running.address())).unwrap();
    match tls {
        Some(tls) => endpoint.tls_config(tls).unwrap(),
        None => endpoint,
    }
}

/// Who calls over a new connection: `all` by the token, `web`, `api`, the reason of a refusal, or nobody at all.
pub(crate) async fn who(endpoint: &Endpoint, headers: &[(&'static str, &str)]) -> String {
    match timeout(WAIT_MAX, endpoint.connect()).await.unwrap() {
        Ok(channel) => who_by(&channel, headers).await,
        Err(_) => TURNED_AWAY.to_owned(),
    }
}

/// The same over a connection that lives.
async fn who_by(channel: &Channel, headers: &[(&'static str, &str)]) -> String {
    let mut told = Vec::new();
    for organization_id in ["web", "api"] {
        let mut request = Request::new(ListRequest {
            organization_id: organization_id.to_owned(),
            ..Default::default()
        });
        for (name, value) in headers {
            request.metadata_mut().append(*name, value.parse().unwrap());
        }
        let mut client = InvitationServiceClient::new(channel.clone());
        let answer = client.list(request).await;
        let status = answer.err().expect("there are no organizations");
        let told_by = told_by(&status);
        if told_by == TURNED_AWAY {
            // The next call would connect anew, maybe to a server that has read its files anew.
            return told_by;
        }
        told.push(told_by);
    }
    let (allowed, denied) = ("ORGANIZATION_NOT_FOUND", "ORGANIZATION_DENIED");
    match [told[0].as_str(), told[1].as_str()] {
        [web, api] if web == allowed && api == allowed => "all".to_owned(),
        [web, api] if web == allowed && api == denied => "web".to_owned(),
        [web, api] if web == denied && api == allowed => "api".to_owned(),
        [web, api] if web == api => web.to_owned(),
        other => panic!("{other:?}"),
    }
}

fn told_by(status: &Status) -> String {
    match status.get_error_details().error_info() {
        Some(info) => {
            let is_refusal = status.code() == Code::Unauthenticated;
            assert_eq!(is_refusal, info.reason == UNKNOWN, "{status:?}");
            info.reason.clone()
        }
        None => TURNED_AWAY.to_owned(),
    }
}

#[tokio::test]
async fn whoever_shows_the_certificate_of_a_caller_is_that_caller() {
    let secured = Secured::new().await;
    let running = secured.serve(&[]).await;
    let stranger = CertificateAuthority::new();
    let root = &secured.clients;
    for (leaf, expected) in [
        (root.client(&[WEB]), "web"),
        (root.client(&[WEB, "web.a.example"]), "web"),
        (root.client(&[API]), "api"),
        (root.client(&["https://a.example/web", API]), "api"),
        (root.client(&["spiffe://a.example/other"]), UNKNOWN),
        (root.client(&["*.a.example"]), UNKNOWN),
        // Two names, two callers; two workloads in one.
        (root.client(&[WEB, API]), UNKNOWN),
        (root.client(&[WEB, "spiffe://a.example/other"]), UNKNOWN),
        (stranger.client(&[WEB]), TURNED_AWAY),
        (root.expired_client(&[WEB]), TURNED_AWAY),
        (root.server(2100), TURNED_AWAY),
    ] {
        let who = secured.who(&running, Some(&leaf), &[]).await;
        assert_eq!(who, expected);
    }
    let token = format!("Bearer {TOKEN}");
    assert_eq!(secured.who(&running, None, &[]).await, TURNED_AWAY);
    let with_token = [("authorization", token.as_str())];
    assert_eq!(secured.who(&running, None, &with_token).await, TURNED_AWAY);

    // Whoever sends an authorization is judged by it alone.
    let web = root.client(&[WEB]);
    assert_eq!(secured.who(&running, Some(&web), &with_token).await, "all");
    for bad in ["Bearer nobody", "Bearer ", "", "Basic YTpi"] {
        let headers = [("authorization", bad)];
        let who = secured.who(&running, Some(&web), &headers).await;
        assert_eq!(who, UNKNOWN, "{bad:?}");
    }
}

#[tokio::test]
async fn where_certificates_are_optional_a_token_does_and_a_bad_certificate_does_not() {
    let secured = Secured::new().await;
    let running = secured
        .serve(&[("INVITATIONS_TLS_CLIENT_AUTH", "optional")])
        .await;
    let token = format!("Bearer {TOKEN}");
    let with_token = [("authorization", token.as_str())];
    assert_eq!(secured.who(&running, None, &[]).await, UNKNOWN);
    assert_eq!(secured.who(&running, None, &with_token).await, "all");
    let web = secured.clients.client(&[WEB]);
    assert_eq!(secured.who(&running, Some(&web), &[]).await, "web");
    for bad in [
        CertificateAuthority::new().client(&[WEB]),
        secured.clients.expired_client(&[WEB]),
    ] {
        let who = secured.who(&running, Some(&bad), &with_token).await;
        assert_eq!(who, TURNED_AWAY);
    }
}

#[tokio::test]
async fn silent_peers_and_half_handshakes_delay_nobody_and_are_let_go() {
    let secured = Secured::new().await;
    let running = secured.serve(&[]).await;
    let address = running.address();
    let mut peers = Vec::new();
    for number in 0..200 {
        let mut peer = TcpStream::connect(&address).await.unwrap();
        if number % 2 == 0 {
            peer.write_all(HALF_HELLO).await.unwrap();
        }
        peers.push(peer);
    }
    let web = secured.clients.client(&[WEB]);
    let who = timeout(HANDSHAKE_TIMEOUT, secured.who(&running, Some(&web), &[])).await;
    assert_eq!(who.expect("it waits for strangers"), "web");
    let ends = peers.into_iter().map(|mut peer| async move {
        let mut said = Vec::new();
        // With a reset or without: some have sent what was never read.
        let _ = timeout(Duration::from_secs(20), peer.read_to_end(&mut said))
            .await
            .expect("the connection is still open");
    });
    join_all(ends).await;
}

#[tokio::test]
async fn a_client_without_tls_is_told_to_go_at_once() {
    let secured = Secured::new().await;
    let running = secured.serve(&[]).await;
    let mut peer = TcpStream::connect(running.address()).await.unwrap();
    peer.write_all(PREFACE).await.unwrap();
    let mut said = Vec::new();
    let ended = timeout(HANDSHAKE_TIMEOUT, peer.read_to_end(&mut said)).await;
    ended.expect("it waits for more").expect("no reset");
    // A fatal alert, and nothing of HTTP/2.
    assert_eq!(
        (said.len(), &said[..3], said[5]),
        (7, b"\x15\x03\x03" as &[u8], 2)
    );
    let who = who(&endpoint(&running, None), &[]).await;
    assert_eq!(who, TURNED_AWAY);
}

#[tokio::test]
async fn rotated_files_hold_for_new_connections_and_end_none() {
    let secured = Secured::new().await;
    let running = secured.serve(&[]).await;
    let old = secured.clients.client(&[WEB]);
    let old_endpoint = endpoint(&running, Some(secured.tls(Some(&old))));
    let living = old_endpoint.connect().await.unwrap();
    assert_eq!(who_by(&living, &[]).await, "web");

    // A key that does not fit changes nothing.
    let (root, clients) = (CertificateAuthority::new(), CertificateAuthority::new());
    let leaf = root.server(2100);
    secured.deployment.write("key", &leaf.key);
    let unusable = "the TLS files cannot be used, so the previous ones remain in use";
    wait_until("the warning", async || running.log().contains(unusable)).await;
    assert_eq!(who(&old_endpoint, &[]).await, "web");

    secured.deployment.write("certificate", &leaf.certificate);
    let tls = |leaf: &KeyedCertificate| client_tls(&root, Some(leaf));
    let new_server = endpoint(&running, Some(tls(&old)));
    wait_until("the certificate", async || {
        who(&new_server, &[]).await == "web"
    })
    .await;
    // It trusts the old root alone, so what answers is the connection of before.
    assert_eq!(who_by(&living, &[]).await, "web");
    assert_eq!(who(&old_endpoint, &[]).await, TURNED_AWAY);

    secured.deployment.write("client-roots", &clients.pem());
    let new = endpoint(&running, Some(tls(&clients.client(&[WEB]))));
    wait_until("the roots", async || who(&new, &[]).await == "web").await;
    assert_eq!(who(&new_server, &[]).await, TURNED_AWAY);
    assert_eq!(who_by(&living, &[]).await, "web");
    assert_eq!(running.log().matches(unusable).count(), 1);
}

#[tokio::test]
async fn an_expired_certificate_is_told_and_does_not_keep_the_server_down() {
    let secured = Secured::new().await;
    secured.write_server(&secured.root.server(2020));
    let running = secured.start(&[]);
    running.channel().await;
    wait_until("the warning", async || {
        running.log().contains("has expired")
    })
    .await;
    secured.write_server(&secured.root.server(2100));
    let web = secured.clients.client(&[WEB]);
    wait_until("the certificate", async || {
        secured.who(&running, Some(&web), &[]).await == "web"
    })
    .await;
}

#[tokio::test]
async fn every_problem_of_certificates_is_told_at_start() {
    let secured = Secured::new().await;
    let refusal = async |settings: &[(&str, &str)]| {
        let mut running = secured.start(settings);
        let status = running.wait_for_exit().await;
        assert_eq!(status.code(), Some(1), "{}", running.log());
        running.log()
    };
    secured
        .deployment
        .write("key", &CertificateAuthority::new().server(2100).key);
    let log = refusal(&[]).await;
    assert!(
        log.contains("tls-certificate-file, tls-key-file: "),
        "{log}"
    );
    assert!(log.contains("KeyMismatch"), "{log}");

    secured.deployment.write("certificate", "none");
    secured.deployment.write("key", "none");
    let proxies = ("INVITATIONS_TRUSTED_PROXIES", "10.0.0.0/8,0.0.0.0/0");
    let nowhere = ("INVITATIONS_TLS_CLIENT_ROOTS_FILE", "/nowhere/roots");
    let log = refusal(&[proxies]).await;
    for problem in [
        "holds no certificate in PEM",
        "holds no private key in PEM",
        "trusted-proxies: entry 2 would trust every address",
    ] {
        assert!(log.contains(problem), "{problem}: {log}");
    }
    let log = refusal(&[nowhere]).await;
    assert!(
        log.contains("tls-client-roots-file /nowhere/roots: "),
        "{log}"
    );

    // A caller that could never call.
    secured.write_server(&secured.root.server(2100));
    let log = refusal(&[("INVITATIONS_TLS_CLIENT_AUTH", "off")]).await;
    assert!(
        log.contains("is known by a certificate, but callers are not asked for theirs"),
        "{log}"
    );
}

#[tokio::test]
async fn the_commands_of_the_client_show_their_certificate() {
    let secured = Secured::new().await;
    let running = secured.serve(&[]).await;
    let web = secured.clients.client(&[WEB]);
    secured.deployment.write("root", &secured.root.pem());
    secured.deployment.write("web", &web.certificate);
    secured.deployment.write("web-key", &web.key);
    let server = format!("https://{}", running.address());
    let command = async |arguments: &[&str], certificate: Option<(&str, &str)>| {
        let mut command = invitectl();
        command
            .args(arguments)
            .env("INVITATIONS_SERVER", &server)
            .env("INVITATIONS_SERVER_NAME", SERVER_NAME)
            .env("INVITATIONS_SERVER_ROOTS_FILE", secured.path("root"));
        if let Some((certificate, key)) = certificate {
            command
                .env(
                    "INVITATIONS_CLIENT_CERTIFICATE_FILE",
                    secured.path(certificate),
                )
                .env("INVITATIONS_CLIENT_KEY_FILE", secured.path(key));
        }
        let output = timeout(WAIT_MAX, command.output()).await.unwrap().unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(told).unwrap())
    };
    let own = Some(("web", "web-key"));
    let (code, told) = command(&["health"], own).await;
    assert_eq!(code, Some(0), "{told}");
    // Known by its certificate without a token, and limited to its organization.
    let (code, told) = command(&["outbox", "backlog"], own).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("ORGANIZATION_DENIED"), "{told}");
    let (code, told) = command(&["health"], None).await;
    assert_eq!(code, Some(1), "{told}");
    let (code, told) = command(&["health"], Some(("web", "web"))).await;
    assert_eq!(code, Some(2), "{told}");
}
