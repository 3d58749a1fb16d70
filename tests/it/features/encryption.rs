//! TLS and authentication towards a relay: which failures close the lane, and which of them are misconfigurations.

use invitations::mail::send_error::{FailureAction, SendStage};
use invitations::mail::smtp::{SmtpConfigError, SmtpTls, SmtpTransport};

use crate::support::relay::{Encryption, Relay, RelayAction, SmtpStep};
use crate::support::smtp_session::{
    PASSWORD, deliver, message, open_session, send_error, smtp_config,
};

#[tokio::test]
async fn starttls_and_implicit_tls_encrypt_the_authentication() {
    for (relay_tls, tls) in [
        (Encryption::StartTls, SmtpTls::StartTls),
        (Encryption::Implicit, SmtpTls::Implicit),
    ] {
        let relay = Relay::start(relay_tls).await;
        let mut session = open_session(smtp_config(&relay, tls));
        deliver(&mut session, 1).await;
        deliver(&mut session, 2).await;
        session.close().await;
        let seen = relay.connections().remove(0);
        assert!(seen.verbs.contains(&"AUTH".to_owned()));
        let plain = String::from_utf8_lossy(&seen.bytes[..seen.plain_bytes]).into_owned();
        let expected = match tls {
            SmtpTls::StartTls => "EHLO worker.acme.example\r\nSTARTTLS\r\n",
            _ => "",
        };
        assert_eq!(plain, expected);
        assert_eq!(relay.received().len(), 2);
    }
}

#[tokio::test]
async fn a_wrong_password_is_a_misconfiguration_of_the_lane() {
    let relay = Relay::start(Encryption::StartTls).await;
    relay.reply_once(SmtpStep::Auth, "535 5.7.8 authentication failed");
    let error = send_error(
        &mut open_session(smtp_config(&relay, SmtpTls::StartTls)),
        &message(1),
    )
    .await;
    assert_eq!(
        (error.action, error.stage),
        (FailureAction::PauseLane, SendStage::Auth)
    );
    assert_eq!(error.reply_code, Some(535));
    assert!(error.is_misconfiguration);
    assert!(!format!("{error:?}").contains(PASSWORD));
}

#[tokio::test]
async fn no_password_is_sent_without_tls() {
    let relay = Relay::start(Encryption::None).await;
    let error = send_error(
        &mut open_session(smtp_config(&relay, SmtpTls::StartTls)),
        &message(1),
    )
    .await;
    assert_eq!(
        (error.action, error.stage),
        (FailureAction::PauseLane, SendStage::Tls)
    );
    assert!(error.is_misconfiguration);
    assert_eq!(relay.connections()[0].verbs, ["EHLO"]);

    let mut config = smtp_config(&relay, SmtpTls::None);
    config.credentials = Some(("acme".to_owned(), PASSWORD.to_owned().into()));
    assert!(!format!("{config:?}").contains("hunter2"));
    let error = SmtpTransport::new(config).unwrap_err();
    assert_eq!(error, SmtpConfigError::CredentialsWithoutTls);
}

#[tokio::test]
async fn replies_injected_before_tls_are_refused() {
    let relay = Relay::start(Encryption::StartTls).await;
    relay.reply_once(
        SmtpStep::StartTls,
        "220 go ahead\r\n250-evil.test\r\n250 AUTH PLAIN",
    );
    let error = send_error(
        &mut open_session(smtp_config(&relay, SmtpTls::StartTls)),
        &message(1),
    )
    .await;
    assert_eq!(
        (error.action, error.stage),
        (FailureAction::PauseLane, SendStage::Tls)
    );
    assert!(relay.received().is_empty());
}

#[tokio::test]
async fn an_untrusted_misnamed_or_expired_certificate_is_refused() {
    for (relay_tls, tls) in [
        (Encryption::StartTls, SmtpTls::StartTls),
        (Encryption::Implicit, SmtpTls::Implicit),
    ] {
        let relay = Relay::start(relay_tls).await;
        let stranger = Relay::start(relay_tls).await;
        let mut unknown = smtp_config(&relay, tls);
        unknown.extra_roots_pem = Some(stranger.certificate_pem().to_owned());
        let mut misnamed = smtp_config(&relay, tls);
        misnamed.host = "127.0.0.1".to_owned();
        let expired_relay = Relay::start_expired(relay_tls).await;
        let expired = smtp_config(&expired_relay, tls);
        for config in [unknown, misnamed, expired] {
            let error = send_error(&mut open_session(config), &message(1)).await;
            assert_eq!(
                (error.action, error.stage),
                (FailureAction::PauseLane, SendStage::Tls)
            );
            let is_explained = error.text.starts_with("invalid peer certificate");
            assert!(is_explained, "{}", error.text);
            assert!(error.is_misconfiguration);
        }
        assert!(relay.received().is_empty());
    }
}

#[tokio::test]
async fn a_failure_of_the_relay_is_not_a_misconfiguration() {
    let relay = Relay::start(Encryption::StartTls).await;
    relay
        .act_once(SmtpStep::StartTls, RelayAction::Close)
        .act_once(SmtpStep::StartTls, RelayAction::Reset)
        .reply_once(SmtpStep::Auth, "454 4.7.0 temporary failure")
        .act_once(SmtpStep::Auth, RelayAction::Close);
    for stage in [
        SendStage::Tls,
        SendStage::Tls,
        SendStage::Auth,
        SendStage::Auth,
    ] {
        let error = send_error(
            &mut open_session(smtp_config(&relay, SmtpTls::StartTls)),
            &message(1),
        )
        .await;
        assert_eq!(
            (error.action, error.stage),
            (FailureAction::PauseLane, stage)
        );
        assert!(!error.is_misconfiguration, "{error}");
    }
}

#[tokio::test]
async fn an_extension_offered_within_tls_is_used() {
    for (relay_tls, tls) in [
        (Encryption::StartTls, SmtpTls::StartTls),
        (Encryption::Implicit, SmtpTls::Implicit),
    ] {
        let relay = Relay::start(relay_tls).await;
        relay.offer_pipelining();
        let mut session = open_session(smtp_config(&relay, tls));
        deliver(&mut session, 1).await;
        deliver(&mut session, 2).await;
        let arrivals = relay.connections().remove(0).arrivals;
        let is_ahead = |bytes: &Vec<u8>| bytes.starts_with(b"MAIL") && bytes.ends_with(b"DATA\r\n");
        assert_eq!(arrivals.iter().filter(|bytes| is_ahead(bytes)).count(), 2);
    }
}
