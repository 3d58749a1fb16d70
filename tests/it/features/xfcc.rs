//! Headers that tell whose certificate a proxy saw: from whom they are believed, and which of them.

use tonic::transport::Endpoint;

use crate::features::mtls::{API, Secured, WEB, endpoint, who};
use crate::support::deployment::TOKEN;

const HEADER: &str = "x-forwarded-client-cert";
const UNKNOWN: &str = "CREDENTIALS_INVALID";
const INGRESS: &str = "spiffe://a.example/ingress";

/// What a proxy says of a client.
fn element(uri: &str) -> String {
    format!("By={INGRESS};Hash=468ed33b;Subject=\"CN=x,O=\\\"A; B\\\"\";URI={uri}")
}

async fn told(endpoint: &Endpoint, values: &[&str]) -> String {
    let headers: Vec<_> = values.iter().map(|value| (HEADER, *value)).collect();
    who(endpoint, &headers).await
}

#[tokio::test]
async fn a_trusted_proxy_tells_who_calls_by_its_own_element_alone() {
    let secured = Secured::new().await;
    let settings = [("INVITATIONS_TRUSTED_PROXIES", "10.0.0.0/8,127.0.0.0/8")];
    let (running, _) = secured.deployment.serve(&settings).await;
    let endpoint = endpoint(&running, None);
    let (web, other) = (element(WEB), element("spiffe://a.example/other"));
    assert_eq!(told(&endpoint, &[&web]).await, "web");
    assert_eq!(told(&endpoint, &[&format!("DNS={API}")]).await, "api");
    // What a client made up stands before what the proxy wrote.
    assert_eq!(told(&endpoint, &[&format!("{web},{other}")]).await, UNKNOWN);
    let many = format!("DNS={API},{other}, {other},{web}");
    assert_eq!(told(&endpoint, &[&many]).await, "web");
    for malformed in [
        format!("Subject=\"{web}"),
        format!("{web};"),
        format!("{web},"),
        format!("{web};URI={WEB}"),
        format!("URI={WEB};Subject=\"a\"b"),
        "spiffe://a.example/web".to_owned(),
        String::new(),
    ] {
        assert_eq!(told(&endpoint, &[&malformed]).await, UNKNOWN, "{malformed}");
    }
    assert_eq!(told(&endpoint, &[&web, &web]).await, UNKNOWN);
    assert_eq!(told(&endpoint, &[]).await, UNKNOWN);
    // No other header tells who calls.
    for name in [
        "x-forwarded-for",
        "x-forwarded-user",
        "x-user",
        "x-client-cert",
        "x-spiffe-id",
        "forwarded",
    ] {
        assert_eq!(who(&endpoint, &[(name, &web)]).await, UNKNOWN, "{name}");
    }
    let token = format!("Bearer {TOKEN}");
    for (authorization, expected) in [(token.as_str(), "all"), ("Bearer nobody", UNKNOWN)] {
        let headers = [("authorization", authorization), (HEADER, &web)];
        assert_eq!(who(&endpoint, &headers).await, expected);
    }
}

#[tokio::test]
async fn nobody_else_is_believed_or_refused_for_it() {
    let secured = Secured::new().await;
    let settings = [
        ("INVITATIONS_TLS_CLIENT_AUTH", "optional"),
        (
            "INVITATIONS_TRUSTED_PROXIES",
            "10.0.0.0/8,spiffe://a.example/ingress",
        ),
    ];
    let running = secured.serve(&settings).await;
    let web = element(WEB);
    let api = secured.clients.client(&[API]);
    let forged = [(HEADER, web.as_str())];
    for headers in [&[] as &[_], &forged, &[(HEADER, "malformed")]] {
        assert_eq!(secured.who(&running, Some(&api), headers).await, "api");
        assert_eq!(secured.who(&running, None, headers).await, UNKNOWN);
    }
    // A proxy that is known by its certificate speaks for others, and never for itself.
    let ingress = secured.clients.client(&[INGRESS]);
    assert_eq!(secured.who(&running, Some(&ingress), &forged).await, "web");
    assert_eq!(secured.who(&running, Some(&ingress), &[]).await, UNKNOWN);
}
