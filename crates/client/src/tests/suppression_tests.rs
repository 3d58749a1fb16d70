//! Tests of the commands `suppression add` and `suppression lift`.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::proto::{AddSuppressionsRequest, LiftSuppressionsRequest, SuppressionReason};

const FILE: &str = "email,reason,expire_time\n\
                    a@b.co,complaint,\n\
                    c@d.co,,2027-01-31T12:00:00Z\n";

/// Runs a command with this file.
async fn run_with_file(
    server: &Arc<FakeServer>,
    file: &str,
    words: &[&str],
) -> (CommandResult, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("addresses.csv");
    fs::write(&path, file).unwrap();
    let words = [words, &["--from", path.to_str().unwrap()]].concat();
    run_command(server, &words).await
}

#[tokio::test]
async fn columns_of_a_file_have_precedence_over_options() {
    let server = Arc::new(FakeServer::default());
    let words = ["suppression", "add", "--reason", "unsubscribed"];
    let options = ["--expires", "2028-01-01T00:00:00Z", "--acting-user", "u-1"];
    let words = [&words[..], &options].concat();
    let (result, out) = run_with_file(&server, FILE, &words).await;
    assert_eq!(result.unwrap(), Exit::Done);
    assert!(out.contains("a@b.co") && out.contains("ADDED"), "{out}");
    let request = &server.requests.all::<AddSuppressionsRequest>()[0];
    assert_eq!(request.acting_user_id, "u-1");
    let rows = request.suppressions.iter().map(|it| {
        let end = it.expire_time.map(|time| time.to_string());
        (it.email.as_str(), it.reason(), end.unwrap_or_default())
    });
    let complaint = SuppressionReason::Complaint;
    let unsubscribed = SuppressionReason::Unsubscribed;
    let expected = [
        ("a@b.co", complaint, "2028-01-01T00:00:00Z".to_owned()),
        ("c@d.co", unsubscribed, "2027-01-31T12:00:00Z".to_owned()),
    ];
    assert!(rows.eq(expected));
}

#[tokio::test]
async fn an_address_without_options_is_added_by_hand_and_without_end() {
    let server = Arc::new(FakeServer::default());
    let words = ["suppression", "add", "a@b.co", "--organization", "acme"];
    run_command(&server, &words).await.0.unwrap();
    let request = &server.requests.all::<AddSuppressionsRequest>()[0];
    assert_eq!(request.organization_id, "acme");
    let added = &request.suppressions[0];
    assert_eq!(added.reason(), SuppressionReason::Unspecified);
    assert!(added.expire_time.is_none());
}

#[tokio::test]
async fn a_file_with_problems_is_not_sent() {
    let server = Arc::new(FakeServer::default());
    let file = "email,reason\na@b.co,bored\n";
    let (result, _) = run_with_file(&server, file, &["suppression", "add"]).await;
    let failure = result.unwrap_err();
    assert!(matches!(failure, CommandError::Usage(_)), "{failure}");
    let message = failure.to_string();
    assert!(message.contains("line 2: reason \"bored\""), "{message}");
    assert!(server.requests.is_empty());
}

#[tokio::test]
async fn a_file_that_was_added_can_be_lifted() {
    let server = Arc::new(FakeServer::default());
    let (result, out) = run_with_file(&server, FILE, &["suppression", "lift", "--json"]).await;
    assert_eq!(result.unwrap(), Exit::Done);
    let request = &server.requests.all::<LiftSuppressionsRequest>()[0];
    assert_eq!(request.emails, ["a@b.co", "c@d.co"]);
    let results: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(results["results"][1]["email"], "c@d.co");
    assert_eq!(results["results"][1]["outcome"], "LIFTED");
}
