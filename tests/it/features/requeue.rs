//! Requeue sends dead letters again. `GetBacklog` reports how many emails wait, and for how long.

use invitations::delivery::LaneConfig;
use invitations::proto::{
    DeliveryState, ErrorReason, GetBacklogRequest, GetBacklogResponse, InvitationFilter, ItemError,
    RequeueMessagesRequest, RequeueMessagesResponse, RequeueOutcome,
};
use time::Duration;

use crate::support::audit::audit_rows_of;
use crate::support::delivery_attempts::state_and_attempts;
use crate::support::lanes::lane;
use crate::support::relay::{RelayAction, SmtpStep};
use crate::support::{
    OTHER, UNKNOWN_ID, World, created, created_ids, reason, requeue_all, requeue_request,
};

async fn requeue(world: &World, request: RequeueMessagesRequest) -> RequeueMessagesResponse {
    let answer = world.mails().requeue_messages(request).await;
    answer.unwrap().into_inner()
}

fn reasons(answer: &RequeueMessagesResponse) -> Vec<Option<ErrorReason>> {
    let results = answer.results.iter();
    results
        .map(|result| {
            let error = result.error.as_ref().map(ItemError::reason);
            let is_failed = result.outcome() == RequeueOutcome::Failed;
            assert_eq!(error.is_some(), is_failed);
            error
        })
        .collect()
}

fn ids_of(answer: &RequeueMessagesResponse) -> Vec<&str> {
    let ids = answer.results.iter();
    ids.map(|result| result.invitation_id.as_str()).collect()
}

/// Invites addresses whose email the relay refuses permanently.
async fn invite_dead_letters(world: &mut World, emails: &[&str]) -> Vec<String> {
    for _ in emails {
        world
            .relay
            .reply_once(SmtpStep::Rcpt, "554 5.7.1 not from you");
    }
    let response = world.invite(emails).await;
    world.deliver_all().await;
    created_ids(&response)
}

async fn backlog(world: &World) -> GetBacklogResponse {
    let answer = world
        .mails_of("all")
        .get_backlog(GetBacklogRequest {})
        .await;
    answer.unwrap().into_inner()
}

/// The numbers of queued, due, sending and dead emails.
fn counts(backlog: &GetBacklogResponse) -> [i64; 4] {
    [
        &backlog.queued,
        &backlog.due,
        &backlog.sending,
        &backlog.failed,
    ]
    .map(|count| {
        let count = count.as_ref().unwrap();
        assert!(!count.capped);
        count.value
    })
}

/// The age of the oldest waiting email in seconds.
fn oldest(backlog: &GetBacklogResponse) -> Option<i64> {
    backlog.oldest_waiting.as_ref().map(|age| age.seconds)
}

#[tokio::test]
async fn a_requeued_dead_letter_is_sent_as_the_same_message() {
    let mut world = World::start().await;
    let ids = invite_dead_letters(&mut world, &["a@b.co", "b@b.co"]).await;
    assert_eq!(
        state_and_attempts(&world, &ids[0]).await,
        (DeliveryState::Failed, 1)
    );
    let queued_at = world.get(&ids[0]).await.delivery.unwrap().queue_time;
    // Longer than an email is retried.
    world.clock.advance(Duration::days(5));
    let answer = requeue(&world, requeue_request(&ids[..1])).await;
    assert_eq!(reasons(&answer), [None]);
    assert_eq!((answer.requeued_count, answer.failed_count), (1, 0));
    assert_eq!(answer.results[0].invitation_id, ids[0]);
    assert_eq!(
        state_and_attempts(&world, &ids[0]).await,
        (DeliveryState::Queued, 0)
    );
    assert_eq!(
        state_and_attempts(&world, &ids[1]).await,
        (DeliveryState::Failed, 1)
    );
    // The requeued email is retried like a new one: a temporary refusal defers it.
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "450 4.7.1 try again later");
    assert_eq!(world.deliver_all().await, 1);
    assert_eq!(
        state_and_attempts(&world, &ids[0]).await,
        (DeliveryState::Deferred, 1)
    );
    world.clock.advance(Duration::minutes(1));
    assert_eq!(world.deliver_all().await, 1);
    assert_eq!(
        state_and_attempts(&world, &ids[0]).await,
        (DeliveryState::Sent, 2)
    );
    let mail = world.mail_to("a@b.co");
    assert_eq!(mail.message_id, format!("inv.{}.1.1@example.com", ids[0]));
    let raw = String::from_utf8(mail.raw.clone()).unwrap();
    assert!(
        raw.contains("Date: Sun, 22 Nov 2026 18:48:00 +0000"),
        "{raw}"
    );
    assert!(world.get(&ids[0]).await.delivery.unwrap().queue_time == queued_at);
    assert_eq!(world.mailbox().len(), 1);
}

#[tokio::test]
async fn a_requeued_email_is_retried_for_two_days_from_its_requeue() {
    let mut world = World::start().await;
    let ids = invite_dead_letters(&mut world, &["a@b.co"]).await;
    world.clock.advance(Duration::days(5));
    requeue(&world, requeue_request(&ids)).await;
    world.clock.advance(Duration::hours(48) + Duration::SECOND);
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "450 4.7.1 try again later");
    assert_eq!(world.deliver_all().await, 1);
    assert_eq!(
        state_and_attempts(&world, &ids[0]).await,
        (DeliveryState::Failed, 1)
    );
}

#[tokio::test]
async fn only_the_latest_failed_email_of_a_pending_invitation_is_requeued() {
    let mut world = World::start().await;
    let emails = ["dead@b.co", "revoked@b.co", "resent@b.co"];
    let ids = invite_dead_letters(&mut world, &emails).await;
    let sent = created(&world.invite(&["sent@b.co"]).await.results[0]).id;
    world.revoke(&ids[1]).await;
    world.resend(&ids[2]).await;
    assert_eq!(world.deliver_all().await, 2);
    let unknown = UNKNOWN_ID.to_owned();
    let mut requested = ids.clone();
    requested.extend([sent, unknown, "no id".to_owned(), ids[0].clone()]);
    let answer = requeue(&world, requeue_request(&requested)).await;
    let expected = [
        None,
        Some(ErrorReason::InvitationRevoked),
        Some(ErrorReason::MessageNotFailed),
        Some(ErrorReason::MessageNotFailed),
        Some(ErrorReason::InvitationNotFound),
        Some(ErrorReason::FieldInvalid),
        Some(ErrorReason::DuplicateInRequest),
    ];
    assert_eq!(reasons(&answer), expected);
    let again = requeue(&world, requeue_request(&ids[..1])).await;
    assert_eq!(reasons(&again), [Some(ErrorReason::MessageNotFailed)]);
    assert_eq!(world.deliver_all().await, 1);

    let expired = invite_dead_letters(&mut world, &["expired@b.co"]).await;
    world.clock.advance(Duration::days(30));
    let answer = requeue(&world, requeue_request(&expired)).await;
    assert_eq!(reasons(&answer), [Some(ErrorReason::InvitationExpired)]);
    let of_other = RequeueMessagesRequest {
        organization_id: OTHER.to_owned(),
        ..requeue_request(&ids[..1])
    };
    let answer = requeue(&world, of_other).await;
    assert_eq!(reasons(&answer), [Some(ErrorReason::InvitationNotFound)]);
}

#[tokio::test]
async fn all_requeues_the_dead_letters_of_one_organization_newest_first() {
    let mut world = World::start().await;
    let mut ids = invite_dead_letters(&mut world, &["a@b.co", "b@b.co", "c@b.co"]).await;
    world.revoke(&ids.remove(1)).await;
    let elsewhere = RequeueMessagesRequest {
        organization_id: OTHER.to_owned(),
        ..requeue_all()
    };
    assert_eq!(requeue(&world, elsewhere).await.results.len(), 0);
    let answer = requeue(&world, requeue_all()).await;
    ids.reverse();
    assert_eq!(ids_of(&answer), ids, "newest first");
    assert!(answer.next_page_token.is_empty());
    assert_eq!(reasons(&answer), [None, None]);
    assert_eq!(world.deliver_all().await, 2);
    assert_eq!(requeue(&world, requeue_all()).await.results.len(), 0);
}

#[tokio::test]
async fn a_filter_requeues_the_dead_letters_of_an_inviter_an_address_or_a_batch() {
    let mut world = World::start().await;
    let first = invite_dead_letters(&mut world, &["a@b.co", "b@b.co"]).await;
    let batch_id = world.get(&first[0]).await.batch_id;
    let second = invite_dead_letters(&mut world, &["c@b.co"]).await;
    world.invite(&["sent@b.co"]).await;
    world.deliver_all().await;
    let filtered = async |filter: InvitationFilter| {
        let request = RequeueMessagesRequest {
            filter: Some(filter),
            all: false,
            validate_only: true,
            ..requeue_all()
        };
        let answer = requeue(&world, request).await;
        ids_of(&answer)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let newest_first = [&first[1], &first[0]].map(String::clone);
    let of_batch = InvitationFilter {
        batch_id: Some(batch_id.clone()),
        ..Default::default()
    };
    assert_eq!(filtered(of_batch).await, newest_first);
    let of_address = InvitationFilter {
        email: Some("C@b.co".to_owned()),
        ..Default::default()
    };
    assert_eq!(filtered(of_address.clone()).await, second);
    let of_both = InvitationFilter {
        batch_id: Some(batch_id),
        ..of_address
    };
    assert!(filtered(of_both).await.is_empty());
    let of_inviter = |id: &str| InvitationFilter {
        inviter_user_id: Some(id.to_owned()),
        delivery_states: vec![DeliveryState::Failed.into()],
        ..Default::default()
    };
    assert_eq!(filtered(of_inviter("ada")).await.len(), 3);
    assert!(filtered(of_inviter("eve")).await.is_empty());
}

#[tokio::test]
async fn a_dry_run_of_a_requeue_predicts_the_response_and_does_nothing() {
    let mut world = World::start().await;
    let ids = invite_dead_letters(&mut world, &["a@b.co", "b@b.co"]).await;
    world.revoke(&ids[1]).await;
    let sent = created(&world.invite(&["sent@b.co"]).await.results[0]).id;
    world.deliver_all().await;
    let requested = [ids.as_slice(), &[sent, "no id".to_owned()]].concat();
    let dry = RequeueMessagesRequest {
        validate_only: true,
        ..requeue_request(&requested)
    };
    let events = audit_rows_of(&world, async {
        let predicted = requeue(&world, dry).await;
        assert_eq!((predicted.requeued_count, predicted.failed_count), (1, 3));
        assert_eq!(
            state_and_attempts(&world, &ids[0]).await,
            (DeliveryState::Failed, 1)
        );
        assert!(requeue(&world, requeue_request(&requested)).await == predicted);
    })
    .await;
    assert_eq!(events.len(), 1, "the dry run writes no event");
    assert_eq!(world.deliver_all().await, 1);
}

#[tokio::test]
async fn a_requeue_of_all_dead_letters_handles_ten_thousand_and_reports_more() {
    let mut world = World::start().await;
    world.invite_numbered("b0.co", 10_000).await;
    world.invite_numbered("b1.co", 3).await;
    world
        .execute(
            "UPDATE outbox SET state = 'dead';
             UPDATE invitations SET delivery_state = 'failed'",
        )
        .await;
    let first = requeue(&world, requeue_all()).await;
    assert_eq!(
        (first.requeued_count, !first.next_page_token.is_empty()),
        (10_000, true)
    );
    let second = requeue(&world, requeue_all()).await;
    assert_eq!(
        (second.requeued_count, !second.next_page_token.is_empty()),
        (3, false)
    );
    world.may_leave_mail();
}

#[tokio::test]
async fn a_malformed_requeue_request_is_refused() {
    let world = World::start().await;
    let refused = |request: RequeueMessagesRequest| {
        let mut client = world.mails();
        async move { reason(client.requeue_messages(request).await) }
    };
    assert_eq!(refused(requeue_request(&[""; 0])).await, "ITEMS_EMPTY");
    let many = vec!["x".to_owned(); 10_001];
    assert_eq!(refused(requeue_request(&many)).await, "TOO_MANY_ITEMS");
    let both = RequeueMessagesRequest {
        all: true,
        ..requeue_request(&many[..1])
    };
    assert_eq!(refused(both).await, "FIELD_INVALID");
    let unknown = RequeueMessagesRequest {
        organization_id: "unknown".to_owned(),
        ..requeue_all()
    };
    assert_eq!(refused(unknown).await, "ORGANIZATION_NOT_FOUND");
}

#[tokio::test]
async fn the_backlog_counts_waiting_emails_and_reports_the_oldest() {
    let mut world = World::start().await;
    assert_eq!(oldest(&backlog(&world).await), None);
    invite_dead_letters(&mut world, &["dead@b.co"]).await;
    world
        .relay
        .reply_once(SmtpStep::Rcpt, "450 4.7.1 try again later");
    world.invite(&["later@b.co"]).await;
    world.deliver_all().await;
    world.invite(&["a@b.co", "b@b.co"]).await;
    let now = backlog(&world).await;
    assert_eq!(counts(&now), [3, 2, 0, 1]);
    assert_eq!(oldest(&now), Some(0));
    world.clock.advance(Duration::seconds(301));
    let late = backlog(&world).await;
    assert_eq!(counts(&late), [3, 3, 0, 1]);
    assert_eq!(oldest(&late), Some(301));

    // Emails that a worker has leased are still waiting.
    world
        .execute(
            "UPDATE outbox SET state = 'sending', lease_token = gen_random_uuid(), lease_until = '2100-01-01'
              WHERE state = 'queued'",
        )
        .await;
    let leased = backlog(&world).await;
    assert_eq!(counts(&leased), [0, 0, 3, 1]);
    assert_eq!(oldest(&leased), Some(301));
    world.may_leave_mail();
}

#[tokio::test]
async fn the_oldest_waiting_email_ages_while_the_relay_is_down() {
    let mut world = World::builder()
        .lanes(|relay| {
            vec![LaneConfig {
                pause: std::time::Duration::from_mins(10),
                ..lane(relay)
            }]
        })
        .start()
        .await;
    world.invite(&["a@b.co", "b@b.co"]).await;
    for _ in 0..4 {
        let closing = RelayAction::ReplyAndClose("421 4.3.2 closing".to_owned());
        world.relay.act_once(SmtpStep::Greeting, closing);
    }
    for waited in [0, 301, 602] {
        world.deliver_all().await;
        let now = backlog(&world).await;
        // A pause of the lane does not change when the emails are due.
        assert_eq!(counts(&now), [2, 2, 0, 0]);
        assert_eq!(oldest(&now), Some(waited));
        world.clock.advance(Duration::seconds(301));
    }
    assert!(world.mailbox().is_empty());
    world.may_leave_mail();
}

#[tokio::test]
async fn only_a_caller_for_all_organizations_reads_the_backlog() {
    let world = World::start().await;
    let mut limited = world.mails_of("acme-only");
    let refused = limited.get_backlog(GetBacklogRequest {}).await;
    assert_eq!(reason(refused), "ORGANIZATION_DENIED");
}
