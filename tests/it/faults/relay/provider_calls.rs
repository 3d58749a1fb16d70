//! Calls to a provider that fail as a whole. Every case is a real call over TCP.

use std::time::Duration;

use invitations::mail::providers::{BatchOutcome, ProviderKind, ProviderTransport};
use invitations::mail::send_error::{FailureAction, SendStage};
use serde_json::json;
use tokio::net::TcpSocket;
use url::Url;

use crate::support::provider::{ProviderReply, ProviderServer};
use crate::support::provider_batches::{
    PROVIDER_KINDS, failed_call, idempotency_key, impatient_transport, messages, provider_config,
    provider_transport,
};

/// A failure of a whole call, and the error that it must lead to.
struct CallFailure {
    answer: ProviderReply,
    outcome: BatchOutcome,
    fate: FailureAction,
    code: Option<u16>,
    text: &'static str,
}

fn say(status: u16, body: &str) -> ProviderReply {
    ProviderReply::Say(status, Vec::new(), body.to_owned())
}

fn not_taken(
    answer: ProviderReply,
    fate: FailureAction,
    code: u16,
    text: &'static str,
) -> CallFailure {
    CallFailure {
        answer,
        outcome: BatchOutcome::NotSent,
        fate,
        code: Some(code),
        text,
    }
}

fn unknown(answer: ProviderReply, text: &'static str) -> CallFailure {
    CallFailure {
        answer,
        outcome: BatchOutcome::Unknown,
        fate: FailureAction::Retry,
        code: None,
        text,
    }
}

fn call_failures() -> Vec<CallFailure> {
    use FailureAction::{PauseLane, Retry};
    let elsewhere = vec![("location", "/elsewhere".to_owned())];
    let moved = ProviderReply::Say(308, elsewhere, String::new());
    let long = format!("[{}]", " ".repeat(2 * 1024 * 1024));
    vec![
        not_taken(say(400, "{}"), Retry, 400, "400: no reason given"),
        not_taken(say(401, ""), PauseLane, 401, "401: no reason given"),
        not_taken(say(403, "<html>"), PauseLane, 403, "403: no reason given"),
        not_taken(say(404, ""), PauseLane, 404, "404: no reason given"),
        not_taken(say(413, ""), Retry, 413, "413: no reason given"),
        not_taken(say(422, ""), Retry, 422, "422: no reason given"),
        not_taken(say(429, ""), PauseLane, 429, "429: no reason given"),
        not_taken(moved, PauseLane, 308, "308: no reason given"),
        unknown(say(408, ""), "408: no reason given"),
        unknown(say(409, ""), "409: no reason given"),
        unknown(say(500, ""), "500: no reason given"),
        unknown(
            ProviderReply::AcceptAndSay(502, "<html>".to_owned()),
            "502: no reason given",
        ),
        unknown(
            ProviderReply::AcceptAndSay(200, "<html>".to_owned()),
            "the answer cannot be read",
        ),
        unknown(
            ProviderReply::AcceptAndSay(200, long),
            "the answer is too long",
        ),
        unknown(ProviderReply::AcceptAndClose, "the connection broke"),
        unknown(ProviderReply::AcceptAndCut, "the connection broke"),
        unknown(ProviderReply::Close, "the connection broke"),
        unknown(ProviderReply::CloseUnread, "the connection broke"),
    ]
}

#[tokio::test]
async fn a_failed_call_states_whether_its_messages_were_accepted() {
    for kind in PROVIDER_KINDS {
        for expected in call_failures() {
            let server = ProviderServer::start(kind).await;
            let transport = provider_transport(kind, &server);
            let case = format!("{kind:?} {:.60?}", expected.answer);
            server.reply_once(expected.answer);
            let failed = failed_call(&transport).await;
            assert_eq!(failed.outcome, expected.outcome, "{case}");
            assert_eq!(failed.error.action, expected.fate, "{case}");
            assert_eq!(failed.error.reply_code, expected.code, "{case}");
            assert_eq!(failed.error.text.trim(), expected.text, "{case}");
            assert_eq!(failed.retry_after, None, "{case}");
            let is_unknown = expected.outcome == BatchOutcome::Unknown;
            assert_eq!(failed.error.is_ambiguous(), is_unknown, "{case}");
            assert!(
                is_unknown || failed.error.stage == SendStage::Provider,
                "{case}"
            );
            // The transport does not retry by itself.
            assert!(server.requests().len() <= 1, "{case}");
            // The failure does not affect the next call.
            assert!(
                transport
                    .send(idempotency_key(2), &messages(1))
                    .await
                    .unwrap()[0]
                    .is_ok(),
                "{case}"
            );
        }
    }
}

#[tokio::test]
async fn a_reused_connection_that_breaks_during_a_call_causes_no_second_call() {
    for kind in PROVIDER_KINDS {
        let server = ProviderServer::start(kind).await;
        let transport = provider_transport(kind, &server);
        server
            .reply_once(ProviderReply::Ok)
            .reply_once(ProviderReply::AcceptAndClose);
        assert!(
            transport
                .send(idempotency_key(2), &messages(1))
                .await
                .is_ok()
        );
        assert_eq!(failed_call(&transport).await.outcome, BatchOutcome::Unknown);
        assert_eq!((server.requests().len(), server.connections()), (2, 1));
    }
}

#[tokio::test]
async fn a_timeout_is_ambiguous_and_a_refused_connection_is_a_lane_failure() {
    for kind in PROVIDER_KINDS {
        let server = ProviderServer::start(kind).await;
        server.reply_once(ProviderReply::AcceptAndHang);
        let failed = failed_call(&impatient_transport(kind, &server)).await;
        assert_eq!(failed.outcome, BatchOutcome::Unknown);
        assert_eq!(failed.error.text, "no answer in time");

        // A port that is bound and does not listen.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let config = provider_config(kind, Url::parse(&url).unwrap());
        let failed = failed_call(&ProviderTransport::new(config).unwrap()).await;
        assert_eq!(failed.outcome, BatchOutcome::NotSent);
        let error = failed.error;
        assert_eq!(
            (error.action, error.stage),
            (FailureAction::PauseLane, SendStage::Connect)
        );
        assert!(error.text.contains("refused"), "{}", error.text);
    }
}

#[tokio::test]
async fn retry_after_of_a_provider_is_followed_for_at_most_one_hour() {
    let date = |text: &str| vec![("date", text.to_owned())];
    let monday = "Mon, 23 Nov 2026 10:00:00 GMT";
    let cases = [
        (vec![], "3", Some(3)),
        (vec![], "0", Some(0)),
        (vec![], "86400", Some(3_600)),
        (vec![], "99999999999999999999999", None),
        (vec![], "-1", None),
        (vec![], "soon", None),
        (date(monday), "Mon, 23 Nov 2026 10:00:30 GMT", Some(30)),
        (date(monday), "Mon, 23 Nov 2026 09:59:00 GMT", Some(0)),
        (date(monday), "Tue, 24 Nov 2026 10:00:00 GMT", Some(3_600)),
    ];
    let server = ProviderServer::start(ProviderKind::Resend).await;
    let transport = provider_transport(ProviderKind::Resend, &server);
    for (mut headers, retry_after, seconds) in cases {
        headers.push(("retry-after", retry_after.to_owned()));
        let body = json!({"name": "rate_limit_exceeded", "message": "Slow down."});
        server.reply_once(ProviderReply::Say(429, headers, body.to_string()));
        let failed = failed_call(&transport).await;
        let expected = seconds.map(Duration::from_secs);
        assert_eq!(failed.retry_after, expected, "{retry_after}");
        assert!(failed.error.is_throttle());
        assert_eq!(failed.error.text, "429: rate_limit_exceeded Slow down.");
    }
    // The header counts for server errors too.
    let headers = vec![("retry-after", "9".to_owned())];
    server.reply_once(ProviderReply::Say(503, headers, String::new()));
    let failed = failed_call(&transport).await;
    assert_eq!(failed.outcome, BatchOutcome::Unknown);
    assert_eq!(failed.retry_after, Some(Duration::from_secs(9)));
}

#[tokio::test]
async fn an_error_name_in_the_body_refines_the_http_status() {
    use BatchOutcome::{InProgress, KeyReused, NotSent};
    use FailureAction::{PauseLane, Retry};
    use ProviderKind::{Postmark, Resend};
    let resend = |name: &str| json!({"name": name, "message": "about x@example.com"}).to_string();
    let postmark =
        |code: u16, message: &str| json!({"ErrorCode": code, "Message": message}).to_string();
    let cases = [
        (
            Resend,
            409,
            resend("invalid_idempotent_request"),
            KeyReused,
            Retry,
        ),
        (
            Resend,
            409,
            resend("concurrent_idempotent_requests"),
            InProgress,
            Retry,
        ),
        (
            Resend,
            422,
            resend("missing_required_field"),
            NotSent,
            Retry,
        ),
        (
            Resend,
            422,
            resend("invalid_from_address"),
            NotSent,
            PauseLane,
        ),
        (Postmark, 422, postmark(402, "Invalid JSON"), NotSent, Retry),
        (
            Postmark,
            422,
            postmark(405, "Not allowed"),
            NotSent,
            PauseLane,
        ),
        (
            Postmark,
            422,
            postmark(300, "Invalid 'From' address"),
            NotSent,
            PauseLane,
        ),
        (Postmark, 422, postmark(300, "Invalid"), NotSent, Retry),
    ];
    for (kind, status, body, outcome, fate) in cases {
        let server = ProviderServer::start(kind).await;
        server.reply_once(say(status, &body));
        let failed = failed_call(&provider_transport(kind, &server)).await;
        assert_eq!((failed.outcome, failed.error.action), (outcome, fate));
        assert!(!failed.error.text.contains('@'), "{}", failed.error.text);
        assert!(server.delivered().is_empty());
    }
}

#[tokio::test]
async fn a_provider_with_an_untrusted_certificate_receives_no_message() {
    for kind in PROVIDER_KINDS {
        let server = ProviderServer::start_tls(kind).await;
        let other = ProviderServer::start_tls(kind).await;
        let mut trusting = provider_config(kind, server.base_url());
        trusting.extra_roots_pem = Some(server.certificate_pem().to_owned());
        let mut distrusting = provider_config(kind, server.base_url());
        distrusting.extra_roots_pem = Some(other.certificate_pem().to_owned());

        let failed = failed_call(&ProviderTransport::new(distrusting).unwrap()).await;
        assert_eq!(failed.outcome, BatchOutcome::NotSent);
        assert_eq!(failed.error.action, FailureAction::PauseLane);
        let text = failed.error.text;
        assert!(text.starts_with("invalid peer certificate"), "{text}");
        assert!(server.requests().is_empty());

        let transport = ProviderTransport::new(trusting).unwrap();
        assert!(
            transport
                .send(idempotency_key(1), &messages(1))
                .await
                .unwrap()[0]
                .is_ok()
        );
    }
}
