//! The real binary as a process: killed, asked to end, started with the wrong files, and read over its shoulder.

use std::time::Duration;

use futures::StreamExt as _;
use invitations::proto::{
    BulkCreateRequest, DeliveryState, ListRequest, NewInvitation, PreviewRequest,
};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::database::Database;
use crate::support::deployment::{Deployment, TOKEN, client, is_serving};
use crate::support::relay::{RelayAction, SmtpStep};
use crate::support::waiting::wait_until;
use crate::support::{ACME, accept_request, create_request, created, invite_request, item};

/// Mails sent at once, unless set otherwise.
const CONNECTIONS: usize = 4;
const KEY_2: &str = "2 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\n";

/// Invites fifty people.
async fn invite_fifty(channel: &Channel) -> Vec<String> {
    let emails: Vec<String> = (10..60).map(|number| format!("p{number}@b.co")).collect();
    let addresses: Vec<&str> = emails.iter().map(String::as_str).collect();
    let request = invite_request(&addresses);
    let answer = client(channel).bulk_create(request).await.unwrap();
    assert_eq!(answer.into_inner().created_count, 50);
    emails
}

/// How many of ACME's mails are in a state.
async fn count(channel: &Channel, state: DeliveryState) -> usize {
    let request = ListRequest {
        organization_id: ACME.to_owned(),
        delivery_state: state.into(),
        ..Default::default()
    };
    let answer = client(channel).list(request).await.unwrap();
    answer.into_inner().invitations.len()
}

/// Everybody who was sent a mail, sorted; twice whoever got two.
fn recipients(deployment: &Deployment) -> Vec<String> {
    let taken = deployment.relay.received();
    let mut emails: Vec<String> = taken
        .iter()
        .map(|mail| mail.rcpt.replace("RCPT TO:<", "").replace('>', ""))
        .collect();
    emails.sort();
    emails
}

#[tokio::test]
async fn a_crash_between_commit_and_delivery_loses_no_mail_and_doubles_none() {
    let deployment = Deployment::create().await;
    for _ in 0..CONNECTIONS {
        deployment
            .relay
            .act_once(SmtpStep::Greeting, RelayAction::Silence);
    }
    let (running, channel) = deployment.serve_populated(&[]).await;
    let emails = invite_fifty(&channel).await;
    wait_until("every lane to hold a mail", async || {
        let sending = count(&channel, DeliveryState::Sending).await;
        // Those in stock are held too.
        sending >= CONNECTIONS && deployment.relay.connections().len() == CONNECTIONS
    })
    .await;
    running.crash().await;
    assert!(deployment.relay.received().is_empty());

    let (_running, channel) = deployment.serve(&[]).await;
    wait_until("every mail", async || {
        count(&channel, DeliveryState::Sent).await == 50
    })
    .await;
    assert_eq!(recipients(&deployment), emails);
}

#[tokio::test]
async fn what_one_process_took_another_one_delivers() {
    let deployment = Deployment::create().await;
    let (api, channel) = deployment
        .serve_populated(&[("INVITATIONS_ROLE", "api")])
        .await;
    let emails = invite_fifty(&channel).await;
    assert_eq!(count(&channel, DeliveryState::Queued).await, 50);
    api.crash().await;
    assert!(deployment.relay.connections().is_empty());

    let (worker, channel) = deployment.serve(&[("INVITATIONS_ROLE", "worker")]).await;
    wait_until("every mail", async || recipients(&deployment).len() >= 50).await;
    assert_eq!(recipients(&deployment), emails);
    let refused = client(&channel)
        .bulk_create(invite_request(&["a@b.co"]))
        .await;
    assert_eq!(refused.err().unwrap().code(), Code::Unimplemented);
    drop(worker);
}

#[tokio::test]
async fn a_silent_peer_and_an_open_watch_do_not_hold_the_end() {
    let deployment = Deployment::create().await;
    let (mut running, channel) = deployment.serve(&[]).await;
    let address = running.address();
    let silent = TcpStream::connect(address).await.unwrap();
    let mut watching = HealthClient::new(channel.clone())
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    let first = watching.next().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);

    let begin = Instant::now();
    running.terminate().await;
    let second = watching.next().await.unwrap().unwrap();
    assert_eq!(second.status(), ServingStatus::NotServing);
    assert!(running.wait_for_exit().await.success(), "{}", running.log());
    // Two seconds are what the calls in flight are given; the rest is for a busy machine.
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
    drop(silent);
}

#[tokio::test]
async fn while_it_drains_it_answers_and_says_to_go_elsewhere() {
    let deployment = Deployment::create().await;
    let settings = [("INVITATIONS_DRAIN_DELAY", "10s")];
    let (mut running, channel) = deployment.serve_populated(&settings).await;
    running.terminate().await;
    wait_until("NOT_SERVING", async || !is_serving(&channel).await).await;
    client(&channel)
        .bulk_create(invite_request(&["a@b.co"]))
        .await
        .unwrap();
    assert!(running.wait_for_exit().await.success(), "{}", running.log());
}

#[tokio::test]
async fn it_waits_for_the_schema() {
    let deployment = Deployment::with_database(Database::create_empty().await).await;
    let running = deployment.start("serve", &[]);
    let channel = running.channel().await;
    // At the level of every day, and after the database was asked.
    wait_until("the warning", async || {
        running.log().contains("not migrated")
    })
    .await;
    assert!(!is_serving(&channel).await);
    for _ in 0..2 {
        let mut migrate = deployment.start("migrate", &[]);
        assert!(migrate.wait_for_exit().await.success(), "{}", migrate.log());
    }
    wait_until("SERVING", async || is_serving(&channel).await).await;
}

/// A pending invitation whose link was made with the first key; returns its token.
async fn invite_with_link(channel: &Channel) -> String {
    let request = BulkCreateRequest {
        return_link: true,
        invitations: vec![NewInvitation {
            notify: Some(false),
            ..item("a@b.co")
        }],
        ..create_request(vec![])
    };
    let answer = client(channel).bulk_create(request).await.unwrap();
    let result = answer.into_inner().results.remove(0);
    created(&result);
    result.link.split_once("#token=").unwrap().1.to_owned()
}

#[tokio::test]
async fn it_does_not_serve_without_the_keys_that_links_need() {
    let deployment = Deployment::create().await;
    let (running, channel) = deployment.serve_populated(&[]).await;
    let token = invite_with_link(&channel).await;
    running.crash().await;

    deployment.write("keys", KEY_2);
    let log = deployment.failed_start().await;
    assert!(log.contains("pending invitations need key 1"), "{log}");
    deployment.write("keys", &KEY_2.replace("2 ", "1 "));
    let log = deployment.failed_start().await;
    assert!(
        log.contains("key 1 of the keys file is not the key"),
        "{log}"
    );

    // A new key signs, the old one verifies.
    deployment.write("keys", &format!("{KEY_2}{}", crate::support::KEYS));
    let (_running, channel) = deployment.serve(&[]).await;
    let request = accept_request(&token, "new", "a@b.co");
    let accepted = client(&channel).accept(request).await.unwrap();
    assert_eq!(accepted.into_inner().membership.unwrap().user_id, "new");
}

#[tokio::test]
async fn every_problem_of_its_files_is_told_in_one_message() {
    let deployment = Deployment::create().await;
    let caller = "[[caller]]\nname = \"b c\"\ntoken_sha256 = \"xy\"\nscopes = [\"root\"]\n";
    deployment.write("callers", caller);
    deployment.write("keys", "1 short\n");
    let log = deployment.failed_start().await;
    for problem in [
        "line 1 of the keys file",
        "name must be 1 to 64",
        "token_sha256 must be 64",
        "unknown scope \"root\"",
    ] {
        assert!(log.contains(problem), "{problem}: {log}");
    }
    assert_eq!(log.matches("error: ").count(), 1, "{log}");
}

#[tokio::test]
async fn no_log_level_shows_an_address_a_note_or_a_secret() {
    let deployment = Deployment::create().await;
    let (mut running, channel) = deployment
        .serve_populated(&[("INVITATIONS_LOG", "trace")])
        .await;
    // One is refused by the relay, with the address in its reply.
    deployment
        .relay
        .reply_once(SmtpStep::Rcpt, "550 5.1.1 <canary@canary.example> unknown");
    let invite = |email: &str| NewInvitation {
        message: "canary note".to_owned(),
        ..item(email)
    };
    let request = BulkCreateRequest {
        invitations: ["canary1@b.co", "canary2@b.co", "canary @b.co"]
            .map(invite)
            .into(),
        ..create_request(vec![])
    };
    client(&channel).bulk_create(request).await.unwrap();
    wait_until("both mails", async || {
        let sent = count(&channel, DeliveryState::Sent).await;
        sent + count(&channel, DeliveryState::Bounced).await == 2
    })
    .await;
    let mail = deployment.relay.received().remove(0);
    let text = String::from_utf8(mail.unstuffed())
        .unwrap()
        .replace("=\r\n", "");
    let token = text.split("inv1_").nth(1).unwrap();
    let token = format!("inv1_{}", &token[..67]);
    let preview = PreviewRequest {
        token: token.clone(),
    };
    client(&channel).preview(preview).await.unwrap();
    let mut request = accept_request(&token, "new", "canary3@b.co");
    client(&channel)
        .accept(request.clone())
        .await
        .err()
        .unwrap();
    for email in ["canary1@b.co", "canary2@b.co"] {
        request.user_emails.push(email.to_owned());
    }
    request.user_name = "Canary".to_owned();
    client(&channel).accept(request).await.unwrap();
    running.terminate().await;
    assert!(running.wait_for_exit().await.success());

    let log = running.log();
    assert!(log.contains("DEBUG sqlx::query"), "{log}");
    // Libraries that print whatever they are given are not asked at all.
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
