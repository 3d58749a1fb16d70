//! What the tests of the SMTP session share: a mail, and a lane to a relay that misbehaves.

use std::sync::LazyLock;
use std::time::Duration;

use invitations::domain::brand::Brand;
use invitations::domain::email_address::EmailAddress;
use invitations::mail::message::{ComposedMail, Composer, InvitationMail, MailKind, Sender};
use invitations::mail::outcome::SendError;
use invitations::mail::smtp::{SmtpConfig, SmtpLimits, SmtpTimeouts, SmtpTls, SmtpTransport};
use invitations::mail::transport::{Session, Transport};
use time::macros::datetime;

use crate::support::relay::{Encryption, Relay};

pub(crate) const PASSWORD: &str = "hunter2-hunter2";
/// The kinds of relay that most tests try: without PIPELINING and with it.
pub(crate) const KINDS: [bool; 2] = [false, true];
/// For replies that must arrive: long enough for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// For replies that must not arrive: those that do must be there by then, on a busy machine too.
pub(crate) const IMPATIENCE: Duration = Duration::from_secs(1);

pub(crate) fn mail(number: u32) -> ComposedMail {
    mail_with_note(number, "Hello")
}

pub(crate) fn mail_with_note(number: u32, note: &str) -> ComposedMail {
    let to = format!("reader{number}@example.com");
    compose(&invitation(&format!("inv.{number}.1.1"), &to, note))
}

pub(crate) fn invitation(id: &str, to: &str, note: &str) -> InvitationMail {
    InvitationMail {
        kind: MailKind::Invitation,
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

pub(crate) fn compose(invitation: &InvitationMail) -> ComposedMail {
    static COMPOSER: LazyLock<Composer> = LazyLock::new(|| {
        let sender = Sender::parse("Acme", "invites@acme.example", None).unwrap();
        Composer::new(sender).unwrap()
    });
    COMPOSER.compose(invitation).unwrap()
}

pub(crate) fn config(relay: &Relay, tls: SmtpTls) -> SmtpConfig {
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
            connect: PATIENCE,
            greeting: PATIENCE,
            command: PATIENCE,
            data: PATIENCE,
            body: PATIENCE,
        },
        limits: SmtpLimits::default(),
    }
}

pub(crate) fn open(config: SmtpConfig) -> Session {
    Transport::Smtp(SmtpTransport::new(config).unwrap()).open()
}

pub(crate) fn plain(relay: &Relay) -> Session {
    open(config(relay, SmtpTls::None))
}

pub(crate) fn impatient(relay: &Relay) -> Session {
    let mut config = config(relay, SmtpTls::None);
    config.timeouts.command = IMPATIENCE;
    config.timeouts.data = IMPATIENCE;
    config.timeouts.body = IMPATIENCE;
    open(config)
}

pub(crate) async fn fails(session: &mut Session, mail: &ComposedMail) -> SendError {
    session.send(mail).await.expect_err("it was accepted")
}

pub(crate) async fn is_delivered(session: &mut Session, number: u32) {
    session.send(&mail(number)).await.expect("it was refused");
}

/// The recipients of the messages the relay has received whole.
pub(crate) fn recipients(relay: &Relay) -> Vec<String> {
    let taken = relay.taken();
    taken.into_iter().map(|message| message.rcpt).collect()
}

/// A relay of either kind.
pub(crate) async fn relay(is_pipelining: bool) -> Relay {
    let relay = Relay::start(Encryption::None).await;
    if is_pipelining {
        relay.offers_pipelining();
    }
    relay
}
