//! Logs contain no personal data and no secret, at the most detailed level too.

use invitations::proto::{DeliveryState, NewInvitation};
use tonic::transport::Channel;

use crate::support::deployment::{Deployment, TOKEN, client};
use crate::support::deployment_invitations::count_in_delivery_state;
use crate::support::mailbox::ReceivedMail;
use crate::support::relay::SmtpStep;
use crate::support::waiting::wait_until;
use crate::support::{accept_request, create_request, item, preview_request};

/// Invites two valid addresses and an invalid one, with a note. The relay refuses one email and quotes an address.
async fn invite_canaries(deployment: &Deployment, channel: &Channel) {
    deployment
        .relay
        .reply_once(SmtpStep::Rcpt, "550 5.1.1 <canary@canary.example> unknown");
    let invite = |email: &str| NewInvitation {
        message: "canary note".to_owned(),
        ..item(email)
    };
    let items = ["canary1@b.co", "canary2@b.co", "canary @b.co"].map(invite);
    let request = create_request(items.into());
    client(channel).bulk_create(request).await.unwrap();
    wait_until("both emails", async || {
        let sent = count_in_delivery_state(channel, DeliveryState::Sent).await;
        sent + count_in_delivery_state(channel, DeliveryState::Bounced).await == 2
    })
    .await;
}

#[tokio::test]
async fn no_log_level_shows_an_address_a_note_or_a_secret() {
    let deployment = Deployment::create().await;
    let (mut running, channel) = deployment
        .serve_populated(&[("INVITATIONS_LOG", "trace")])
        .await;
    invite_canaries(&deployment, &channel).await;
    let token = ReceivedMail::parse(&deployment.relay.received()[0]).token();
    client(&channel)
        .preview(preview_request(&token))
        .await
        .unwrap();
    let mut request = accept_request(&token, "new", "canary3@b.co");
    client(&channel)
        .accept(request.clone())
        .await
        .err()
        .unwrap();
    for email in ["canary1@b.co", "canary2@b.co"] {
        request.verified_emails.push(email.to_owned());
    }
    request.user_name = "Canary".to_owned();
    client(&channel).accept(request).await.unwrap();
    running.terminate().await;
    assert!(running.wait_for_exit().await.success());

    let log = running.log();
    assert!(log.contains("DEBUG sqlx::query"), "{log}");
    // These libraries log their data, so their levels below INFO are disabled.
    for library in [" h2::", " hyper::", " lettre::", " tonic::", " tower::"] {
        assert!(!log.contains(library), "{library} at a level below INFO");
    }
    let secrets = [
        "canary",
        "Canary",
        "inv1_",
        &token[5..],
        TOKEN,
        "AAECAwQFBgcI",
    ];
    for secret in secrets {
        if let Some(line) = log.lines().find(|line| line.contains(secret)) {
            panic!("{secret:?} in: {line}");
        }
    }
}
