//! The effect of webhooks, bounce messages and unsubscribe links on deliveries and on the suppression list.

use std::sync::Arc;

use invitations::http::HttpTimeouts;
use invitations::proto::{
    BounceOutcome, BulkCreateRequest, DeliveryState, ErrorReason, Invitation, ReportBounceRequest,
};

use crate::support::feedback::{bounce_address, sent_mail};
use crate::support::http_server::{
    HttpServer, WEBHOOK_PASSWORD, postmark_event, resend_event, unsubscribe_path,
};
use crate::support::{World, invite_to_other_request, item_reason};

const ALICE: &str = "alice@example.net";
const POSTFIX: &str = include_str!("../../fixtures/dsn/postfix.eml");
const DELAYED: &str = include_str!("../../fixtures/dsn/postfix-delayed.eml");

/// A world in which the message to Alice was delivered, and its HTTP port.
async fn invited() -> (World, HttpServer, Invitation) {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one(ALICE).await;
    let clock = Arc::clone(&world.clock);
    let web = HttpServer::open(world.service.clone(), clock, HttpTimeouts::default()).await;
    (world, web, invitation)
}

async fn state(world: &World, invitation: &Invitation) -> DeliveryState {
    world.delivery(&invitation.id).await.state()
}

/// Whether an address cannot be invited by an organization that never invited it.
async fn is_suppressed(world: &World, email: &str) -> bool {
    let request = BulkCreateRequest {
        validate_only: true,
        ..invite_to_other_request(&[email])
    };
    let result = world.bulk_create(request).await.results.remove(0);
    result.error.is_some() && item_reason(&result) == ErrorReason::EmailSuppressed
}

async fn report(world: &World, address: &str, mail: &str) -> BounceOutcome {
    let request = ReportBounceRequest {
        message: mail.as_bytes().to_vec(),
        envelope_recipient: address.to_owned(),
    };
    world
        .feedback_of("all")
        .report_bounce(request)
        .await
        .unwrap()
        .into_inner()
        .outcome()
}

#[tokio::test]
async fn a_permanent_bounce_shows_in_the_delivery_and_suppresses_the_address() {
    let (world, web, invitation) = invited().await;
    let body = resend_event("email.bounced", "Permanent", &invitation.id);
    assert_eq!(web.resend("msg_1", &body).await.status, 204);
    let delivery = world.delivery(&invitation.id).await;
    assert_eq!(delivery.state(), DeliveryState::Bounced);
    assert_eq!(delivery.last_error, "550 5.1.1 <[address]>: unknown");
    assert_eq!(delivery.last_reply_code, 550);
    assert!(is_suppressed(&world, "Alice@Example.net").await);
    assert!(!is_suppressed(&world, "bob@example.net").await);
}

#[tokio::test]
async fn a_transient_bounce_does_not_suppress_the_address() {
    let (world, web, invitation) = invited().await;
    let body = resend_event("email.bounced", "Transient", &invitation.id);
    assert_eq!(web.resend("msg_1", &body).await.status, 204);
    assert_eq!(state(&world, &invitation).await, DeliveryState::Bounced);
    assert!(!is_suppressed(&world, ALICE).await);
}

#[tokio::test]
async fn a_complaint_is_not_replaced_by_later_reports() {
    let (world, web, invitation) = invited().await;
    let complaint = postmark_event(1, "SpamComplaint", "SpamComplaint", &invitation.id);
    let bounce = postmark_event(2, "Bounce", "HardBounce", &invitation.id);
    let soft = postmark_event(3, "Bounce", "SoftBounce", &invitation.id);
    for body in [&complaint, &bounce, &soft, &complaint] {
        assert_eq!(web.postmark(WEBHOOK_PASSWORD, body).await.status, 204);
        assert_eq!(state(&world, &invitation).await, DeliveryState::Complained);
    }
    assert!(is_suppressed(&world, ALICE).await);
}

#[tokio::test]
async fn a_repeated_webhook_counts_once() {
    let (world, web, invitation) = invited().await;
    let body = resend_event("email.bounced", "Permanent", &invitation.id);
    for _ in 0..2 {
        assert_eq!(web.resend("msg_1", &body).await.status, 204);
    }
    assert_eq!(world.count("feedback_events").await, 1);
}

#[tokio::test]
async fn an_unauthenticated_report_changes_nothing() {
    let (world, web, invitation) = invited().await;
    let body = resend_event("email.bounced", "Permanent", &invitation.id);
    let answer = web.resend_signed("msg_1", 0, "v1,AAAA", &body).await;
    assert_eq!(answer.status, 401);
    let body = postmark_event(1, "Bounce", "HardBounce", &invitation.id);
    assert_eq!(web.postmark("wrong", &body).await.status, 401);
    let genuine = bounce_address(sent_mail(&invitation.id, 1));
    let forged = genuine.replace('+', "+a");
    assert_eq!(
        report(&world, &forged, POSTFIX).await,
        BounceOutcome::Unproven
    );
    assert_eq!(state(&world, &invitation).await, DeliveryState::Sent);
    assert!(!is_suppressed(&world, ALICE).await);
}

#[tokio::test]
async fn a_repeated_bounce_message_counts_once_and_a_delay_does_not_suppress() {
    let (world, _web, invitation) = invited().await;
    let address = bounce_address(sent_mail(&invitation.id, 1));
    assert_eq!(
        report(&world, &address, DELAYED).await,
        BounceOutcome::Recorded
    );
    assert!(!is_suppressed(&world, ALICE).await);
    for outcome in [BounceOutcome::Recorded, BounceOutcome::KnownAlready] {
        assert_eq!(report(&world, &address, POSTFIX).await, outcome);
        assert_eq!(state(&world, &invitation).await, DeliveryState::Bounced);
    }
    assert!(is_suppressed(&world, ALICE).await);
}

#[tokio::test]
async fn only_a_post_to_an_unsubscribe_link_suppresses_the_address() {
    let (world, web, _) = invited().await;
    let path = unsubscribe_path("bob@example.net");
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        for _ in 0..20 {
            web.request(method, &path, &[], "").await;
        }
    }
    assert!(!is_suppressed(&world, "bob@example.net").await);
    for _ in 0..2 {
        assert_eq!(web.one_click(&path).await.status, 200);
    }
    assert!(is_suppressed(&world, "Bob@example.net").await);
    assert!(!is_suppressed(&world, "carol@example.net").await);
}
