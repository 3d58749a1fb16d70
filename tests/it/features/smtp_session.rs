//! The SMTP session with a relay that works.

use std::time::Duration;

use invitations::mail::smtp::{SmtpConfigError, SmtpLimits, SmtpTls, SmtpTransport};

use crate::support::relay::{Encryption, Relay, SmtpStep};
use crate::support::smtp_session::{
    PIPELINING, message, open_session, plain_session, recipients, smtp_config, start_relay,
};

#[tokio::test]
async fn an_email_is_delivered_byte_for_byte() {
    for is_pipelining in PIPELINING {
        let relay = start_relay(is_pipelining).await;
        relay.reply_once(
            SmtpStep::Message,
            "250 2.0.0 Ok <reader1@example.com> queued as 4Fx",
        );
        let mut session = plain_session(&relay);
        assert_eq!(session.idle_deadline(), None);
        // A lane sends in a separate task, so the future must be `Send`.
        let lane = tokio::spawn(async move { (session.send(&message(1)).await, session) });
        let (accepted, mut session) = lane.await.unwrap();
        let accepted = accepted.unwrap();
        assert_eq!(accepted.reply, "2.0.0 Ok <[address]> queued as 4Fx");
        assert!(session.idle_deadline().is_some());
        session.close().await;
        let connections = relay.connections();
        assert_eq!(
            connections[0].verbs,
            ["EHLO", "EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
        );
        assert!(
            connections[0]
                .bytes
                .starts_with(b"EHLO worker.acme.example\r\n")
        );
        assert_eq!(relay.received()[0].unstuffed(), message(1).bytes());
        assert_eq!(recipients(&relay), ["RCPT TO:<reader1@example.com>"]);
    }
}

#[tokio::test]
async fn lines_that_begin_with_a_dot_are_stuffed() {
    // The style sheet of every email contains such a line.
    let mail = message(1);
    let lines = |bytes: &[u8], start: &[u8]| {
        let lines = bytes.split(|byte| *byte == b'\n');
        lines.filter(|line| line.starts_with(start)).count()
    };
    let dots = lines(mail.bytes(), b".");
    assert!(dots > 0 && lines(mail.bytes(), b"..") == 0);
    let relay = Relay::start(Encryption::None).await;
    plain_session(&relay).send(&mail).await.unwrap();
    let wire = relay.received().remove(0).wire;
    assert_eq!(lines(&wire, b".."), dots);
    assert_eq!(lines(&wire, b"."), dots);
}

#[tokio::test]
async fn a_connection_is_replaced_by_message_count_age_and_idle_time() {
    let relay = Relay::start(Encryption::None).await;
    let mut session = plain_session(&relay);
    let mail = message(1);
    for _ in 0..101 {
        session.send(&mail).await.unwrap();
    }
    let connections = relay.connections();
    assert_eq!(connections.len(), 2);
    let count = |index: usize, verb: &str| {
        connections[index]
            .verbs
            .iter()
            .filter(|v| *v == verb)
            .count()
    };
    assert_eq!(
        (count(0, "MAIL"), count(0, "QUIT"), count(1, "MAIL")),
        (100, 1, 1)
    );

    for exhaust in [
        (|limits: &mut SmtpLimits| limits.connection_max_age = Duration::ZERO) as fn(&mut _),
        |limits: &mut SmtpLimits| limits.idle_close = Duration::ZERO,
    ] {
        let relay = Relay::start(Encryption::None).await;
        let mut config = smtp_config(&relay, SmtpTls::None);
        exhaust(&mut config.limits);
        let mut session = open_session(config);
        session.send(&mail).await.unwrap();
        session.send(&mail).await.unwrap();
        assert_eq!(relay.connections().len(), 2);
    }
}

#[tokio::test]
async fn a_hello_name_cannot_inject_a_command() {
    let relay = Relay::start(Encryption::None).await;
    for name in [
        "",
        "a b",
        "a\r\nMAIL FROM:<x@y.zz>",
        "a..b",
        "ünder.example",
    ] {
        let mut config = smtp_config(&relay, SmtpTls::None);
        config.hello_name = name.to_owned();
        let error = SmtpTransport::new(config).unwrap_err();
        assert_eq!(error, SmtpConfigError::HelloName, "{name:?}");
    }
}
