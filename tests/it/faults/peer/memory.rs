//! Requests that would use much memory. The server refuses them before it uses the memory, and answers other callers.

use h2::RecvStream;
use invitations::domain::new_invitation::ITEMS_MAX;
use invitations::grpc::limits::MEMORY_BUDGET_MIN;
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::attacked_server::{
    AttackedServer, BULK_CREATE, MIB, REFLECTION, UPSERT_ORGANIZATIONS, large_batch, prefixed,
};
use crate::support::unfinished_call::RawConnection;
use crate::support::user_issuer::UserIssuer;
use crate::support::{World, create_request, item, status_reason};

#[tokio::test]
async fn empty_items_are_refused_before_they_are_decoded() {
    let server = AttackedServer::start().await;
    for size in [4 * MIB, 15 * MIB] {
        let attack = server.send_empty_items(size);
        for (field, status) in server.attack("empty items", attack).await {
            assert_too_many_items(&status, field);
        }
    }
}

#[tokio::test]
async fn lists_inside_of_a_message_are_refused_before_they_are_decoded() {
    let server = AttackedServer::start().await;
    let paths = prefixed(0x12, &[0x0a, 0].repeat(2 * MIB));
    let paths = server.call(UPSERT_ORGANIZATIONS, &paths);
    let status = server.attack("paths of a mask", paths).await;
    assert_too_many_items(&status, "update_mask.paths");
    // Each level of metadata is a map of its own.
    let mut fields = prefixed(0x0a, &[0x0a, 1, b'k', 0x12, 2, 0x20, 1]);
    for _ in 0..14 {
        let value = prefixed(0x2a, &fields);
        let entry = [&[0x0a, 1, b'k'], prefixed(0x12, &value).as_slice()].concat();
        fields = prefixed(0x0a, &entry);
    }
    let items = prefixed(0x22, &prefixed(0x2a, &fields)).repeat(ITEMS_MAX);
    let nested = server.call(BULK_CREATE, &items);
    let status = server.attack("nested metadata", nested).await;
    assert_too_many_items(&status, "invitations");
}

#[tokio::test]
async fn a_method_is_refused_before_its_message_is_sent() {
    let users = UserIssuer::start().await;
    let world = World::builder().issuers(&users.table()).start().await;
    let connection = RawConnection::open(world.address()).await;
    let user = users.token(&world, "ada");
    for (path, token, reason) in [
        (UPSERT_ORGANIZATIONS, user.as_str(), "METHOD_DENIED"),
        (UPSERT_ORGANIZATIONS, "only-audit:read", "SCOPE_MISSING"),
        (BULK_CREATE, "only-audit:read", "SCOPE_MISSING"),
        (BULK_CREATE, "unknown", "CREDENTIALS_INVALID"),
    ] {
        let call = connection.begin(path, token).await;
        assert_eq!(status_reason(&call.status().await), reason);
    }
}

#[tokio::test]
async fn a_second_message_of_a_call_is_refused() {
    let server = AttackedServer::start().await;
    let (_connections, mut calls) = server.begin(BULK_CREATE, 1).await;
    let mut call = calls.remove(0);
    let message = large_batch();
    call.send_prefix(message.len()).await;
    call.send(&message).await;
    call.send_prefix(0).await;
    assert_eq!(status_reason(&call.status().await), "REQUEST_MALFORMED");
}

#[tokio::test]
async fn a_request_that_does_not_end_is_refused() {
    let server = AttackedServer::start().await;
    let message = create_request(vec![item("ada@b.co")]).encode_to_vec();
    let (_connections, mut calls) = server.begin(BULK_CREATE, 2).await;
    // Of one call the message arrives, and of the other nothing.
    calls[0].send_prefix(message.len()).await;
    calls[0].send(&message).await;
    for call in calls {
        let status = call.status().await;
        assert_eq!(status_reason(&status), "DEADLINE_EXCEEDED");
    }
}

#[tokio::test]
async fn large_calls_of_one_caller_leave_memory_for_others() {
    let server = AttackedServer::start().await;
    let attack = server.send_large_calls(12);
    let statuses = server.attack("large calls", attack).await;
    assert!(statuses.iter().any(|status| status.code() == Code::Ok));
    for status in statuses.iter().filter(|status| status.code() != Code::Ok) {
        assert_eq!(status_reason(status), "OVERLOADED", "{status:?}");
        assert!(status.get_details_retry_info().is_some());
    }
    let status = server.call(BULK_CREATE, &large_batch()).await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
}

#[tokio::test]
async fn unfinished_messages_of_one_caller_leave_memory_for_others() {
    let server = AttackedServer::start().await;
    let attack = server.begin_large_messages();
    let statuses = server.attack("unfinished messages", attack).await;
    // The calls that were not refused end because nothing follows.
    let mut reasons: Vec<_> = statuses.iter().map(status_reason).collect();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons, ["DEADLINE_EXCEEDED", "OVERLOADED"]);
    let message = create_request(vec![item("ada@after.example")]).encode_to_vec();
    let status = server.call(BULK_CREATE, &message).await;
    assert_eq!(status.code(), Code::Ok);
}

#[tokio::test]
async fn responses_that_one_caller_does_not_read_leave_memory_for_others() {
    let server = AttackedServer::start_with(MEMORY_BUDGET_MIN).await;
    let attack = server.leave_responses_unread(40);
    let (_connections, responses) = server.attack("unread responses", attack).await;
    let is_refused = |(status, _): &&(Status, RecvStream)| status.code() != Code::Ok;
    let refused: Vec<_> = responses.iter().filter(is_refused).collect();
    assert!((1..30).contains(&refused.len()), "{}", refused.len());
    for (status, _) in refused {
        assert_eq!(status_reason(status), "OVERLOADED", "{status:?}");
    }
}

#[tokio::test]
async fn reflection_streams_without_credentials_use_little_memory_and_end() {
    let server = AttackedServer::start().await;
    for status in server.attack("reflection", server.begin_reflection()).await {
        let code = status.code();
        // Reflection ends a stream whose request cannot be read without an error.
        let is_refused = matches!(code, Code::OutOfRange | Code::Unavailable | Code::Ok);
        assert!(is_refused, "{status:?}");
    }
    // A stream that asks nothing ends, too.
    let (_connections, mut silent) = server.begin(REFLECTION, 1).await;
    assert_eq!(silent.remove(0).status().await.code(), Code::Ok);
}

fn assert_too_many_items(status: &Status, field: &str) {
    assert_eq!(status_reason(status), "TOO_MANY_ITEMS", "{status:?}");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, field);
}
