//! Links: their target comes from the configuration, independent of the headers of a call, and opening a link changes
//! nothing.

use invitations::http::HttpTimeouts;
use invitations::proto::{
    BulkCreateRequest, BulkCreateResponse, ErrorReason, InvitationState, ListSuppressionsRequest,
    NewInvitation, ResendRequest,
};
use prost::Message as _;

use crate::support::http_server::HttpServer;
use crate::support::{
    World, create_request, created, invite_request, item, item_reason, preview_request, raw_grpc,
    resend_request,
};

/// Headers in which proxies pass on the URL of a client. An attacker can send them too.
const FORGED: [(&str, &str); 12] = [
    ("authorization", "Bearer all"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-server", "evil.example"),
    ("x-forwarded-proto", "http"),
    ("x-forwarded-for", "evil.example"),
    ("x-forwarded-prefix", "/evil"),
    ("x-original-url", "https://evil.example/"),
    ("x-rewrite-url", "https://evil.example/"),
    ("x-host", "evil.example"),
    ("forwarded", "host=evil.example;proto=http"),
    ("origin", "https://evil.example"),
    ("referer", "https://evil.example/join"),
];

#[tokio::test]
async fn no_request_header_changes_a_link() {
    let mut world = World::start().await;
    let forged = async |method: &str, message: Vec<u8>| {
        let path = format!("/invitation.v1.InvitationService/{method}");
        let authority = "evil.example:80";
        raw_grpc::call_with_authority(authority, world.address(), &path, &FORGED, &message).await
    };
    let request = BulkCreateRequest {
        return_link: true,
        ..invite_request(&["a@b.co"])
    };
    let answer = forged("BulkCreate", request.encode_to_vec()).await.unwrap();
    let answer = BulkCreateResponse::decode(answer.as_slice()).unwrap();
    let link = &answer.results[0].link;
    assert!(link.starts_with("https://app.example.com/join#token=inv1_"));
    let invitation = created(&answer.results[0]);
    let request = ResendRequest {
        rotate_token: true,
        ..resend_request(&invitation.id)
    };
    let again = forged("Resend", request.encode_to_vec()).await;
    assert!(again.is_ok());
    world.deliver_all().await;
    let mail = world.mail_to("a@b.co");
    let raw = String::from_utf8_lossy(&mail.raw).replace("=\r\n", "");
    for part in [&mail.text, &mail.html, &raw] {
        assert!(!part.contains("evil"));
    }
    assert!(
        mail.text
            .contains("https://app.example.com/join#token=inv1_")
    );
    assert!(mail.text.contains("https://invitations.example.com/u/"));
}

#[tokio::test]
async fn a_redirect_url_must_have_a_listed_origin() {
    let world = World::start().await;
    let refused = [
        "https://evil.example/",
        "https://app.example.com.evil.example/",
        "https://app.example.com@evil.example/",
        "https://evil.example/https://app.example.com/",
        "https://evil.example#app.example.com",
        "https://evil.example?app.example.com",
        "https://evil.example\\@app.example.com/",
        "https:\\\\evil.example",
        "https:/\\evil.example",
        "//evil.example",
        "/\\evil.example",
        "///evil.example",
        "https:evil.example",
        "http://app.example.com/",
        "https://app.example.com:8443/",
        "https://sub.app.example.com/",
        "https://example.com/",
        "https://user@app.example.com/",
        "https://app.example.com\t.evil.example/",
        "https://app.example.com\n",
        " https://app.example.com/",
        "https://app\u{3002}example.com/",
        "https://\u{ff41}pp.example.com/",
        "javascript:alert(1)",
        "javascript://app.example.com/%0aalert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "intent://app.example.com/#Intent;end",
        "app.example.com",
        "*",
    ];
    let with_url = |url: &&str| NewInvitation {
        redirect_url: (*url).to_owned(),
        ..item("a@b.co")
    };
    let request = create_request(refused.iter().map(with_url).collect());
    let answer = world.bulk_create(request).await;
    for (result, url) in answer.results.iter().zip(refused) {
        assert_eq!(
            item_reason(result),
            ErrorReason::RedirectUrlInvalid,
            "{url}"
        );
    }
    let accepted = [
        "https://app.example.com/welcome?next=https://evil.example#x",
        "https://APP.example.com:443/",
    ];
    let request = BulkCreateRequest {
        validate_only: true,
        ..create_request(accepted.iter().map(with_url).collect())
    };
    let answer = world.bulk_create(request).await;
    let invitation = answer.results[0].invitation.as_ref().unwrap();
    assert!(
        invitation
            .redirect_url
            .starts_with("https://app.example.com/")
    );
}

#[tokio::test]
async fn a_scanner_that_follows_every_link_of_an_email_changes_nothing() {
    let mut world = World::start().await;
    let clock = std::sync::Arc::clone(&world.clock);
    let server = HttpServer::open(world.service.clone(), clock, HttpTimeouts::default()).await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let before = world.get(&invitation.id).await;
    let mail = world.mail_to("a@b.co");
    let (_, unsubscribe) = mail
        .text
        .split_once("https://invitations.example.com")
        .unwrap();
    let unsubscribe = unsubscribe.split_whitespace().next().unwrap();
    let paths = [
        unsubscribe.to_owned(),
        format!("{unsubscribe}?List-Unsubscribe=One-Click"),
        format!("/join?token={token}"),
        format!("/accept/{token}"),
        format!("/u/{token}"),
        "/invitation.v1.InvitationService/Accept".to_owned(),
    ];
    for _ in 0..100 {
        let token = token.clone();
        let shown = world.client().preview(preview_request(&token)).await;
        assert_eq!(
            shown.unwrap().into_inner().state(),
            InvitationState::Pending
        );
    }
    for path in &paths {
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
            for _ in 0..5 {
                server.request(method, path, &[], "").await;
            }
        }
    }
    assert_eq!(server.get(unsubscribe).await.status, 200);
    assert!(before == world.get(&invitation.id).await);
    let list = ListSuppressionsRequest::default();
    let list = world
        .suppressions()
        .list_suppressions(list)
        .await
        .unwrap()
        .into_inner();
    assert!(list.suppressions.is_empty());
    world.accept(&token, "new", "a@b.co").await.unwrap();
}
