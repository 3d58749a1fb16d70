//! Secrets and personal data stay where they belong. Canaries stand for them in every field of every call to a real
//! server process, which logs as much as it can. Then the tests search the log, the refusals, the responses and the
//! database for canaries.

mod canary;
mod canary_deployment;
mod database_text;
mod directory_calls;
mod internal_errors;
mod invitation_calls;
mod untrusted_calls;

use std::collections::BTreeSet;

use self::canary::{
    Canary, PERSONAL_DATA, SECRETS, assert_without_canary, key_canaries, word_canaries,
};
use self::canary_deployment::{CanaryDeployment, RecordedCalls};
use self::database_text::read_tables;
use crate::support::{descriptors, token_payload};

/// Tables whose purpose is to hold personal data.
const PERSONAL_TABLES: [&str; 5] = [
    "invitations",
    "memberships",
    "organizations",
    "user_emails",
    "users",
];

#[tokio::test]
async fn no_canary_is_disclosed_with_text_logs() {
    assert_no_canary_is_disclosed("text").await;
}

#[tokio::test]
async fn no_canary_is_disclosed_with_json_logs() {
    assert_no_canary_is_disclosed("json").await;
}

async fn assert_no_canary_is_disclosed(log_format: &str) {
    let mut service = CanaryDeployment::start(log_format).await;
    let tokens = call_every_method(&mut service).await;
    service.process.terminate().await;
    service.process.wait_for_exit().await;

    let mut secrets = word_canaries(&SECRETS);
    secrets.extend(key_canaries());
    for token in &tokens {
        let proof = token_payload(token).split_off(18);
        secrets.extend([Canary::new(token.as_bytes()), Canary::new(&proof)]);
    }
    let personal_data = word_canaries(&PERSONAL_DATA);
    assert_logs_without_canary(&service, &secrets, &personal_data);
    assert_calls_without_canary(&service.calls, &secrets, &personal_data);
    for (table, text) in read_tables(&service.deployment.database).await {
        assert_without_canary(&table, &text, &secrets);
        if !PERSONAL_TABLES.contains(&table.as_str()) {
            assert_without_canary(&table, &text, &personal_data);
        }
    }
}

/// Calls every method successfully and unsuccessfully, and causes internal errors. Returns the tokens of two invitations.
async fn call_every_method(service: &mut CanaryDeployment) -> [String; 2] {
    service.upsert_directory().await;
    let (ids, first_token) = service.invite().await;
    service.read_and_resend(&ids, &first_token).await;
    service.accept_and_revoke(&ids[2], &first_token).await;
    service.create_by_stream().await;
    let second_token = service.decline().await;
    service.suppress_addresses().await;
    service.report_bounces().await;
    service.read_directory().await;
    service.delete_from_directory().await;
    service.call_as_operator().await;
    service.send_untrusted_messages().await;
    service.send_http_requests(&first_token).await;
    let methods: BTreeSet<String> = descriptors::methods()
        .into_iter()
        .map(|method| method.path)
        .collect();
    assert_eq!(
        service.calls.succeeded_methods, methods,
        "a method has no successful call with canaries; add one above"
    );
    service.cause_internal_errors(&ids[0]).await;
    [first_token, second_token]
}

fn assert_logs_without_canary(
    service: &CanaryDeployment,
    secrets: &[Canary],
    personal_data: &[Canary],
) {
    let log = service.process.log();
    for word in ["panicked", "DEBUG", "sqlx::query", "a call failed"] {
        assert!(log.contains(word), "the log does not contain {word}");
    }
    for (place, text) in [("the log", log), ("the output", service.process.output())] {
        assert_without_canary(place, &text, secrets);
        assert_without_canary(place, &text, personal_data);
        assert!(!text.contains("inv1_"), "{place} contains a token");
    }
}

/// Refusals contain neither secrets nor personal data. Responses contain personal data only.
fn assert_calls_without_canary(
    calls: &RecordedCalls,
    secrets: &[Canary],
    personal_data: &[Canary],
) {
    assert!(calls.refusals.len() > 100);
    for (path, status) in &calls.refusals {
        let details = String::from_utf8_lossy(status.details());
        let text = format!("{}\n{details}\n{:?}", status.message(), status.metadata());
        assert_without_canary(path, &text, secrets);
        assert_without_canary(path, &text, personal_data);
    }
    for (path, bytes) in &calls.responses {
        assert_without_canary(path, &String::from_utf8_lossy(bytes), secrets);
    }
}
