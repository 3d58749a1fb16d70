//! Mail through a provider that misbehaves. Every case is a real call over TCP.

use std::time::Duration;

use invitations::domain::bounce_address::SentMail;
use invitations::domain::brand::Brand;
use invitations::domain::email_address::EmailAddress;
use invitations::mail::message::{Composer, InvitationMail, MailKind, Sender};
use invitations::mail::outcome::{Fate, Stage};
use invitations::mail::provider::{
    BatchError, BatchOutcome, ProviderConfig, ProviderConfigError, ProviderKind, ProviderLetter,
    ProviderTransport,
};
use serde_json::json;
use time::macros::datetime;
use tokio::net::TcpSocket;
use url::Url;
use uuid::Uuid;

use crate::support::provider::{ProviderReply, ProviderServer};

const KINDS: [ProviderKind; 2] = [ProviderKind::Resend, ProviderKind::Postmark];
const API_KEY: &str = "key-hunter2-hunter2";
/// For answers that must arrive: long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// For answers that must not arrive.
const IMPATIENCE: Duration = Duration::from_secs(2);

fn key(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn reference(number: u32) -> SentMail {
    SentMail {
        invitation_id: Uuid::from_u128(u128::from(number)),
        send_seq: 2,
    }
}

fn address(number: u32) -> String {
    format!("Reader{number}+o'x@example.com")
}

fn letters(count: u32) -> Vec<ProviderLetter> {
    let sender = Sender::parse("Acme, Inc.", "invites@acme.example", None).unwrap();
    let composer = Composer::new(sender).unwrap();
    let letter = |number| {
        let mail = InvitationMail {
            kind: MailKind::Invitation,
            brand: Brand::default(),
            message_id: format!("inv.{number}.1.2@acme.example"),
            date: datetime!(2026-11-22 19:00 UTC),
            to: EmailAddress::parse(&address(number)).unwrap(),
            organization_name: "Nörthwind \"&\" Traders".to_owned(),
            inviter_name: None,
            role: "member".to_owned(),
            note: Some("Hello,\nyou \u{1f44b}".to_owned()),
            link: format!("https://app.acme.example/i#token{number}").into(),
            expires_at: datetime!(2026-12-22 19:00 UTC),
            locale: "en".to_owned(),
            envelope_from: None,
            unsubscribe_url: Some(format!("https://acme.example/u/{number}").into()),
        };
        ProviderLetter {
            letter: composer.write(&mail).unwrap(),
            reference: reference(number),
        }
    };
    (1..=count).map(letter).collect()
}

fn config(kind: ProviderKind, base_url: Url) -> ProviderConfig {
    ProviderConfig {
        kind,
        base_url: Some(base_url),
        api_key: API_KEY.into(),
        timeout: PATIENCE,
        batch_max: kind.batch_max_default(),
        message_stream: "outbound".to_owned(),
        extra_roots_pem: None,
    }
}

fn transport(kind: ProviderKind, server: &ProviderServer) -> ProviderTransport {
    ProviderTransport::new(config(kind, server.base_url())).unwrap()
}

fn impatient(kind: ProviderKind, server: &ProviderServer) -> ProviderTransport {
    let mut config = config(kind, server.base_url());
    config.timeout = IMPATIENCE;
    ProviderTransport::new(config).unwrap()
}

/// The fault of a call with two letters.
async fn fails(transport: &ProviderTransport) -> BatchError {
    let answer = transport.send(key(1), &letters(2)).await;
    answer.expect_err("it succeeded")
}

#[tokio::test]
async fn every_letter_reaches_its_one_reader_with_its_reference() {
    for kind in KINDS {
        let server = ProviderServer::start(kind).await;
        let transport = transport(kind, &server);
        // In a task of its own, as a worker has it: the future must be able to move between threads.
        let call = tokio::spawn(async move { transport.send(key(7), &letters(3)).await });
        let results = call.await.unwrap().unwrap();
        let ids: Vec<String> = results.into_iter().map(|r| r.unwrap().reply).collect();
        let name = format!("{kind:?}").to_lowercase();
        assert_eq!(ids, [1, 2, 3].map(|number| format!("{name}-{number}")));

        let delivered = server.delivered();
        let readers: Vec<_> = delivered.iter().map(|mail| mail.to.clone()).collect();
        assert_eq!(readers, [1, 2, 3].map(address));
        for (mail, sent) in delivered.iter().zip(letters(3)) {
            assert_eq!(mail.reference, Some(sent.reference));
            assert_eq!(mail.subject, sent.letter.subject);
            assert_eq!(mail.html, sent.letter.html);
            assert_eq!(mail.text, sent.letter.text);
        }
    }
}

#[tokio::test]
async fn each_message_object_has_exactly_one_recipient() {
    for kind in KINDS {
        let server = ProviderServer::start(kind).await;
        let sent = transport(kind, &server).send(key(1), &letters(5)).await;
        assert_eq!(sent.unwrap().len(), 5);
        let mails = server.requests()[0].mails();
        assert_eq!(mails.len(), 5);
        for (number, mail) in (1..).zip(&mails) {
            match kind {
                ProviderKind::Resend => assert_eq!(mail["to"], json!([address(number)])),
                ProviderKind::Postmark => assert_eq!(mail["To"], json!(address(number))),
            }
            for shared in ["cc", "bcc", "Cc", "Bcc"] {
                assert!(mail.get(shared).is_none());
            }
        }
    }
}

#[tokio::test]
async fn a_call_says_who_we_are_and_what_it_is() {
    for kind in KINDS {
        let server = ProviderServer::start(kind).await;
        let sent = transport(kind, &server).send(key(7), &letters(1)).await;
        assert!(sent.unwrap()[0].is_ok());
        let call = server.requests().remove(0);
        let mail = call.mails().remove(0);
        assert_eq!(call.header("content-type"), "application/json");
        assert!(call.header("user-agent").starts_with("invitations/"));
        let from = match kind {
            ProviderKind::Resend => {
                assert_eq!(call.header("authorization"), format!("Bearer {API_KEY}"));
                assert_eq!(call.header("idempotency-key"), key(7).to_string());
                assert_eq!(call.header("x-batch-validation"), "permissive");
                assert_eq!(mail["headers"]["X-Entity-Ref-ID"], "inv.1.1.2@acme.example");
                let unsubscribe = &mail["headers"]["List-Unsubscribe"];
                assert_eq!(unsubscribe, "<https://acme.example/u/1>");
                &mail["from"]
            }
            ProviderKind::Postmark => {
                assert_eq!(call.header("x-postmark-server-token"), API_KEY);
                let headers = mail["Headers"].as_array().unwrap();
                let id = json!({"Name": "Message-ID", "Value": "<inv.1.1.2@acme.example>"});
                assert!(headers.contains(&id));
                assert!(headers.contains(&json!({"Name": "X-PM-KeepID", "Value": "true"})));
                assert_eq!(mail["MessageStream"], "outbound");
                assert_eq!(mail["TrackLinks"], "None");
                &mail["From"]
            }
        };
        assert_eq!(from, r#""Acme, Inc." <invites@acme.example>"#);
    }
}

#[tokio::test]
async fn the_same_letters_are_the_same_bytes() {
    for kind in KINDS {
        let server = ProviderServer::start(kind).await;
        for _ in 0..2 {
            // Composed anew by a process of its own, as after a crash.
            let sent = transport(kind, &server).send(key(1), &letters(20)).await;
            assert!(sent.unwrap().iter().all(Result::is_ok));
        }
        let calls = server.requests();
        assert!(calls[0].body == calls[1].body, "the bytes differ");
        assert_eq!(calls[0].headers, calls[1].headers);
    }
}

#[tokio::test]
async fn a_key_that_is_kept_makes_a_repetition_harmless() {
    let server = ProviderServer::start(ProviderKind::Resend).await;
    let transport = transport(ProviderKind::Resend, &server);
    assert_eq!(transport.keeps_keys_for(), Some(Duration::from_hours(24)));
    server.reply_once(ProviderReply::AcceptAndClose);
    assert_eq!(fails(&transport).await.outcome, BatchOutcome::Unknown);
    let first = transport.send(key(1), &letters(2)).await.unwrap();
    let again = transport.send(key(1), &letters(2)).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(server.delivered().len(), 2);

    let other = transport.send(key(1), &letters(1)).await.unwrap_err();
    assert_eq!(other.outcome, BatchOutcome::TakenBefore);
    assert!(other.error.is_ambiguous());
    assert_eq!(server.delivered().len(), 2);

    let postmark = ProviderServer::start(ProviderKind::Postmark).await;
    let transport = self::transport(ProviderKind::Postmark, &postmark);
    assert_eq!(transport.keeps_keys_for(), None);
    postmark.reply_once(ProviderReply::AcceptAndClose);
    assert_eq!(fails(&transport).await.outcome, BatchOutcome::Unknown);
    assert!(transport.send(key(1), &letters(2)).await.is_ok());
    assert_eq!(postmark.delivered().len(), 4);
}

/// What a fault of a whole call must be taken for.
struct Fault {
    answer: ProviderReply,
    outcome: BatchOutcome,
    fate: Fate,
    code: Option<u16>,
    text: &'static str,
}

fn say(status: u16, body: &str) -> ProviderReply {
    ProviderReply::Say(status, Vec::new(), body.to_owned())
}

fn not_taken(answer: ProviderReply, fate: Fate, code: u16, text: &'static str) -> Fault {
    Fault {
        answer,
        outcome: BatchOutcome::NotTaken,
        fate,
        code: Some(code),
        text,
    }
}

fn unknown(answer: ProviderReply, text: &'static str) -> Fault {
    Fault {
        answer,
        outcome: BatchOutcome::Unknown,
        fate: Fate::Retry,
        code: None,
        text,
    }
}

fn faults() -> Vec<Fault> {
    use Fate::{LaneDown, Retry};
    let elsewhere = vec![("location", "/elsewhere".to_owned())];
    let moved = ProviderReply::Say(308, elsewhere, String::new());
    let long = format!("[{}]", " ".repeat(2 * 1024 * 1024));
    vec![
        not_taken(say(400, "{}"), Retry, 400, "400: no reason given"),
        not_taken(say(401, ""), LaneDown, 401, "401: no reason given"),
        not_taken(say(403, "<html>"), LaneDown, 403, "403: no reason given"),
        not_taken(say(404, ""), LaneDown, 404, "404: no reason given"),
        not_taken(say(413, ""), Retry, 413, "413: no reason given"),
        not_taken(say(422, ""), Retry, 422, "422: no reason given"),
        not_taken(say(429, ""), LaneDown, 429, "429: no reason given"),
        not_taken(moved, LaneDown, 308, "308: no reason given"),
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
async fn a_fault_says_what_is_known_of_the_letters() {
    for kind in KINDS {
        for fault in faults() {
            let server = ProviderServer::start(kind).await;
            let transport = transport(kind, &server);
            let case = format!("{kind:?} {:.60?}", fault.answer);
            server.reply_once(fault.answer);
            let failed = fails(&transport).await;
            assert_eq!(failed.outcome, fault.outcome, "{case}");
            assert_eq!(failed.error.fate, fault.fate, "{case}");
            assert_eq!(failed.error.reply_code, fault.code, "{case}");
            assert_eq!(failed.error.text.trim(), fault.text, "{case}");
            assert_eq!(failed.retry_after, None, "{case}");
            let is_unknown = fault.outcome == BatchOutcome::Unknown;
            assert_eq!(failed.error.is_ambiguous(), is_unknown, "{case}");
            assert!(
                is_unknown || failed.error.stage == Stage::Provider,
                "{case}"
            );
            // Nothing is tried twice behind the caller's back.
            assert!(server.requests().len() <= 1, "{case}");
            // And nothing is left over that would spoil the next call.
            assert!(
                transport.send(key(2), &letters(1)).await.unwrap()[0].is_ok(),
                "{case}"
            );
        }
    }
}

#[tokio::test]
async fn a_kept_connection_that_breaks_in_a_call_is_no_reason_to_call_again() {
    for kind in KINDS {
        let server = ProviderServer::start(kind).await;
        let transport = transport(kind, &server);
        server
            .reply_once(ProviderReply::Ok)
            .reply_once(ProviderReply::AcceptAndClose);
        assert!(transport.send(key(2), &letters(1)).await.is_ok());
        assert_eq!(fails(&transport).await.outcome, BatchOutcome::Unknown);
        assert_eq!((server.requests().len(), server.connections()), (2, 1));
    }
}

#[tokio::test]
async fn silence_is_unknown_and_a_refused_connection_is_the_lanes_fault() {
    for kind in KINDS {
        let server = ProviderServer::start(kind).await;
        server.reply_once(ProviderReply::AcceptAndHang);
        let failed = fails(&impatient(kind, &server)).await;
        assert_eq!(failed.outcome, BatchOutcome::Unknown);
        assert_eq!(failed.error.text, "no answer in time");

        // Taken, and nobody listens.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let nobody = format!("http://{}", socket.local_addr().unwrap());
        let config = config(kind, Url::parse(&nobody).unwrap());
        let failed = fails(&ProviderTransport::new(config).unwrap()).await;
        assert_eq!(failed.outcome, BatchOutcome::NotTaken);
        let error = failed.error;
        assert_eq!((error.fate, error.stage), (Fate::LaneDown, Stage::Connect));
        assert!(error.text.contains("refused"), "{}", error.text);
    }
}

#[tokio::test]
async fn a_provider_that_asks_for_a_pause_is_heard_for_an_hour_at_most() {
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
    let transport = transport(ProviderKind::Resend, &server);
    for (mut headers, retry_after, seconds) in cases {
        headers.push(("retry-after", retry_after.to_owned()));
        let body = json!({"name": "rate_limit_exceeded", "message": "Slow down."});
        server.reply_once(ProviderReply::Say(429, headers, body.to_string()));
        let failed = fails(&transport).await;
        let expected = seconds.map(Duration::from_secs);
        assert_eq!(failed.retry_after, expected, "{retry_after}");
        assert!(failed.error.is_throttle());
        assert_eq!(failed.error.text, "429: rate_limit_exceeded Slow down.");
    }
    // A server in trouble may ask as well.
    let headers = vec![("retry-after", "9".to_owned())];
    server.reply_once(ProviderReply::Say(503, headers, String::new()));
    let failed = fails(&transport).await;
    assert_eq!(failed.outcome, BatchOutcome::Unknown);
    assert_eq!(failed.retry_after, Some(Duration::from_secs(9)));
}

#[tokio::test]
async fn a_reason_in_the_answer_tells_more_than_its_status() {
    use BatchOutcome::{InProgress, NotTaken, TakenBefore};
    use Fate::{LaneDown, Retry};
    use ProviderKind::{Postmark, Resend};
    let resend = |name: &str| json!({"name": name, "message": "about x@example.com"}).to_string();
    let postmark =
        |code: u16, message: &str| json!({"ErrorCode": code, "Message": message}).to_string();
    let cases = [
        (
            Resend,
            409,
            resend("invalid_idempotent_request"),
            TakenBefore,
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
            NotTaken,
            Retry,
        ),
        (
            Resend,
            422,
            resend("invalid_from_address"),
            NotTaken,
            LaneDown,
        ),
        (
            Postmark,
            422,
            postmark(402, "Invalid JSON"),
            NotTaken,
            Retry,
        ),
        (
            Postmark,
            422,
            postmark(405, "Not allowed"),
            NotTaken,
            LaneDown,
        ),
        (
            Postmark,
            422,
            postmark(300, "Invalid 'From' address"),
            NotTaken,
            LaneDown,
        ),
        (Postmark, 422, postmark(300, "Invalid"), NotTaken, Retry),
    ];
    for (kind, status, body, outcome, fate) in cases {
        let server = ProviderServer::start(kind).await;
        server.reply_once(say(status, &body));
        let failed = fails(&transport(kind, &server)).await;
        assert_eq!((failed.outcome, failed.error.fate), (outcome, fate));
        assert!(!failed.error.text.contains('@'), "{}", failed.error.text);
        assert!(server.delivered().is_empty());
    }
}

#[tokio::test]
async fn one_bad_letter_is_refused_alone() {
    let server = ProviderServer::start(ProviderKind::Resend).await;
    server.reply_once(ProviderReply::Refuse(vec![(
        1,
        0,
        "Invalid `to`: x@example.com",
    )]));
    let transport = transport(ProviderKind::Resend, &server);
    let results = transport.send(key(1), &letters(3)).await.unwrap();
    assert_eq!(results[0].as_ref().unwrap().reply, "resend-1");
    assert_eq!(results[2].as_ref().unwrap().reply, "resend-2");
    let error = results[1].as_ref().unwrap_err();
    assert_eq!((error.fate, error.stage), (Fate::Discard, Stage::Provider));
    assert_eq!(error.text, "Invalid `to`: [address]");
    assert!(!error.is_inactive_recipient());
    let readers: Vec<_> = server.delivered().into_iter().map(|mail| mail.to).collect();
    assert_eq!(readers, [address(1), address(3)]);
}

#[tokio::test]
async fn postmarks_codes_are_told_apart() {
    let cases = [
        (0, 300, "Illegal email mailbox", Fate::Discard),
        (1, 300, "Invalid 'From' address", Fate::LaneDown),
        (
            2,
            406,
            "Found inactive addresses: reader3+o'x@example.com.",
            Fate::Discard,
        ),
        (3, 406, "inactive", Fate::Discard),
        // Somebody else's address is not suppressed for an answer in the wrong place.
        (
            4,
            406,
            "Found inactive addresses: reader9@example.com.",
            Fate::Retry,
        ),
        (5, 429, "Rate limit exceeded", Fate::Retry),
        (6, 405, "Not allowed to send", Fate::LaneDown),
        (7, 100, "Maintenance", Fate::Retry),
    ];
    let server = ProviderServer::start(ProviderKind::Postmark).await;
    let refused = cases.map(|(place, code, message, _)| (place, code, message));
    server.reply_once(ProviderReply::Refuse(refused.to_vec()));
    let transport = transport(ProviderKind::Postmark, &server);
    let results = transport.send(key(1), &letters(9)).await.unwrap();
    for (place, code, message, fate) in cases {
        let error = results[place].as_ref().unwrap_err();
        assert_eq!(error.fate, fate, "{message}");
        assert_eq!(error.is_ambiguous(), place == 4, "{message}");
        let is_inactive = code == 406 && fate == Fate::Discard;
        assert_eq!(error.is_inactive_recipient(), is_inactive, "{message}");
        assert_eq!(error.is_throttle(), code == 429, "{message}");
    }
    assert_eq!(results[8].as_ref().unwrap().reply, "postmark-1");
}

#[tokio::test]
async fn an_answer_about_somebody_else_is_never_credited() {
    use ProviderKind::{Postmark, Resend};
    let cases = [
        // The one in the middle is where it belongs.
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
    for (kind, answer, credited) in cases {
        let server = ProviderServer::start(kind).await;
        let case = format!("{kind:?} {answer:?}");
        server.reply_once(answer);
        let transport = transport(kind, &server);
        let results = transport.send(key(1), &letters(3)).await.unwrap();
        let is_credited: Vec<_> = results.iter().map(Result::is_ok).collect();
        assert_eq!(is_credited, credited, "{case}");
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            let is_refused = error.stage == Stage::Provider && error.fate == Fate::Discard;
            let is_open = error.is_ambiguous() && error.fate == Fate::Retry;
            assert!(is_open || is_refused, "{case}");
        }
    }
}

#[tokio::test]
async fn a_call_is_as_long_as_its_batch_at_most() {
    for kind in KINDS {
        let server = ProviderServer::start(kind).await;
        let mut config = config(kind, server.base_url());
        config.batch_max = 2;
        let transport = ProviderTransport::new(config).unwrap();
        assert_eq!(transport.batch_max(), 2);
        assert_eq!(transport.send(key(1), &[]).await, Ok(Vec::new()));
        let failed = transport.send(key(1), &letters(3)).await.unwrap_err();
        assert_eq!(failed.outcome, BatchOutcome::NotTaken);
        assert!(server.requests().is_empty());
    }
}

#[tokio::test]
async fn a_certificate_nobody_vouches_for_gets_no_letters() {
    for kind in KINDS {
        let server = ProviderServer::start_tls(kind).await;
        let stranger = ProviderServer::start_tls(kind).await;
        let mut trusting = config(kind, server.base_url());
        trusting.extra_roots_pem = Some(server.certificate_pem().to_owned());
        let mut wary = config(kind, server.base_url());
        wary.extra_roots_pem = Some(stranger.certificate_pem().to_owned());

        let failed = fails(&ProviderTransport::new(wary).unwrap()).await;
        assert_eq!(failed.outcome, BatchOutcome::NotTaken);
        assert_eq!(failed.error.fate, Fate::LaneDown);
        let text = failed.error.text;
        assert!(text.starts_with("invalid peer certificate"), "{text}");
        assert!(server.requests().is_empty());

        let transport = ProviderTransport::new(trusting).unwrap();
        assert!(transport.send(key(1), &letters(1)).await.unwrap()[0].is_ok());
    }
}

#[test]
fn a_configuration_is_refused_before_anything_is_sent() {
    use ProviderConfigError::{ApiKey, BaseUrl, BatchMax, Roots};
    let refusal = |change: fn(&mut ProviderConfig)| {
        let local = Url::parse("http://127.0.0.1:1/prefix/").unwrap();
        let mut config = config(ProviderKind::Resend, local);
        change(&mut config);
        assert!(!format!("{config:?}").contains("hunter2"));
        ProviderTransport::new(config).err()
    };
    assert_eq!(refusal(|_| {}), None);
    for place in [
        "http://api.resend.com",
        "http://127.0.0.1.example.com",
        "ftp://localhost",
        "https://user@api.resend.com",
        "https://api.resend.com/?x=1",
    ] {
        let mut config = config(ProviderKind::Resend, Url::parse(place).unwrap());
        config.extra_roots_pem = None;
        let error = ProviderTransport::new(config).unwrap_err();
        assert_eq!(error, BaseUrl, "{place}");
    }
    assert_eq!(refusal(|config| config.batch_max = 0), Some(BatchMax(100)));
    assert_eq!(
        refusal(|config| config.batch_max = 101),
        Some(BatchMax(100))
    );
    assert_eq!(
        refusal(|config| config.api_key = String::new().into()),
        Some(ApiKey)
    );
    assert_eq!(
        refusal(|config| config.api_key = "a\r\nX-Evil: 1".into()),
        Some(ApiKey)
    );
    let error = refusal(|config| {
        config.base_url = None;
        config.extra_roots_pem =
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned());
    });
    assert!(matches!(error, Some(Roots(_))), "{error:?}");
}
