//! A provider accepts a call and reports a failure for some of its messages.

use invitations::mail::providers::ProviderKind;
use invitations::mail::send_error::{FailureAction, SendStage};

use crate::support::provider::{ProviderReply, ProviderServer};
use crate::support::provider_batches::{idempotency_key, messages, provider_transport, recipient};

#[tokio::test]
async fn one_invalid_message_is_refused_without_the_others() {
    let server = ProviderServer::start(ProviderKind::Resend).await;
    server.reply_once(ProviderReply::Refuse(vec![(
        1,
        0,
        "Invalid `to`: x@example.com",
    )]));
    let transport = provider_transport(ProviderKind::Resend, &server);
    let results = transport
        .send(idempotency_key(1), &messages(3))
        .await
        .unwrap();
    assert_eq!(results[0].as_ref().unwrap().reply, "resend-1");
    assert_eq!(results[2].as_ref().unwrap().reply, "resend-2");
    let error = results[1].as_ref().unwrap_err();
    assert_eq!(
        (error.action, error.stage),
        (FailureAction::Discard, SendStage::Provider)
    );
    assert_eq!(error.text, "Invalid `to`: [address]");
    assert!(!error.is_inactive_recipient());
    let recipients: Vec<_> = server.delivered().into_iter().map(|mail| mail.to).collect();
    assert_eq!(recipients, [recipient(1), recipient(3)]);
}

#[tokio::test]
async fn error_codes_of_postmark_are_distinguished() {
    let cases = [
        (0, 300, "Illegal email mailbox", FailureAction::Discard),
        (1, 300, "Invalid 'From' address", FailureAction::PauseLane),
        (
            2,
            406,
            "Found inactive addresses: reader3+o'x@example.com.",
            FailureAction::Discard,
        ),
        (3, 406, "inactive", FailureAction::Discard),
        // The address is that of another message, so this result must not suppress the recipient.
        (
            4,
            406,
            "Found inactive addresses: reader9@example.com.",
            FailureAction::Retry,
        ),
        (5, 429, "Rate limit exceeded", FailureAction::Retry),
        (6, 405, "Not allowed to send", FailureAction::PauseLane),
        (7, 100, "Maintenance", FailureAction::Retry),
    ];
    let server = ProviderServer::start(ProviderKind::Postmark).await;
    let refused = cases.map(|(place, code, message, _)| (place, code, message));
    server.reply_once(ProviderReply::Refuse(refused.to_vec()));
    let transport = provider_transport(ProviderKind::Postmark, &server);
    let results = transport
        .send(idempotency_key(1), &messages(9))
        .await
        .unwrap();
    for (place, code, message, fate) in cases {
        let error = results[place].as_ref().unwrap_err();
        assert_eq!(error.action, fate, "{message}");
        assert_eq!(error.is_ambiguous(), place == 4, "{message}");
        let is_inactive = code == 406 && fate == FailureAction::Discard;
        assert_eq!(error.is_inactive_recipient(), is_inactive, "{message}");
        assert_eq!(error.is_throttle(), code == 429, "{message}");
    }
    assert_eq!(results[8].as_ref().unwrap().reply, "postmark-1");
}

#[tokio::test]
async fn a_result_for_another_recipient_is_never_counted_as_success() {
    use ProviderKind::{Postmark, Resend};
    let cases = [
        // The result in the middle keeps its place.
        (
            Postmark,
            ProviderReply::AcceptAndShuffle,
            [false, true, false],
        ),
        (
            Postmark,
            ProviderReply::AcceptAndMisaddress,
            [false, true, true],
        ),
        (Postmark, ProviderReply::AcceptAndOmitLast, [false; 3]),
        (Resend, ProviderReply::AcceptAndOmitLast, [false; 3]),
        (Resend, ProviderReply::Refuse(vec![(9, 0, "?")]), [false; 3]),
        (
            Resend,
            ProviderReply::Refuse(vec![(0, 0, "?"), (0, 0, "?")]),
            [false; 3],
        ),
    ];
    for (kind, answer, expected) in cases {
        let server = ProviderServer::start(kind).await;
        let case = format!("{kind:?} {answer:?}");
        server.reply_once(answer);
        let transport = provider_transport(kind, &server);
        let results = transport
            .send(idempotency_key(1), &messages(3))
            .await
            .unwrap();
        let is_success: Vec<_> = results.iter().map(Result::is_ok).collect();
        assert_eq!(is_success, expected, "{case}");
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            let is_refused =
                error.stage == SendStage::Provider && error.action == FailureAction::Discard;
            let is_open = error.is_ambiguous() && error.action == FailureAction::Retry;
            assert!(is_open || is_refused, "{case}");
        }
    }
}
