//! The SMTP session against a relay that misbehaves. Every case is a real conversation over TCP.

use std::time::Duration;

use invitations::domain::brand::Brand;
use invitations::domain::email_address::EmailAddress;
use invitations::mail::message::{ComposedMail, Composer, InvitationMail, MailKind, Sender};
use invitations::mail::outcome::{Fate, SendError, Stage};
use invitations::mail::smtp::{
    SmtpConfig, SmtpConfigError, SmtpLimits, SmtpTimeouts, SmtpTls, SmtpTransport,
};
use invitations::mail::transport::{Session, Transport};
use time::macros::datetime;

use crate::relay::{Act, Encryption, On, Relay};

const PASSWORD: &str = "hunter2-hunter2";
/// For replies that must arrive: long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// For replies that must not arrive.
const IMPATIENCE: Duration = Duration::from_millis(200);

fn mail(number: u32) -> ComposedMail {
    mail_with_note(number, "Hello")
}

fn mail_with_note(number: u32, note: &str) -> ComposedMail {
    let sender = Sender::parse("Acme", "invites@acme.example", None).unwrap();
    let mail = InvitationMail {
        kind: MailKind::Invitation,
        brand: Brand::default(),
        message_id: format!("inv.{number}.1.1@acme.example"),
        date: datetime!(2026-11-22 19:00 UTC),
        to: EmailAddress::parse(&format!("reader{number}@example.com")).unwrap(),
        organization_name: "Northwind".to_owned(),
        inviter_name: None,
        role: "member".to_owned(),
        note: Some(note.to_owned()),
        link: "https://app.acme.example/i#token".to_owned().into(),
        expires_at: datetime!(2026-12-22 19:00 UTC),
        locale: "en".to_owned(),
        envelope_from: None,
        unsubscribe_url: None,
    };
    Composer::new(sender).unwrap().compose(&mail).unwrap()
}

fn config(relay: &Relay, tls: SmtpTls) -> SmtpConfig {
    SmtpConfig {
        host: "localhost".to_owned(),
        port: relay.port(),
        tls,
        extra_roots_pem: Some(relay.certificate_pem().to_owned()),
        credentials: (tls != SmtpTls::None)
            .then(|| ("acme".to_owned(), PASSWORD.to_owned().into())),
        hello_name: "worker.acme.example".to_owned(),
        timeouts: SmtpTimeouts {
            connect: PATIENCE,
            greeting: PATIENCE,
            command: PATIENCE,
            data: PATIENCE,
            body: PATIENCE,
        },
        limits: SmtpLimits::default(),
    }
}

fn open(config: SmtpConfig) -> Session {
    Transport::Smtp(SmtpTransport::new(config).unwrap()).open()
}

fn plain(relay: &Relay) -> Session {
    open(config(relay, SmtpTls::None))
}

fn impatient(relay: &Relay) -> Session {
    let mut config = config(relay, SmtpTls::None);
    config.timeouts.command = IMPATIENCE;
    config.timeouts.data = IMPATIENCE;
    config.timeouts.body = IMPATIENCE;
    open(config)
}

async fn fails(session: &mut Session, mail: &ComposedMail) -> SendError {
    session.send(mail).await.expect_err("it was accepted")
}

async fn is_delivered(session: &mut Session, number: u32) {
    session.send(&mail(number)).await.expect("it was refused");
}

/// The recipients of the messages the relay has received whole.
fn recipients(relay: &Relay) -> Vec<String> {
    let taken = relay.taken();
    taken.into_iter().map(|message| message.rcpt).collect()
}

#[tokio::test]
async fn a_mail_is_delivered_byte_for_byte() {
    let relay = Relay::start(Encryption::None).await;
    relay.says(
        On::Message,
        "250 2.0.0 Ok <reader1@example.com> queued as 4Fx",
    );
    let mut session = plain(&relay);
    assert_eq!(session.idle_deadline(), None);
    // In a task of its own, as a lane has it: the future must be able to move between threads.
    let lane = tokio::spawn(async move { (session.send(&mail(1)).await, session) });
    let (accepted, mut session) = lane.await.unwrap();
    let accepted = accepted.unwrap();
    assert_eq!(accepted.reply, "2.0.0 Ok <[address]> queued as 4Fx");
    assert!(session.idle_deadline().is_some());
    session.close().await;
    let seen = relay.seen();
    assert_eq!(seen[0].verbs(), ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]);
    assert!(seen[0].bytes.starts_with(b"EHLO worker.acme.example\r\n"));
    assert_eq!(relay.taken()[0].unstuffed(), mail(1).bytes());
    assert_eq!(recipients(&relay), ["RCPT TO:<reader1@example.com>"]);
}

#[tokio::test]
async fn lines_that_begin_with_a_dot_are_stuffed() {
    // The style sheet gives such a line to every mail.
    let mail = mail(1);
    let lines = |bytes: &[u8], start: &[u8]| {
        let lines = bytes.split(|byte| *byte == b'\n');
        lines.filter(|line| line.starts_with(start)).count()
    };
    let dots = lines(mail.bytes(), b".");
    assert!(dots > 0 && lines(mail.bytes(), b"..") == 0);
    let relay = Relay::start(Encryption::None).await;
    plain(&relay).send(&mail).await.unwrap();
    let wire = relay.taken().remove(0).wire;
    assert_eq!(lines(&wire, b".."), dots);
    assert_eq!(lines(&wire, b"."), dots);
}

#[tokio::test]
async fn a_refused_recipient_costs_no_connection() {
    let relay = Relay::start(Encryption::None).await;
    relay
        .says(On::Rcpt, "450 4.2.0 greylisted")
        .says(On::Rcpt, "550 5.1.1 <reader2@example.com> unknown");
    let mut session = plain(&relay);
    let greylisted = fails(&mut session, &mail(1)).await;
    assert_eq!(
        (greylisted.fate, greylisted.reply_code),
        (Fate::Retry, Some(450))
    );
    let unknown = fails(&mut session, &mail(2)).await;
    assert_eq!(
        (unknown.fate, unknown.stage),
        (Fate::Discard, Stage::RcptTo)
    );
    assert_eq!(unknown.text, "5.1.1 <[address]> unknown");
    is_delivered(&mut session, 3).await;
    let seen = relay.seen();
    assert_eq!(seen.len(), 1);
    let verbs = seen[0].verbs().join(" ");
    assert_eq!(verbs, "EHLO MAIL RCPT RSET MAIL RCPT RSET MAIL RCPT DATA");
    assert_eq!(recipients(&relay), ["RCPT TO:<reader3@example.com>"]);
}

#[tokio::test]
async fn a_refused_message_costs_no_connection() {
    let relay = Relay::start(Encryption::None).await;
    relay
        .says(On::Data, "451 4.3.0 later")
        .says(On::Message, "554 5.7.1 spam")
        .says(On::Message, "552 5.2.2 full");
    let mut session = plain(&relay);
    let expected = [
        (Fate::Retry, Stage::Data),
        (Fate::Discard, Stage::FinalReply),
        (Fate::Retry, Stage::FinalReply),
    ];
    for (number, (fate, stage)) in (1..).zip(expected) {
        let error = fails(&mut session, &mail(number)).await;
        assert_eq!((error.fate, error.stage), (fate, stage));
        assert!(!error.is_ambiguous());
    }
    is_delivered(&mut session, 4).await;
    assert_eq!(relay.seen().len(), 1);
}

#[tokio::test]
async fn a_late_reply_is_never_credited_to_the_next_mail() {
    for (on, stage, fate) in [
        (On::Mail, Stage::MailFrom, Fate::LaneDown),
        (On::Rcpt, Stage::RcptTo, Fate::Retry),
        (On::Data, Stage::Data, Fate::Retry),
        (On::Message, Stage::FinalReply, Fate::Retry),
    ] {
        let relay = Relay::start(Encryption::None).await;
        let late = "550 5.1.1 meant for the first".to_owned();
        relay.next(on, Act::SayLate(IMPATIENCE * 2, late));
        let mut session = impatient(&relay);
        let error = fails(&mut session, &mail(1)).await;
        assert_eq!((error.stage, error.fate), (stage, fate), "{on:?}");
        assert_eq!(error.is_ambiguous(), on == On::Message);
        session.send(&mail(2)).await.unwrap();
        assert_eq!(relay.seen().len(), 2, "{on:?}");
    }
}

#[tokio::test]
async fn an_abandoned_send_leaves_no_connection_behind() {
    let relay = Relay::start(Encryption::None).await;
    relay.next(On::Data, Act::Silence);
    let mut session = plain(&relay);
    let abandoned = tokio::time::timeout(IMPATIENCE, session.send(&mail(1))).await;
    assert!(abandoned.is_err());
    assert_eq!(session.idle_deadline(), None);
    is_delivered(&mut session, 2).await;
    assert_eq!(relay.seen().len(), 2);
    assert_eq!(recipients(&relay), ["RCPT TO:<reader2@example.com>"]);
}

#[tokio::test]
async fn only_250_after_the_dot_is_success() {
    for reply in ["354 go on", "251 forwarded", "220 hello"] {
        let relay = Relay::start(Encryption::None).await;
        relay.says(On::Message, reply);
        let mut session = plain(&relay);
        let error = fails(&mut session, &mail(1)).await;
        assert_eq!((error.fate, error.stage), (Fate::Retry, Stage::FinalReply));
        assert!(error.is_ambiguous(), "{reply}");
        assert_eq!(session.idle_deadline(), None, "kept after {reply}");
    }
}

#[tokio::test]
async fn a_positive_reply_out_of_turn_ends_the_connection() {
    for (on, reply) in [
        (On::Mail, "354 go on"),
        (On::Rcpt, "354 go on"),
        (On::Data, "250 ok"),
    ] {
        let relay = Relay::start(Encryption::None).await;
        relay.says(on, reply);
        let mut session = plain(&relay);
        let error = fails(&mut session, &mail(1)).await;
        assert_eq!(error.fate, Fate::LaneDown, "{on:?}");
        is_delivered(&mut session, 2).await;
        assert_eq!(relay.seen().len(), 2);
    }
}

#[tokio::test]
async fn a_server_that_closes_down_takes_the_lane_with_it() {
    for on in [On::Greeting, On::Mail, On::Rcpt, On::Data, On::Message] {
        let relay = Relay::start(Encryption::None).await;
        relay.next(on, Act::SayAndClose("421 4.3.2 closing".to_owned()));
        let mut session = plain(&relay);
        let error = fails(&mut session, &mail(1)).await;
        assert_eq!(
            (error.fate, error.reply_code),
            (Fate::LaneDown, Some(421)),
            "{on:?}"
        );
        assert!(error.is_throttle() && !error.is_ambiguous());
        is_delivered(&mut session, 2).await;
    }
}

#[tokio::test]
async fn a_fault_before_the_recipient_is_the_lanes() {
    for (on, reply) in [
        (On::Greeting, "554 5.7.1 go away"),
        (On::Ehlo, "550 5.7.1 bad name"),
        (On::Mail, "550 5.7.1 not you"),
        (On::Mail, "451 4.3.0 later"),
        (On::Greeting, "HTTP/1.1 400 Bad Request"),
    ] {
        let relay = Relay::start(Encryption::None).await;
        relay.next(on, Act::SayAndClose(reply.to_owned()));
        let error = fails(&mut plain(&relay), &mail(1)).await;
        assert_eq!(error.fate, Fate::LaneDown, "{on:?} {reply}");
    }
    let relay = Relay::start(Encryption::None).await;
    let mut session = plain(&relay);
    drop(relay);
    let error = fails(&mut session, &mail(1)).await;
    assert_eq!((error.fate, error.stage), (Fate::LaneDown, Stage::Connect));
}

#[tokio::test]
async fn a_server_that_does_not_greet_is_given_up_in_time() {
    let relay = Relay::start(Encryption::None).await;
    relay.next(On::Greeting, Act::Silence);
    let mut config = config(&relay, SmtpTls::None);
    config.timeouts.greeting = IMPATIENCE;
    let error = fails(&mut open(config), &mail(1)).await;
    assert_eq!((error.fate, error.stage), (Fate::LaneDown, Stage::Greeting));
}

#[tokio::test]
async fn a_reply_that_is_not_text_costs_an_attempt_and_the_connection() {
    let relay = Relay::start(Encryption::None).await;
    let latin_1 = b"550 5.1.1 Empf\xe4nger unbekannt\r\n".to_vec();
    relay.next(On::Rcpt, Act::SayOctets(latin_1));
    let mut session = plain(&relay);
    let error = fails(&mut session, &mail(1)).await;
    assert_eq!((error.fate, error.stage), (Fate::Retry, Stage::RcptTo));
    is_delivered(&mut session, 2).await;
    assert_eq!(relay.seen().len(), 2);
}

#[tokio::test]
async fn a_connection_lost_after_the_dot_is_ambiguous_and_before_it_is_not() {
    let relay = Relay::start(Encryption::None).await;
    relay
        .next(On::Rcpt, Act::Close)
        .next(On::Message, Act::Close);
    let mut session = plain(&relay);
    let before = fails(&mut session, &mail(1)).await;
    assert_eq!(
        (before.fate, before.is_ambiguous()),
        (Fate::LaneDown, false)
    );
    let after = fails(&mut session, &mail(1)).await;
    assert_eq!((after.fate, after.is_ambiguous()), (Fate::Retry, true));
    is_delivered(&mut session, 1).await;

    // Too long for the buffers in between, so that the loss is noticed before the dot.
    let long = mail_with_note(2, &"long ".repeat(200_000));
    relay.next(On::Data, Act::SayAndClose("354 go on".to_owned()));
    let amid = fails(&mut session, &long).await;
    assert_eq!((amid.fate, amid.stage), (Fate::LaneDown, Stage::Body));
}

#[tokio::test]
async fn a_server_that_spoke_unasked_gets_no_further_command() {
    let relay = Relay::start(Encryption::None).await;
    relay.says(
        On::Message,
        "250 2.0.0 queued\r\n250 2.0.0 and the next one too",
    );
    let mut session = plain(&relay);
    is_delivered(&mut session, 1).await;
    is_delivered(&mut session, 2).await;
    assert_eq!(relay.seen().len(), 2);
    assert_eq!(relay.taken().len(), 2);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_is_replaced() {
    let relay = Relay::start(Encryption::None).await;
    relay
        .says(On::Mail, "250 2.1.0 ok")
        .next(On::Mail, Act::Close)
        .says(On::Mail, "250 2.1.0 ok")
        .next(On::Mail, Act::Close)
        .next(On::Mail, Act::Close);
    let mut session = plain(&relay);
    is_delivered(&mut session, 1).await;
    is_delivered(&mut session, 2).await;
    assert_eq!(relay.seen().len(), 2);
    // Once only: when the fresh connection is closed as well, it is the lane.
    let error = fails(&mut session, &mail(3)).await;
    assert_eq!((error.fate, error.stage), (Fate::LaneDown, Stage::MailFrom));
    assert_eq!(relay.seen().len(), 3);
}

#[tokio::test]
async fn a_connection_is_used_up_by_count_age_and_idleness() {
    let relay = Relay::start(Encryption::None).await;
    let mut session = plain(&relay);
    let mail = mail(1);
    for _ in 0..101 {
        session.send(&mail).await.unwrap();
    }
    let seen = relay.seen();
    assert_eq!(seen.len(), 2);
    let count =
        |index: usize, verb: &str| seen[index].verbs().iter().filter(|v| *v == verb).count();
    assert_eq!(
        (count(0, "MAIL"), count(0, "QUIT"), count(1, "MAIL")),
        (100, 1, 1)
    );

    for exhaust in [
        (|limits: &mut SmtpLimits| limits.connection_max_age = Duration::ZERO) as fn(&mut _),
        |limits: &mut SmtpLimits| limits.idle_close = Duration::ZERO,
    ] {
        let relay = Relay::start(Encryption::None).await;
        let mut config = config(&relay, SmtpTls::None);
        exhaust(&mut config.limits);
        let mut session = open(config);
        session.send(&mail).await.unwrap();
        session.send(&mail).await.unwrap();
        assert_eq!(relay.seen().len(), 2);
    }
}

#[tokio::test]
async fn both_ways_of_tls_deliver_and_sign_in_encrypted() {
    for (relay_tls, tls) in [
        (Encryption::StartTls, SmtpTls::StartTls),
        (Encryption::Implicit, SmtpTls::Implicit),
    ] {
        let relay = Relay::start(relay_tls).await;
        let mut session = open(config(&relay, tls));
        is_delivered(&mut session, 1).await;
        is_delivered(&mut session, 2).await;
        session.close().await;
        let seen = relay.seen().remove(0);
        assert!(seen.verbs().contains(&"AUTH".to_owned()));
        let plain = String::from_utf8_lossy(&seen.bytes[..seen.plain_octets]).into_owned();
        let expected = match tls {
            SmtpTls::StartTls => "EHLO worker.acme.example\r\nSTARTTLS\r\n",
            _ => "",
        };
        assert_eq!(plain, expected);
        assert_eq!(relay.taken().len(), 2);
    }
}

#[tokio::test]
async fn a_wrong_password_is_the_lanes_fault() {
    let relay = Relay::start(Encryption::StartTls).await;
    relay.says(On::Auth, "535 5.7.8 authentication failed");
    let error = fails(&mut open(config(&relay, SmtpTls::StartTls)), &mail(1)).await;
    assert_eq!((error.fate, error.stage), (Fate::LaneDown, Stage::Auth));
    assert_eq!(error.reply_code, Some(535));
    assert!(!format!("{error:?}").contains(PASSWORD));
}

#[tokio::test]
async fn no_password_travels_where_tls_is_stripped() {
    let relay = Relay::start(Encryption::None).await;
    let error = fails(&mut open(config(&relay, SmtpTls::StartTls)), &mail(1)).await;
    assert_eq!((error.fate, error.stage), (Fate::LaneDown, Stage::Tls));
    assert_eq!(relay.seen()[0].verbs(), ["EHLO"]);

    let mut config = config(&relay, SmtpTls::None);
    config.credentials = Some(("acme".to_owned(), PASSWORD.to_owned().into()));
    assert!(!format!("{config:?}").contains("hunter2"));
    let error = SmtpTransport::new(config).unwrap_err();
    assert_eq!(error, SmtpConfigError::CredentialsWithoutTls);
}

#[tokio::test]
async fn words_slipped_in_before_tls_are_not_believed_after_it() {
    let relay = Relay::start(Encryption::StartTls).await;
    relay.says(
        On::StartTls,
        "220 go ahead\r\n250-evil.test\r\n250 AUTH PLAIN",
    );
    let error = fails(&mut open(config(&relay, SmtpTls::StartTls)), &mail(1)).await;
    assert_eq!((error.fate, error.stage), (Fate::LaneDown, Stage::Tls));
    assert!(relay.taken().is_empty());
}

#[tokio::test]
async fn a_certificate_nobody_vouches_for_is_refused() {
    for (relay_tls, tls) in [
        (Encryption::StartTls, SmtpTls::StartTls),
        (Encryption::Implicit, SmtpTls::Implicit),
    ] {
        let relay = Relay::start(relay_tls).await;
        let stranger = Relay::start(relay_tls).await;
        let mut unknown = config(&relay, tls);
        unknown.extra_roots_pem = Some(stranger.certificate_pem().to_owned());
        let mut misnamed = config(&relay, tls);
        misnamed.host = "127.0.0.1".to_owned();
        for config in [unknown, misnamed] {
            let error = fails(&mut open(config), &mail(1)).await;
            assert_eq!((error.fate, error.stage), (Fate::LaneDown, Stage::Tls));
            let is_explained = error.text.starts_with("invalid peer certificate");
            assert!(is_explained, "{}", error.text);
        }
        assert!(relay.taken().is_empty());
    }
}

#[tokio::test]
async fn a_hello_name_cannot_smuggle_a_command() {
    let relay = Relay::start(Encryption::None).await;
    for name in [
        "",
        "a b",
        "a\r\nMAIL FROM:<x@y.zz>",
        "a..b",
        "ünder.example",
    ] {
        let mut config = config(&relay, SmtpTls::None);
        config.hello_name = name.to_owned();
        let error = SmtpTransport::new(config).unwrap_err();
        assert_eq!(error, SmtpConfigError::HelloName, "{name:?}");
    }
}
