//! Every text of every method: NUL, a mebibyte, text that turns around, marks with nothing to stand on, and bytes that
//! are no text. The protocol's descriptors say which there are, so a new field is covered by itself.

use invitations::proto::{
    BulkCreateResponse, BulkCreateStreamResponse, BulkResendResponse, BulkRevokeResponse,
    RequeueResponse,
};
use prost::Message as _;
use tonic::{Code, Status};

use super::{AS_ALL, assert_status, holds, is_silent, reason_of};
use crate::support::World;
use crate::support::{descriptors, raw_grpc};

/// What every hostile text has in it.
const CANARY: &str = "canary7265";

/// Sends a text to every place there is; returns how often it was refused as a whole.
async fn everywhere(text: &str) -> usize {
    let world = World::start().await;
    let mut refused = 0;
    for method in descriptors::methods() {
        for place in descriptors::text_paths(&method.input) {
            let message = descriptors::with_text(&method.input, &place, text.as_bytes());
            let answer = raw_grpc::call(world.address(), &method.path, &[AS_ALL], &message).await;
            let place = format!("{} {place}", method.path);
            match answer {
                Ok(bytes) => {
                    let told = without_what_is_given_back(&method.path, &bytes);
                    assert!(!holds(&told, CANARY), "{place} is echoed");
                }
                Err(status) => {
                    refused += 1;
                    assert_fault_of_the_caller(&status, &place);
                }
            }
        }
    }
    let mut database = world.database().await;
    sqlx::query("SELECT 1")
        .execute(&mut database)
        .await
        .unwrap();
    refused
}

fn assert_fault_of_the_caller(status: &Status, place: &str) {
    let expected = [
        Code::InvalidArgument,
        Code::NotFound,
        Code::FailedPrecondition,
        Code::PermissionDenied,
    ];
    assert!(expected.contains(&status.code()), "{place}: {status:?}");
    assert!(!reason_of(status).is_empty(), "{place}: {status:?}");
    assert!(is_silent(status, CANARY), "{place} is echoed");
}

/// An answer without the fields that give back what was sent by contract, so that a caller finds its items.
fn without_what_is_given_back(path: &str, bytes: &[u8]) -> Vec<u8> {
    if path.ends_with("/BulkCreate") {
        let mut answer = BulkCreateResponse::decode(bytes).unwrap();
        for result in &mut answer.results {
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
    } else if path.ends_with("/Requeue") {
        let mut answer = RequeueResponse::decode(bytes).unwrap();
        for result in &mut answer.results {
            result.invitation_id.clear();
        }
        answer.encode_to_vec()
    } else {
        bytes.to_vec()
    }
}

#[tokio::test]
async fn a_nul_in_any_text_of_any_method_is_nobodys_fault_but_the_callers() {
    let refused = everywhere(&format!("{CANARY}\0x")).await;
    assert!(refused > 30, "{refused}");
}

#[tokio::test]
async fn a_mebibyte_in_any_text_of_any_method_is_refused_without_an_echo() {
    let text = CANARY.repeat((1 << 20) / CANARY.len());
    let refused = everywhere(&text).await;
    assert!(refused > 30, "{refused}");
}

#[tokio::test]
async fn text_that_turns_around_breaks_no_method() {
    let refused = everywhere(&format!("\u{202e}{CANARY}\u{2066}")).await;
    assert!(refused > 30, "{refused}");
}

#[tokio::test]
async fn marks_with_nothing_to_stand_on_break_no_method() {
    let refused = everywhere("\u{301}\u{489}\u{fe0f}\u{200d}").await;
    assert!(refused > 30, "{refused}");
}

#[tokio::test]
async fn bytes_that_are_no_text_are_a_malformed_request_in_every_method() {
    let world = World::start().await;
    let mut count = 0;
    for method in descriptors::methods() {
        for place in descriptors::text_paths(&method.input) {
            // A lone continuation, a surrogate, an overlong slash and a text cut in a character.
            for bytes in [
                &b"canary\x80"[..],
                b"canary\xed\xa0\x80",
                b"canary\xc0\xaf",
                b"canary\xe2\x82",
            ] {
                let message = descriptors::with_text(&method.input, &place, bytes);
                let answer =
                    raw_grpc::call(world.address(), &method.path, &[AS_ALL], &message).await;
                assert_status(answer, Code::InvalidArgument, "REQUEST_MALFORMED", "canary");
                count += 1;
            }
        }
    }
    assert!(count > 200, "{count}");
}
