//! Batches of messages that tests send to a provider, and transports to a [`ProviderServer`].

use std::time::Duration;

use invitations::domain::bounce_address::SentMail;
use invitations::domain::brand::Brand;
use invitations::domain::email_address::EmailAddress;
use invitations::mail::message::{Composer, EmailKind, InvitationEmail, Sender};
use invitations::mail::providers::{
    BatchError, ProviderConfig, ProviderKind, ProviderMessage, ProviderTransport,
};
use time::macros::datetime;
use url::Url;
use uuid::Uuid;

use crate::support::provider::ProviderServer;

pub(crate) const PROVIDER_KINDS: [ProviderKind; 2] = [ProviderKind::Resend, ProviderKind::Postmark];
pub(crate) const API_KEY: &str = "key-hunter2-hunter2";
/// The timeout for answers that must arrive. Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// The timeout for answers that must not arrive.
const IMPATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn idempotency_key(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn reference(number: u32) -> SentMail {
    SentMail {
        invitation_id: Uuid::from_u128(u128::from(number)),
        send_seq: 2,
    }
}

/// The recipient of the message with this number.
pub(crate) fn recipient(number: u32) -> String {
    format!("Reader{number}+o'x@example.com")
}

/// Messages with the numbers from 1 to `count`.
pub(crate) fn messages(count: u32) -> Vec<ProviderMessage> {
    let sender = Sender::parse("Acme, Inc.", "invites@acme.example", None).unwrap();
    let composer = Composer::new(sender).unwrap();
    let message = |number| {
        let mail = InvitationEmail {
            kind: EmailKind::Invitation,
            brand: Brand::default(),
            message_id: format!("inv.{number}.1.2@acme.example"),
            date: datetime!(2026-11-22 19:00 UTC),
            to: EmailAddress::parse(&recipient(number)).unwrap(),
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
        ProviderMessage {
            message: composer.render(&mail).unwrap(),
            reference: reference(number),
        }
    };
    (1..=count).map(message).collect()
}

pub(crate) fn provider_config(kind: ProviderKind, base_url: Url) -> ProviderConfig {
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

pub(crate) fn provider_transport(kind: ProviderKind, server: &ProviderServer) -> ProviderTransport {
    ProviderTransport::new(provider_config(kind, server.base_url())).unwrap()
}

/// A transport that waits only briefly for an answer.
pub(crate) fn impatient_transport(
    kind: ProviderKind,
    server: &ProviderServer,
) -> ProviderTransport {
    let mut config = provider_config(kind, server.base_url());
    config.timeout = IMPATIENCE;
    ProviderTransport::new(config).unwrap()
}

/// Sends two messages. Returns the error of the call, which must fail.
pub(crate) async fn failed_call(transport: &ProviderTransport) -> BatchError {
    let answer = transport.send(idempotency_key(1), &messages(2)).await;
    answer.expect_err("the call succeeded")
}
