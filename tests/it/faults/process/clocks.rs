//! Processes whose clock is wrong, beside a process whose clock is right. All of them decide by the clock of the
//! database, so nothing happens early, late or twice.

use std::fs;
use std::time::Duration;

use invitations::clock::{Clock as _, SystemClock};
use invitations::proto::invitation_service_client::InvitationServiceClient;
use invitations::proto::{BulkCreateRequest, NewInvitation, new_invitation};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tonic::transport::Channel;

use crate::support::callers::caller_channel;
use crate::support::deployment::{Deployment, client, is_serving};
use crate::support::deployment_invitations::{invite_fifty, invite_with_link, received_addresses};
use crate::support::fake_clock::FakeClock;
use crate::support::mail_queue::{CONNECTIONS, MailQueue};
use crate::support::relay::{RelayAction, SmtpStep};
use crate::support::requests::{
    accept_request, create_request, item_without_email, new_request_id, preview_request,
};
use crate::support::server_process::ServerProcess;
use crate::support::user_issuer::UserIssuer;
use crate::support::waiting::wait_until;
use crate::support::{created_ids, reason, token_of_link};

/// Lets a process with a wrong clock serve.
const ANY_DIFFERENCE: (&str, &str) = ("INVITATIONS_DATABASE_CLOCK_DIFFERENCE_MAX", "365d");

#[tokio::test]
async fn workers_with_wrong_and_jumping_clocks_send_each_email_once() {
    let emails = 200;
    let queue = MailQueue::with_messages(emails).await;
    let clocks = ["+3m", "+1d", "-10m", "+0m"];
    let workers_max = clocks.len() + 1;
    // Each worker has emails in flight while the others look for expired leases.
    let reply = RelayAction::ReplyLate(Duration::from_secs(8), "250 2.0.0 ok".to_owned());
    for _ in 0..workers_max {
        queue.act_on_each_connection(SmtpStep::Message, &reply);
    }
    let lease = ("INVITATIONS_LEASE_DURATION", "20s");
    let clocks = clocks
        .map(|offset| FakeClock::create(&queue.deployment, &format!("clock{offset}"), offset));
    let _right = queue.start_worker(&[lease]);
    let _wrong: Vec<_> = clocks
        .iter()
        .map(|clock| queue.start_worker(&clock.settings(&[lease])))
        .collect();
    queue.wait_until_received(workers_max * CONNECTIONS).await;
    let [.., jumping] = &clocks;
    jumping.set("+1d");
    queue
        .wait_until_received(workers_max * CONNECTIONS + 1)
        .await;
    jumping.set("-10m");
    queue.wait_until_all_sent().await;
    assert_eq!(queue.arrivals(emails).duplicates(), 0);
}

#[tokio::test]
async fn wrong_clocks_expire_no_invitation_early_or_late_and_execute_no_request_twice() {
    let deployment = Deployment::create().await;
    let (_right, channel) = deployment.serve_populated(&[]).await;
    let (_ahead, ahead) = serve_at(&deployment, "+1d").await;
    let (_behind, behind) = serve_at(&deployment, "-10m").await;
    let request = request_for_two_hours();
    let (ids, token) = create(&channel, &request).await;
    let expired = invite_with_link(&channel, "expired@b.co").await;

    // The process that is ahead sweeps all the time. The second sweep begins after the first one is complete.
    let mut database = deployment.database.connect().await;
    for email in ["first@b.co", "second@b.co"] {
        invite_with_link(&channel, email).await;
        expire(&mut database, email).await;
        wait_until("a sweep", async || {
            let mut database = deployment.database.connect().await;
            let state = state(&mut database, email).await;
            database.close().await.unwrap();
            state == "expired"
        })
        .await;
    }
    assert_eq!(state(&mut database, "a@b.co").await, "pending");
    for channel in [&channel, &ahead, &behind] {
        assert_eq!(create(channel, &request).await.0, ids);
    }

    let accept = accept_request(&token, "user", "a@b.co");
    client(&ahead).accept(accept).await.unwrap();
    expire(&mut database, "expired@b.co").await;
    let accept = accept_request(&expired, "user", "expired@b.co");
    assert_eq!(
        reason(client(&behind).accept(accept).await),
        "INVITATION_EXPIRED"
    );
}

#[tokio::test]
async fn processes_with_wrong_clocks_accept_valid_jwts_and_no_expired_one() {
    let issuer = UserIssuer::start().await;
    let deployment = Deployment::create().await;
    let callers = fs::read_to_string(deployment.path("callers")).unwrap();
    deployment.write("callers", &(callers + &issuer.table()));
    let (_right, right) = deployment.serve_populated(&[]).await;
    let link = invite_with_link(&right, "a@b.co").await;
    let now = SystemClock.now();
    let token_at = |time| issuer.token_at(time, &json!({"sub": "user"}));
    let (valid, expired) = (token_at(now), token_at(now - Duration::from_mins(15)));
    for offset in ["+1d", "-10m"] {
        let (_wrong, channel) = serve_at(&deployment, offset).await;
        let preview = async |token: &str| {
            let mut client = InvitationServiceClient::new(caller_channel(&channel, token));
            client.preview(preview_request(&link)).await
        };
        assert!(preview(&valid).await.is_ok(), "{offset}");
        assert_eq!(
            reason(preview(&expired).await),
            "CREDENTIALS_INVALID",
            "{offset}"
        );
    }
}

#[tokio::test]
async fn emails_that_a_process_with_a_wrong_clock_queued_are_sent_at_once() {
    let deployment = Deployment::create().await;
    let (_right, _) = deployment.serve_populated(&[]).await;
    let (ahead, channel) = serve_at(&deployment, "+1d").await;
    let emails = invite_fifty(&channel).await;
    ahead.crash().await;
    deployment.relay.wait_until_received(emails.len()).await;
    assert_eq!(received_addresses(&deployment), emails);
}

#[tokio::test]
async fn a_process_whose_clock_is_wrong_logs_each_change_once_and_reports_not_serving() {
    let deployment = Deployment::create().await;
    let clock = FakeClock::create(&deployment, "clock", "+3m");
    let process = deployment.start("serve", &clock.settings(&[]));
    let channel = process.channel().await;
    let differences = || {
        let log = process.log();
        log.matches("differs from the clock of the database")
            .count()
    };
    let wait_for_health = async |expected: bool| {
        wait_until("the health", async || {
            is_serving(&channel).await == expected
        })
        .await;
    };
    wait_until("the difference", async || differences() == 1).await;
    assert!(!is_serving(&channel).await);
    clock.set("+0m");
    wait_for_health(true).await;
    clock.set("-10m");
    wait_for_health(false).await;
    assert_eq!(differences(), 2);
    clock.set("+1d");
    wait_until("the next difference", async || differences() == 3).await;
    clock.set("+0m");
    wait_for_health(true).await;
    let log = process.log();
    assert_eq!(differences(), 3, "{log}");
    assert_eq!(
        log.matches("agrees with the clock of the database again")
            .count(),
        2,
        "{log}"
    );
}

/// Starts a process with a wrong clock, which sweeps all the time.
async fn serve_at(deployment: &Deployment, offset: &str) -> (ServerProcess, Channel) {
    let clock = FakeClock::create(deployment, &format!("clock{offset}"), offset);
    let sweep = ("INVITATIONS_SWEEP_INTERVAL", "50ms");
    deployment
        .serve(&clock.settings(&[ANY_DIFFERENCE, sweep]))
        .await
}

fn request_for_two_hours() -> BulkCreateRequest {
    let two_hours = prost_types::Duration {
        seconds: 2 * 60 * 60,
        nanos: 0,
    };
    let item = NewInvitation {
        expiration: Some(new_invitation::Expiration::Ttl(two_hours)),
        ..item_without_email("a@b.co")
    };
    BulkCreateRequest {
        request_id: new_request_id(),
        return_link: true,
        ..create_request(vec![item])
    }
}

/// Returns the ids of the invitations and the token of the last one.
async fn create(channel: &Channel, request: &BulkCreateRequest) -> (Vec<String>, String) {
    let answer = client(channel).bulk_create(request.clone()).await.unwrap();
    let answer = answer.into_inner();
    let token = token_of_link(&answer.results.last().unwrap().link);
    (created_ids(&answer), token)
}

/// Ends the life of an invitation by the clock of the database.
async fn expire(database: &mut PgConnection, email: &str) {
    sqlx::query("UPDATE invitations SET expires_at = now() WHERE email = $1")
        .bind(email)
        .execute(database)
        .await
        .unwrap();
}

async fn state(database: &mut PgConnection, email: &str) -> String {
    sqlx::query_scalar("SELECT state FROM invitations WHERE email = $1")
        .bind(email)
        .fetch_one(database)
        .await
        .unwrap()
}
