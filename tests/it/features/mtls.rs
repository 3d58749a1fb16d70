//! TLS on the gRPC port: which certificates are accepted, and when changed files apply.

use std::time::Duration;

use futures::future::join_all;
use invitations::grpc::limits::{CONNECTIONS_MAX, HANDSHAKE_TIMEOUT};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::certificates::{
    CertificateAuthority, KeyedCertificate, SERVER_NAME, client_tls,
};
use crate::support::deployment::TOKEN;
use crate::support::http2::PREFACE;
use crate::support::programs::invitectl;
use crate::support::tls_deployment::{
    API, CREDENTIALS_INVALID, NO_CONNECTION, TlsDeployment, WEB, caller_of, caller_over, endpoint,
};
use crate::support::waiting::{WAIT_MAX, wait_until};

/// The beginning of a TLS record: its head, which announces 512 bytes, and one byte.
const UNFINISHED_HANDSHAKE: &[u8] = b"\x16\x03\x01\x02\x00\x01";

#[tokio::test]
async fn a_client_with_the_certificate_of_a_caller_is_that_caller() {
    let tls = TlsDeployment::create().await;
    let process = tls.serve(&[]).await;
    let other_root = CertificateAuthority::new();
    let root = &tls.client_root;
    for (certificate, expected) in [
        (root.client(&[WEB]), "web"),
        (root.client(&[WEB, "web.a.example"]), "web"),
        (root.client(&[API]), "api"),
        (root.client(&["https://a.example/web", API]), "api"),
        (
            root.client(&["spiffe://a.example/other"]),
            CREDENTIALS_INVALID,
        ),
        (root.client(&["*.a.example"]), CREDENTIALS_INVALID),
        // A certificate with the names of two callers, and one with two workloads.
        (root.client(&[WEB, API]), CREDENTIALS_INVALID),
        (
            root.client(&[WEB, "spiffe://a.example/other"]),
            CREDENTIALS_INVALID,
        ),
        (other_root.client(&[WEB]), NO_CONNECTION),
        (root.expired_client(&[WEB]), NO_CONNECTION),
        (root.server(2100), NO_CONNECTION),
    ] {
        let caller = tls.caller(&process, Some(&certificate), &[]).await;
        assert_eq!(caller, expected);
    }
    let token = format!("Bearer {TOKEN}");
    assert_eq!(tls.caller(&process, None, &[]).await, NO_CONNECTION);
    let with_token = [("authorization", token.as_str())];
    assert_eq!(tls.caller(&process, None, &with_token).await, NO_CONNECTION);

    // A call with an authorization header is authenticated by that header only.
    let web = root.client(&[WEB]);
    assert_eq!(tls.caller(&process, Some(&web), &with_token).await, "all");
    for authorization in ["Bearer nobody", "Bearer ", "", "Basic YTpi"] {
        let headers = [("authorization", authorization)];
        let caller = tls.caller(&process, Some(&web), &headers).await;
        assert_eq!(caller, CREDENTIALS_INVALID, "{authorization:?}");
    }
}

#[tokio::test]
async fn with_optional_certificates_a_token_is_enough_and_an_invalid_certificate_is_refused() {
    let tls = TlsDeployment::create().await;
    let process = tls
        .serve(&[("INVITATIONS_TLS_CLIENT_AUTH", "optional")])
        .await;
    let token = format!("Bearer {TOKEN}");
    let with_token = [("authorization", token.as_str())];
    assert_eq!(tls.caller(&process, None, &[]).await, CREDENTIALS_INVALID);
    assert_eq!(tls.caller(&process, None, &with_token).await, "all");
    let web = tls.client_root.client(&[WEB]);
    assert_eq!(tls.caller(&process, Some(&web), &[]).await, "web");
    for certificate in [
        CertificateAuthority::new().client(&[WEB]),
        tls.client_root.expired_client(&[WEB]),
    ] {
        let caller = tls.caller(&process, Some(&certificate), &with_token).await;
        assert_eq!(caller, NO_CONNECTION);
    }
}

#[tokio::test]
async fn silent_peers_and_unfinished_handshakes_delay_no_caller_and_are_closed() {
    let tls = TlsDeployment::create().await;
    let process = tls.serve(&[]).await;
    let address = process.address();
    // More than the port accepts.
    rlimit::increase_nofile_limit(16_384).unwrap();
    let mut peers = Vec::new();
    for number in 0..CONNECTIONS_MAX + 100 {
        let mut peer = TcpStream::connect(&address).await.unwrap();
        if number % 2 == 0 {
            // The server may have closed the connection already.
            let _ = peer.write_all(UNFINISHED_HANDSHAKE).await;
        }
        peers.push(peer);
    }
    let web = tls.client_root.client(&[WEB]);
    let caller = timeout(HANDSHAKE_TIMEOUT, tls.caller(&process, Some(&web), &[])).await;
    assert_eq!(
        caller.expect("the server waits for unfinished handshakes"),
        "web"
    );
    let ends = peers.into_iter().map(|mut peer| async move {
        let mut received = Vec::new();
        // The connection may end with a reset, because the server has not read the bytes of some peers.
        let _ = timeout(Duration::from_secs(20), peer.read_to_end(&mut received))
            .await
            .expect("the connection is still open");
    });
    join_all(ends).await;
}

#[tokio::test]
async fn a_client_without_tls_is_refused_at_once() {
    let tls = TlsDeployment::create().await;
    let process = tls.serve(&[]).await;
    let mut peer = TcpStream::connect(process.address()).await.unwrap();
    peer.write_all(PREFACE).await.unwrap();
    let mut received = Vec::new();
    let ended = timeout(HANDSHAKE_TIMEOUT, peer.read_to_end(&mut received)).await;
    ended
        .expect("the server waits for more bytes")
        .expect("the connection was reset");
    // The server sends a fatal TLS alert and no HTTP/2 frame.
    assert_eq!(
        (received.len(), &received[..3], received[5]),
        (7, b"\x15\x03\x03" as &[u8], 2)
    );
    let caller = caller_of(&endpoint(&process, None), &[]).await;
    assert_eq!(caller, NO_CONNECTION);
}

#[tokio::test]
async fn rotated_certificate_files_apply_to_new_connections_and_close_no_open_one() {
    let tls = TlsDeployment::create().await;
    let process = tls.serve(&[]).await;
    let old = tls.client_root.client(&[WEB]);
    let old_endpoint = endpoint(&process, Some(tls.client_tls(Some(&old))));
    let open_channel = old_endpoint.connect().await.unwrap();
    assert_eq!(caller_over(&open_channel, &[]).await, "web");

    // A key that does not match the certificate is ignored.
    let (root, clients) = (CertificateAuthority::new(), CertificateAuthority::new());
    let certificate = root.server(2100);
    tls.deployment.write("key", &certificate.key);
    let unusable = "the TLS files cannot be used, so the previous ones remain in use";
    wait_until("the warning", async || process.log().contains(unusable)).await;
    assert_eq!(caller_of(&old_endpoint, &[]).await, "web");

    tls.deployment
        .write("certificate", &certificate.certificate);
    let new_tls = |certificate: &KeyedCertificate| client_tls(&root, Some(certificate));
    let new_server = endpoint(&process, Some(new_tls(&old)));
    wait_until("the certificate", async || {
        caller_of(&new_server, &[]).await == "web"
    })
    .await;
    // This client trusts only the old root, so its open connection was not replaced.
    assert_eq!(caller_over(&open_channel, &[]).await, "web");
    assert_eq!(caller_of(&old_endpoint, &[]).await, NO_CONNECTION);

    tls.deployment.write("client-roots", &clients.pem());
    let new = endpoint(&process, Some(new_tls(&clients.client(&[WEB]))));
    wait_until("the roots", async || caller_of(&new, &[]).await == "web").await;
    assert_eq!(caller_of(&new_server, &[]).await, NO_CONNECTION);
    assert_eq!(caller_over(&open_channel, &[]).await, "web");
    assert_eq!(process.log().matches(unusable).count(), 1);
}

#[tokio::test]
async fn an_expired_server_certificate_is_logged_and_the_server_starts() {
    let tls = TlsDeployment::create().await;
    tls.write_server_certificate(&tls.server_root.server(2020));
    let process = tls.start(&[]);
    process.channel().await;
    wait_until("the warning", async || {
        process.log().contains("has expired")
    })
    .await;
    tls.write_server_certificate(&tls.server_root.server(2100));
    let web = tls.client_root.client(&[WEB]);
    wait_until("the certificate", async || {
        tls.caller(&process, Some(&web), &[]).await == "web"
    })
    .await;
}

#[tokio::test]
async fn all_problems_of_certificate_files_are_reported_at_start() {
    let tls = TlsDeployment::create().await;
    let refusal = async |settings: &[(&str, &str)]| {
        let mut process = tls.start(settings);
        let status = process.wait_for_exit().await;
        assert_eq!(status.code(), Some(1), "{}", process.log());
        process.log()
    };
    tls.deployment
        .write("key", &CertificateAuthority::new().server(2100).key);
    let log = refusal(&[]).await;
    assert!(
        log.contains("tls-certificate-file, tls-key-file: "),
        "{log}"
    );
    assert!(log.contains("KeyMismatch"), "{log}");

    tls.deployment.write("certificate", "none");
    tls.deployment.write("key", "none");
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

    // A caller with a certificate could never authenticate.
    tls.write_server_certificate(&tls.server_root.server(2100));
    let log = refusal(&[("INVITATIONS_TLS_CLIENT_AUTH", "off")]).await;
    assert!(
        log.contains("authenticates by a certificate, but clients are not asked for one"),
        "{log}"
    );
}

#[tokio::test]
async fn client_commands_present_their_certificate() {
    let tls = TlsDeployment::create().await;
    let process = tls.serve(&[]).await;
    let web = tls.client_root.client(&[WEB]);
    tls.deployment.write("root", &tls.server_root.pem());
    tls.deployment.write("web", &web.certificate);
    tls.deployment.write("web-key", &web.key);
    let server = format!("https://{}", process.address());
    let command = async |arguments: &[&str], certificate: Option<(&str, &str)>| {
        let mut command = invitectl();
        command
            .args(arguments)
            .env("INVITATIONS_SERVER", &server)
            .env("INVITATIONS_SERVER_NAME", SERVER_NAME)
            .env("INVITATIONS_SERVER_ROOTS_FILE", tls.path("root"));
        if let Some((certificate, key)) = certificate {
            command
                .env("INVITATIONS_CLIENT_CERTIFICATE_FILE", tls.path(certificate))
                .env("INVITATIONS_CLIENT_KEY_FILE", tls.path(key));
        }
        let output = timeout(WAIT_MAX, command.output()).await.unwrap().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let own = Some(("web", "web-key"));
    let (code, output) = command(&["health"], own).await;
    assert_eq!(code, Some(0), "{output}");
    // The certificate authenticates the command without a token, and limits it to one organization.
    let (code, output) = command(&["outbox", "backlog"], own).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("ORGANIZATION_DENIED"), "{output}");
    let (code, output) = command(&["health"], None).await;
    assert_eq!(code, Some(1), "{output}");
    let (code, output) = command(&["health"], Some(("web", "web"))).await;
    assert_eq!(code, Some(2), "{output}");
}
