//! SMTP sessions with a scripted relay, and messages to send over them.

use std::sync::LazyLock;
use std::time::Duration;

use invitations::domain::brand::Brand;
use invitations::domain::email_address::EmailAddress;
use invitations::mail::message::{ComposedMessage, Composer, EmailKind, InvitationEmail, Sender};
use invitations::mail::send_error::SendError;
use invitations::mail::smtp::{SmtpConfig, SmtpLimits, SmtpTimeouts, SmtpTls, SmtpTransport};
use invitations::mail::transport::{Transport, TransportSession};
use time::macros::datetime;

use crate::support::relay::{Encryption, Relay};

pub(crate) const PASSWORD: &str = "hunter2-hunter2";
/// Most tests run against a relay without PIPELINING and against one with it.
pub(crate) const PIPELINING: [bool; 2] = [false, true];
/// The timeout for replies that must arrive: long, for a busy machine.
pub(crate) const LONG_TIMEOUT: Duration = Duration::from_secs(20);
/// The timeout for replies that must not arrive. Other replies arrive earlier even on a busy machine.
pub(crate) const SHORT_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) fn message(number: u32) -> ComposedMessage {
    message_with_note(number, "Hello")
}

pub(crate) fn message_with_note(number: u32, note: &str) -> ComposedMessage {
    let to = format!("reader{number}@example.com");
    compose(&invitation_mail(&format!("inv.{number}.1.1"), &to, note))
}

pub(crate) fn invitation_mail(id: &str, to: &str, note: &str) -> InvitationEmail {
    InvitationEmail {
        kind: EmailKind::Invitation,
        message_id: format!("{id}@acme.example"),
        date: datetime!(2026-11-22 19:00 UTC),
        to: EmailAddress::parse(to).unwrap(),
        organization_name: "Northwind".to_owned(),
        brand: Brand::default(),
        inviter_name: None,
        role: "member".to_owned(),
        note: Some(note.to_owned()),
        link: "https://app.acme.example/i#token".to_owned().into(),
        expires_at: datetime!(2026-12-22 19:00 UTC),
        locale: "en".to_owned(),
        envelope_from: None,
        unsubscribe_url: None,
    }
}

pub(crate) fn compose(invitation: &InvitationEmail) -> ComposedMessage {
    static COMPOSER: LazyLock<Composer> = LazyLock::new(|| {
        let sender = Sender::parse("Acme", "invites@acme.example", None).unwrap();
        Composer::new(sender).unwrap()
    });
    COMPOSER.compose(invitation).unwrap()
}

pub(crate) fn smtp_config(relay: &Relay, tls: SmtpTls) -> SmtpConfig {
    SmtpConfig {
        host: "localhost".to_owned(),
        port: relay.port(),
        tls,
        extra_roots_pem: Some(relay.certificate_pem().to_owned()),
        credentials: (tls != SmtpTls::None)
            .then(|| ("acme".to_owned(), PASSWORD.to_owned().into())),
        hello_name: "worker.acme.example".to_owned(),
        pipelining: true,
        timeouts: SmtpTimeouts {
            connect: LONG_TIMEOUT,
            greeting: LONG_TIMEOUT,
            command: LONG_TIMEOUT,
            data: LONG_TIMEOUT,
            body: LONG_TIMEOUT,
        },
        limits: SmtpLimits::default(),
    }
}

pub(crate) fn open_session(config: SmtpConfig) -> TransportSession {
    Transport::Smtp(SmtpTransport::new(config).unwrap()).open()
}

/// A session without TLS.
pub(crate) fn plain_session(relay: &Relay) -> TransportSession {
    open_session(smtp_config(relay, SmtpTls::None))
}

/// A session without TLS that gives up on a reply after [`SHORT_TIMEOUT`].
pub(crate) fn session_with_short_timeouts(relay: &Relay) -> TransportSession {
    let mut config = smtp_config(relay, SmtpTls::None);
    config.timeouts.command = SHORT_TIMEOUT;
    config.timeouts.data = SHORT_TIMEOUT;
    config.timeouts.body = SHORT_TIMEOUT;
    open_session(config)
}

/// Sends a message that the relay is expected to refuse.
pub(crate) async fn send_error(
    session: &mut TransportSession,
    message: &ComposedMessage,
) -> SendError {
    let sent = session.send(message).await;
    sent.expect_err("the message was accepted")
}

pub(crate) async fn deliver(session: &mut TransportSession, number: u32) {
    let sent = session.send(&message(number)).await;
    sent.expect("the message was refused");
}

/// The `RCPT TO` lines of the messages that the relay received.
pub(crate) fn recipients(relay: &Relay) -> Vec<String> {
    let received = relay.received().into_iter();
    received.map(|message| message.rcpt).collect()
}

/// A relay without TLS, with or without PIPELINING.
pub(crate) async fn start_relay(offers_pipelining: bool) -> Relay {
    let relay = Relay::start(Encryption::None).await;
    if offers_pipelining {
        relay.offer_pipelining();
    }
    relay
}
