//! Every text field of every method, with NUL, a mebibyte, bidirectional overrides, lone combining marks, and bytes
//! that are not UTF-8. The fields come from the descriptors, so the tests cover a new field without a change.

use invitations::proto::{
    BulkCreateResponse, BulkCreateStreamResponse, BulkResendResponse, BulkRevokeResponse,
    RequeueMessagesResponse,
};
use prost::Message as _;
use tonic::{Code, Status};

use super::{AS_ALL, assert_call_refused, contains, echoes};
use crate::support::{World, descriptors, raw_grpc, status_reason};

/// A word that the hostile texts contain.
const CANARY: &str = "canary7265";

/// Sends a text in each field. Returns how many calls were refused.
async fn send_in_every_field(text: &str) -> usize {
    let mut world = World::start().await;
    world.may_leave_mail();
    let mut refused = 0;
    for method in descriptors::methods() {
        for place in descriptors::text_paths(&method.input) {
            let message = descriptors::with_text(&method.input, &place, text.as_bytes());
            let answer = raw_grpc::call(world.address(), &method.path, &[AS_ALL], &message).await;
            let place = format!("{} {place}", method.path);
            match answer {
                Ok(bytes) => {
                    let rest = without_returned_fields(&method.path, &bytes);
                    assert!(!contains(&rest, CANARY), "{place} is echoed");
                }
                Err(status) => {
                    refused += 1;
                    assert_refusal_of_invalid_input(&status, &place);
                }
            }
        }
    }
    world.execute("SELECT 1").await;
    refused
}

fn assert_refusal_of_invalid_input(status: &Status, place: &str) {
    let expected = [
        Code::InvalidArgument,
        Code::NotFound,
        Code::FailedPrecondition,
        Code::PermissionDenied,
    ];
    assert!(expected.contains(&status.code()), "{place}: {status:?}");
    assert!(!status_reason(status).is_empty(), "{place}: {status:?}");
    assert!(!echoes(status, CANARY), "{place} is echoed");
}

/// A response without the fields that return the input by design, so that a caller can match its items.
fn without_returned_fields(path: &str, bytes: &[u8]) -> Vec<u8> {
    if path.ends_with("/BulkCreate") {
        let mut answer = BulkCreateResponse::decode(bytes).unwrap();
        for result in &mut answer.results {
            result.key.clear();
            result.email.clear();
            if result.error.is_none() {
                result.invitation = None;
            }
        }
        answer.encode_to_vec()
    } else if path.ends_with("/BulkCreateStream") {
        let mut answer = BulkCreateStreamResponse::decode(bytes).unwrap();
        for result in &mut answer.results {
            result.key.clear();
            result.email.clear();
            if result.error.is_none() {
                result.invitation = None;
            }
        }
        answer.encode_to_vec()
    } else if path.ends_with("/BulkResend") {
        let mut answer = BulkResendResponse::decode(bytes).unwrap();
        for result in &mut answer.results {
            result.invitation_id.clear();
        }
        answer.encode_to_vec()
    } else if path.ends_with("/BulkRevoke") {
        let mut answer = BulkRevokeResponse::decode(bytes).unwrap();
        for result in &mut answer.results {
            result.invitation_id.clear();
        }
        answer.encode_to_vec()
    } else if path.ends_with("/RequeueMessages") {
        let mut answer = RequeueMessagesResponse::decode(bytes).unwrap();
        for result in &mut answer.results {
            result.invitation_id.clear();
        }
        answer.encode_to_vec()
    } else {
        bytes.to_vec()
    }
}

#[tokio::test]
async fn a_nul_in_any_text_field_is_refused_as_invalid_input() {
    let refused = send_in_every_field(&format!("{CANARY}\0x")).await;
    assert!(refused > 30, "{refused}");
}

#[tokio::test]
async fn a_mebibyte_in_any_text_field_is_refused_without_an_echo() {
    let text = CANARY.repeat((1 << 20) / CANARY.len());
    let refused = send_in_every_field(&text).await;
    assert!(refused > 30, "{refused}");
}

#[tokio::test]
async fn bidirectional_overrides_break_no_method() {
    let refused = send_in_every_field(&format!("\u{202e}{CANARY}\u{2066}")).await;
    assert!(refused > 30, "{refused}");
}

#[tokio::test]
async fn lone_combining_marks_break_no_method() {
    let refused = send_in_every_field("\u{301}\u{489}\u{fe0f}\u{200d}").await;
    assert!(refused > 30, "{refused}");
}

#[tokio::test]
async fn bytes_that_are_not_utf_8_are_a_malformed_request_in_every_method() {
    let world = World::start().await;
    let mut count = 0;
    for method in descriptors::methods() {
        for place in descriptors::text_paths(&method.input) {
            // A lone continuation byte, a surrogate, an overlong encoding, and a truncated character.
            for bytes in [
                &b"canary\x80"[..],
                b"canary\xed\xa0\x80",
                b"canary\xc0\xaf",
                b"canary\xe2\x82",
            ] {
                let message = descriptors::with_text(&method.input, &place, bytes);
                let answer =
                    raw_grpc::call(world.address(), &method.path, &[AS_ALL], &message).await;
                assert_call_refused(answer, Code::InvalidArgument, "REQUEST_MALFORMED", "canary");
                count += 1;
            }
        }
    }
    assert!(count > 200, "{count}");
}
