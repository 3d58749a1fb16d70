//! What reports and readers do to invitations: bounces, complaints, unsubscribes, repeated and in any order.

use std::sync::Arc;

use invitations::domain::bounce_address::SentMail;
use invitations::domain::keyring::Keyring;
use invitations::http::HttpTimeouts;
use invitations::proto::{
    BounceOutcome, BulkCreateRequest, DeliveryState, Invitation, ReportBounceRequest,
};
use uuid::Uuid;

use crate::support::http_server::{
    HttpServer, WEBHOOK_PASSWORD, postmark_event, resend_event, unsubscribe_path,
};
use crate::support::{KEYS, OTHER, World, item, item_reason};

const ALICE: &str = "alice@example.net";
const POSTFIX: &str = include_str!("../../fixtures/dsn/postfix.eml");
const DELAYED: &str = include_str!("../../fixtures/dsn/postfix-delayed.eml");
const SUPPRESSED: &str = "ERROR_REASON_EMAIL_SUPPRESSED";

/// A world in which Alice's mail went out, and its HTTP port.
async fn invited() -> (World, HttpServer, Invitation) {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one(ALICE).await;
    let clock = Arc::clone(&world.clock);
    let web = HttpServer::open(world.service.clone(), clock, HttpTimeouts::default()).await;
    (world, web, invitation)
}

async fn state(world: &World, invitation: &Invitation) -> DeliveryState {
    let delivery = world.get(&invitation.id).await.delivery.unwrap();
    delivery.state()
}

/// Whether an address gets no invitation, asked in an organization that never invited it.
async fn is_suppressed(world: &World, email: &str) -> bool {
    let request = BulkCreateRequest {
        organization_id: OTHER.to_owned(),
        inviter_user_id: "eve".to_owned(),
        invitations: vec![item(email)],
        validate_only: true,
        ..Default::default()
    };
    let answer = world.client().bulk_create(request).await.unwrap();
    let result = answer.into_inner().results.remove(0);
    result.error.is_some() && item_reason(&result).as_str_name() == SUPPRESSED
}

fn bounce_address(invitation: &Invitation, send_seq: i32) -> String {
    let invitation_id = Uuid::try_parse(&invitation.id).unwrap();
    let mail = SentMail {
        invitation_id,
        send_seq,
    };
    let keyring = Keyring::parse(KEYS).unwrap();
    mail.bounce_address(&keyring, "bounces@mail.example.com")
        .unwrap()
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
async fn a_permanent_bounce_is_shown_and_stops_mails_to_the_address() {
    let (world, web, invitation) = invited().await;
    let body = resend_event("email.bounced", "Permanent", &invitation.id);
    assert_eq!(web.resend("msg_1", &body).await.status, 204);
    let delivery = world.get(&invitation.id).await.delivery.unwrap();
    assert_eq!(delivery.state(), DeliveryState::Bounced);
    assert_eq!(delivery.last_error, "550 5.1.1 <[address]>: unknown");
    assert_eq!(delivery.last_reply_code, 550);
    assert!(is_suppressed(&world, "Alice@Example.net").await);
    assert!(!is_suppressed(&world, "bob@example.net").await);
}

#[tokio::test]
async fn a_transient_bounce_spares_the_address() {
    let (world, web, invitation) = invited().await;
    let body = resend_event("email.bounced", "Transient", &invitation.id);
    assert_eq!(web.resend("msg_1", &body).await.status, 204);
    assert_eq!(state(&world, &invitation).await, DeliveryState::Bounced);
    assert!(!is_suppressed(&world, ALICE).await);
}

#[tokio::test]
async fn a_complaint_outlasts_whatever_comes_later() {
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
async fn an_event_counts_once() {
    let (world, web, invitation) = invited().await;
    let body = resend_event("email.bounced", "Permanent", &invitation.id);
    for _ in 0..2 {
        assert_eq!(web.resend("msg_1", &body).await.status, 204);
    }
    let mut database = world.database().await;
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM feedback_events")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(events, 1);
}

#[tokio::test]
async fn a_report_that_is_not_believed_changes_nothing() {
    let (world, web, invitation) = invited().await;
    let body = resend_event("email.bounced", "Permanent", &invitation.id);
    let now = 0;
    let answer = web.resend_signed("msg_1", now, "v1,AAAA", &body).await;
    assert_eq!(answer.status, 401);
    let body = postmark_event(1, "Bounce", "HardBounce", &invitation.id);
    assert_eq!(web.postmark("wrong", &body).await.status, 401);
    let genuine = bounce_address(&invitation, 1);
    let forged = genuine.replace('+', "+a");
    assert_eq!(
        report(&world, &forged, POSTFIX).await,
        BounceOutcome::Unproven
    );
    assert_eq!(state(&world, &invitation).await, DeliveryState::Sent);
    assert!(!is_suppressed(&world, ALICE).await);
}

#[tokio::test]
async fn a_report_by_mail_counts_once_and_a_delay_before_it_stops_nothing() {
    let (world, _web, invitation) = invited().await;
    let address = bounce_address(&invitation, 1);
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
async fn scanners_may_look_as_often_as_they_like_and_one_post_stops_invitations() {
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
