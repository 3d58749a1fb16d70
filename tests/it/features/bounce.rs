//! Bounce messages: the client command into which a mail server pipes them, and which reports the service trusts.

use std::process::Stdio;

use invitations::proto::{BounceOutcome, ReportBounceRequest};
use tokio::io::AsyncWriteExt as _;
use tonic::Code;

use crate::support::deployment::{Deployment, TOKEN};
use crate::support::feedback::{bounce_address, sent_mail};
use crate::support::programs::invitectl;
use crate::support::{UNKNOWN_ID, World, reason};

/// The address to which the reports in the fixtures were sent.
const PLACEHOLDER: &str = "bounces+envelope@mail.example.com";
const POSTFIX: &str = include_str!("../../fixtures/dsn/postfix.eml");
const RELAYED: &str = include_str!("../../fixtures/dsn/postfix-relayed.eml");
const QMAIL: &str = include_str!("../../fixtures/dsn/qmail.eml");

/// A genuine envelope sender of a message that the database does not have.
fn genuine_address() -> String {
    bounce_address(sent_mail(UNKNOWN_ID, 1))
}

/// The same with a wrong signature.
fn forged_address() -> String {
    let address = genuine_address();
    let at = address.find('@').unwrap() - 1;
    let other = if &address[at..=at] == "a" { "b" } else { "a" };
    format!("{}{other}{}", &address[..at], &address[at + 1..])
}

/// Pipes a message into `invitectl bounce`. Returns the exit status, the standard output and the standard error.
async fn pipe(server: &str, token: &str, recipient: &[&str], mail: &str) -> (i32, String, String) {
    let mut command = invitectl()
        .arg("bounce")
        .args(recipient)
        .env("INVITATIONS_SERVER", server)
        .env("INVITATIONS_TOKEN", token)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = command.stdin.take().unwrap();
    let (written, output) = tokio::join!(
        async move { stdin.write_all(mail.as_bytes()).await },
        command.wait_with_output()
    );
    // A mail server treats a broken pipe as a failure.
    written.unwrap();
    let output = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test]
async fn the_bounce_command_succeeds_for_every_message_that_it_can_hand_in() {
    let deployment = Deployment::create().await;
    let (running, _channel) = deployment.serve(&[]).await;
    let server = format!("http://{}", running.address());
    let (genuine, forged) = (genuine_address(), forged_address());
    let long = format!("{POSTFIX}{}", "x".repeat(3 << 20));
    for (recipient, mail, outcome) in [
        (genuine.as_str(), POSTFIX, "UNKNOWN_MESSAGE"),
        (genuine.as_str(), &long, "UNKNOWN_MESSAGE"),
        (forged.as_str(), POSTFIX, "UNPROVEN"),
        ("bounces@mail.example.com", POSTFIX, "UNPROVEN"),
        (genuine.as_str(), RELAYED, "IGNORED"),
        (genuine.as_str(), QMAIL, "NOT_A_REPORT"),
        (
            genuine.as_str(),
            "Subject: hello?\n\nWho are you?\n",
            "NOT_A_REPORT",
        ),
        (genuine.as_str(), "", "NOT_A_REPORT"),
    ] {
        let (exit, output, hint) = pipe(&server, TOKEN, &["--recipient", recipient], mail).await;
        assert_eq!((exit, output), (0, format!("{outcome}\n")), "{recipient}");
        let is_hinted = hint.starts_with("hint: ") && hint.contains("--recipient");
        assert_eq!(is_hinted, outcome == "UNPROVEN", "{recipient}: {hint}");
        assert_eq!(hint.is_empty(), !is_hinted, "{recipient}: {hint}");
    }
    // Without the option, the command reads the recipient from the headers.
    for (address, outcome) in [(&genuine, "UNKNOWN_MESSAGE\n"), (&forged, "UNPROVEN\n")] {
        let mail = POSTFIX.replace(PLACEHOLDER, address);
        let (exit, output, _) = pipe(&server, TOKEN, &[], &mail).await;
        assert_eq!((exit, output.as_str()), (0, outcome));
    }
}

#[tokio::test]
async fn the_bounce_command_asks_the_mail_server_to_retry_when_the_service_refuses_or_is_away() {
    let deployment = Deployment::create().await;
    let (running, _channel) = deployment.serve(&[]).await;
    let server = format!("http://{}", running.address());
    let recipient = genuine_address();
    let recipient = ["--recipient", recipient.as_str()];
    for (server, token) in [
        (server.as_str(), "not-the-token"),
        (server.as_str(), ""),
        ("http://127.0.0.1:1", TOKEN),
        ("nowhere", TOKEN),
    ] {
        let (exit, output, error) = pipe(server, token, &recipient, POSTFIX).await;
        assert_eq!((exit, output.as_str()), (75, ""), "{server}: {error}");
        // Mail servers log the standard error.
        assert!(
            error.starts_with("error: ") && !error.contains("alice"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_report_is_proven_by_its_address_and_needs_a_caller_with_the_scope() {
    let world = World::start().await;
    let client = |caller| world.feedback_of(caller);
    let request = |message: &str, envelope_recipient: &str| ReportBounceRequest {
        message: message.as_bytes().to_vec(),
        envelope_recipient: envelope_recipient.to_owned(),
    };
    let genuine = genuine_address();
    for (recipient, outcome) in [
        (genuine.clone(), BounceOutcome::UnknownMessage),
        // Servers on the way may change the case and add brackets.
        (
            format!("<{}>", genuine.to_ascii_uppercase()),
            BounceOutcome::UnknownMessage,
        ),
        (forged_address(), BounceOutcome::Unproven),
        (PLACEHOLDER.to_owned(), BounceOutcome::Unproven),
        ("x".repeat(1_000), BounceOutcome::Unproven),
    ] {
        let answer = client("all")
            .report_bounce(request(POSTFIX, &recipient))
            .await;
        assert_eq!(
            answer.unwrap().into_inner().outcome(),
            outcome,
            "{recipient}"
        );
    }
    for (caller, message, recipient, code, expected) in [
        (
            "acme-only",
            POSTFIX,
            genuine.as_str(),
            Code::PermissionDenied,
            "ORGANIZATION_DENIED",
        ),
        (
            "only-suppressions:write",
            POSTFIX,
            &genuine,
            Code::PermissionDenied,
            "SCOPE_MISSING",
        ),
        (
            "only-feedback:write",
            "",
            &genuine,
            Code::InvalidArgument,
            "FIELD_REQUIRED",
        ),
        (
            "all",
            &"x".repeat((1 << 20) + 1),
            &genuine,
            Code::InvalidArgument,
            "FIELD_INVALID",
        ),
        (
            "all",
            POSTFIX,
            &"x".repeat(1_001),
            Code::InvalidArgument,
            "FIELD_INVALID",
        ),
    ] {
        let answer = client(caller)
            .report_bounce(request(message, recipient))
            .await;
        let found = answer.as_ref().err().map(tonic::Status::code);
        assert_eq!((found, reason(answer).as_str()), (Some(code), expected));
    }
}
