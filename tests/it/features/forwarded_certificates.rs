//! The header in which a proxy passes on the certificate of its client: which peers are trusted, and which element counts.

use tonic::transport::Endpoint;

use crate::support::deployment::TOKEN;
use crate::support::tls_deployment::{
    API, CREDENTIALS_INVALID, TlsDeployment, WEB, caller_of, endpoint,
};

const HEADER: &str = "x-forwarded-client-cert";
const INGRESS: &str = "spiffe://a.example/ingress";

/// The element of the header that a proxy appends for its client.
fn element(uri: &str) -> String {
    format!("By={INGRESS};Hash=468ed33b;Subject=\"CN=x,O=\\\"A; B\\\"\";URI={uri}")
}

/// The caller that the server sees in a call with these values of the header.
async fn caller_by_header(endpoint: &Endpoint, values: &[&str]) -> String {
    let headers: Vec<_> = values.iter().map(|value| (HEADER, *value)).collect();
    caller_of(endpoint, &headers).await
}

#[tokio::test]
async fn a_trusted_proxy_identifies_the_caller_by_its_own_element_only() {
    let tls = TlsDeployment::create().await;
    let settings = [("INVITATIONS_TRUSTED_PROXIES", "10.0.0.0/8,127.0.0.0/8")];
    let (process, _) = tls.deployment.serve(&settings).await;
    let endpoint = endpoint(&process, None);
    let (web, other) = (element(WEB), element("spiffe://a.example/other"));
    assert_eq!(caller_by_header(&endpoint, &[&web]).await, "web");
    assert_eq!(
        caller_by_header(&endpoint, &[&format!("DNS={API}")]).await,
        "api"
    );
    // A client can forge elements, but the proxy appends its own element after them.
    assert_eq!(
        caller_by_header(&endpoint, &[&format!("{web},{other}")]).await,
        CREDENTIALS_INVALID
    );
    let many = format!("DNS={API},{other}, {other},{web}");
    assert_eq!(caller_by_header(&endpoint, &[&many]).await, "web");
    for malformed in [
        format!("Subject=\"{web}"),
        format!("{web};"),
        format!("{web},"),
        format!("{web};URI={WEB}"),
        format!("URI={WEB};Subject=\"a\"b"),
        "spiffe://a.example/web".to_owned(),
        String::new(),
    ] {
        assert_eq!(
            caller_by_header(&endpoint, &[&malformed]).await,
            CREDENTIALS_INVALID,
            "{malformed}"
        );
    }
    assert_eq!(
        caller_by_header(&endpoint, &[&web, &web]).await,
        CREDENTIALS_INVALID
    );
    assert_eq!(caller_by_header(&endpoint, &[]).await, CREDENTIALS_INVALID);
    // No other header identifies a caller.
    for name in [
        "x-forwarded-for",
        "x-forwarded-user",
        "x-user",
        "x-client-cert",
        "x-spiffe-id",
        "forwarded",
    ] {
        assert_eq!(
            caller_of(&endpoint, &[(name, &web)]).await,
            CREDENTIALS_INVALID,
            "{name}"
        );
    }
    let token = format!("Bearer {TOKEN}");
    for (authorization, expected) in [
        (token.as_str(), "all"),
        ("Bearer nobody", CREDENTIALS_INVALID),
    ] {
        let headers = [("authorization", authorization), (HEADER, &web)];
        assert_eq!(caller_of(&endpoint, &headers).await, expected);
    }
}

#[tokio::test]
async fn the_header_of_an_untrusted_peer_is_ignored() {
    let tls = TlsDeployment::create().await;
    let settings = [
        ("INVITATIONS_TLS_CLIENT_AUTH", "optional"),
        (
            "INVITATIONS_TRUSTED_PROXIES",
            "10.0.0.0/8,spiffe://a.example/ingress",
        ),
    ];
    let process = tls.serve(&settings).await;
    let web = element(WEB);
    let api = tls.client_root.client(&[API]);
    let forged = [(HEADER, web.as_str())];
    for headers in [&[] as &[_], &forged, &[(HEADER, "malformed")]] {
        assert_eq!(tls.caller(&process, Some(&api), headers).await, "api");
        assert_eq!(
            tls.caller(&process, None, headers).await,
            CREDENTIALS_INVALID
        );
    }
    // A proxy with a trusted certificate can pass on the caller, but is not a caller itself.
    let ingress = tls.client_root.client(&[INGRESS]);
    assert_eq!(tls.caller(&process, Some(&ingress), &forged).await, "web");
    assert_eq!(
        tls.caller(&process, Some(&ingress), &[]).await,
        CREDENTIALS_INVALID
    );
}
