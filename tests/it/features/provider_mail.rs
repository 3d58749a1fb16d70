//! Emails through a provider with an HTTP API: what a call contains, and what is refused before a call.

use std::time::Duration;

use invitations::mail::providers::{
    BatchOutcome, ProviderConfig, ProviderConfigError, ProviderKind, ProviderTransport,
};
use serde_json::json;
use url::Url;

use crate::support::provider::{ProviderReply, ProviderServer};
use crate::support::provider_batches::{
    API_KEY, PROVIDER_KINDS, failed_call, idempotency_key, messages, provider_config,
    provider_transport, recipient,
};

#[tokio::test]
async fn every_message_reaches_its_one_recipient_with_its_reference() {
    for kind in PROVIDER_KINDS {
        let server = ProviderServer::start(kind).await;
        let transport = provider_transport(kind, &server);
        // A worker sends in a separate task, so the future must be `Send`.
        let call =
            tokio::spawn(async move { transport.send(idempotency_key(7), &messages(3)).await });
        let results = call.await.unwrap().unwrap();
        let ids: Vec<String> = results.into_iter().map(|r| r.unwrap().reply).collect();
        let name = format!("{kind:?}").to_lowercase();
        assert_eq!(ids, [1, 2, 3].map(|number| format!("{name}-{number}")));

        let delivered = server.delivered();
        let recipients: Vec<_> = delivered.iter().map(|mail| mail.to.clone()).collect();
        assert_eq!(recipients, [1, 2, 3].map(recipient));
        for (mail, sent) in delivered.iter().zip(messages(3)) {
            assert_eq!(mail.reference, Some(sent.reference));
            assert_eq!(mail.subject, sent.message.subject);
            assert_eq!(mail.html, sent.message.html);
            assert_eq!(mail.text, sent.message.text);
        }
    }
}

#[tokio::test]
async fn each_message_object_has_exactly_one_recipient() {
    for kind in PROVIDER_KINDS {
        let server = ProviderServer::start(kind).await;
        let sent = provider_transport(kind, &server)
            .send(idempotency_key(1), &messages(5))
            .await;
        assert_eq!(sent.unwrap().len(), 5);
        let mails = server.requests()[0].mails();
        assert_eq!(mails.len(), 5);
        for (number, mail) in (1..).zip(&mails) {
            match kind {
                ProviderKind::Resend => assert_eq!(mail["to"], json!([recipient(number)])),
                ProviderKind::Postmark => assert_eq!(mail["To"], json!(recipient(number))),
            }
            for shared in ["cc", "bcc", "Cc", "Bcc"] {
                assert!(mail.get(shared).is_none());
            }
        }
    }
}

#[tokio::test]
async fn a_call_identifies_the_client_and_its_content() {
    for kind in PROVIDER_KINDS {
        let server = ProviderServer::start(kind).await;
        let sent = provider_transport(kind, &server)
            .send(idempotency_key(7), &messages(1))
            .await;
        assert!(sent.unwrap()[0].is_ok());
        let call = server.requests().remove(0);
        let mail = call.mails().remove(0);
        assert_eq!(call.header("content-type"), "application/json");
        assert!(call.header("user-agent").starts_with("invitations/"));
        let from = match kind {
            ProviderKind::Resend => {
                assert_eq!(call.header("authorization"), format!("Bearer {API_KEY}"));
                assert_eq!(
                    call.header("idempotency-key"),
                    idempotency_key(7).to_string()
                );
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
async fn the_same_messages_are_encoded_as_the_same_bytes() {
    for kind in PROVIDER_KINDS {
        let server = ProviderServer::start(kind).await;
        for _ in 0..2 {
            // Each call renders its messages again, as another process does after a crash.
            let sent = provider_transport(kind, &server)
                .send(idempotency_key(1), &messages(20))
                .await;
            assert!(sent.unwrap().iter().all(Result::is_ok));
        }
        let calls = server.requests();
        assert!(calls[0].body == calls[1].body, "the bytes differ");
        assert_eq!(calls[0].headers, calls[1].headers);
    }
}

#[tokio::test]
async fn an_idempotency_key_prevents_a_second_delivery() {
    let server = ProviderServer::start(ProviderKind::Resend).await;
    let transport = provider_transport(ProviderKind::Resend, &server);
    assert_eq!(transport.key_retention(), Some(Duration::from_hours(24)));
    server.reply_once(ProviderReply::AcceptAndClose);
    assert_eq!(failed_call(&transport).await.outcome, BatchOutcome::Unknown);
    let first = transport
        .send(idempotency_key(1), &messages(2))
        .await
        .unwrap();
    let again = transport
        .send(idempotency_key(1), &messages(2))
        .await
        .unwrap();
    assert_eq!(first, again);
    assert_eq!(server.delivered().len(), 2);

    let other = transport
        .send(idempotency_key(1), &messages(1))
        .await
        .unwrap_err();
    assert_eq!(other.outcome, BatchOutcome::KeyReused);
    assert!(other.error.is_ambiguous());
    assert_eq!(server.delivered().len(), 2);

    let postmark = ProviderServer::start(ProviderKind::Postmark).await;
    let transport = provider_transport(ProviderKind::Postmark, &postmark);
    assert_eq!(transport.key_retention(), None);
    postmark.reply_once(ProviderReply::AcceptAndClose);
    assert_eq!(failed_call(&transport).await.outcome, BatchOutcome::Unknown);
    assert!(
        transport
            .send(idempotency_key(1), &messages(2))
            .await
            .is_ok()
    );
    assert_eq!(postmark.delivered().len(), 4);
}

#[tokio::test]
async fn a_call_never_exceeds_the_maximum_batch_size() {
    for kind in PROVIDER_KINDS {
        let server = ProviderServer::start(kind).await;
        let mut config = provider_config(kind, server.base_url());
        config.batch_max = 2;
        let transport = ProviderTransport::new(config).unwrap();
        assert_eq!(transport.batch_max(), 2);
        assert_eq!(
            transport.send(idempotency_key(1), &[]).await,
            Ok(Vec::new())
        );
        let failed = transport
            .send(idempotency_key(1), &messages(3))
            .await
            .unwrap_err();
        assert_eq!(failed.outcome, BatchOutcome::NotSent);
        assert!(server.requests().is_empty());
    }
}

#[test]
fn an_invalid_provider_configuration_is_refused_before_anything_is_sent() {
    use ProviderConfigError::{ApiKey, BaseUrl, BatchMax, Roots};
    let refusal = |change: fn(&mut ProviderConfig)| {
        let local = Url::parse("http://127.0.0.1:1/prefix/").unwrap();
        let mut config = provider_config(ProviderKind::Resend, local);
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
        let mut config = provider_config(ProviderKind::Resend, Url::parse(place).unwrap());
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
