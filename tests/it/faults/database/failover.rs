//! A failover to a standby that did not get the last commits.

use invitations::proto::{BulkCreateRequest, BulkCreateResponse, WatchRequest};
use invitations::store::Store;
use sqlx::Executor as _;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::support::database::{Database, count};
use crate::support::deployment::{Deployment, client, is_serving};
use crate::support::deployment_invitations::invite_with_link;
use crate::support::invariants::assert_invariants;
use crate::support::postgres_cluster::PostgresCluster;
use crate::support::waiting::wait_until;
use crate::support::watch_stream::{WatchStream, open_watch, watch_request};
use crate::support::{accept_request, invite_request, new_request_id, status_reason};

async fn create(
    channel: &Channel,
    request: BulkCreateRequest,
) -> Result<BulkCreateResponse, Status> {
    let answer = client(channel).bulk_create(request).await?;
    Ok(answer.into_inner())
}

/// Resumes a watch, and returns why that is refused.
async fn refused_resume(channel: &Channel, cursor: &str) -> (Code, String) {
    let request = WatchRequest {
        cursor: cursor.to_owned(),
        ..watch_request()
    };
    let refused = match open_watch(client(channel), request).await {
        Ok(mut stream) => stream.message().await.err().unwrap(),
        Err(refused) => refused,
    };
    (refused.code(), status_reason(&refused))
}

/// F09 of the fault plan.
#[tokio::test]
async fn a_failover_that_loses_commits_expires_cursors_and_repeated_requests_are_done_again() {
    let primary = PostgresCluster::start().await;
    Store::migrate(&primary.url().await).await.unwrap();
    let standby = primary.start_standby().await;
    let deployment = Deployment::with_database(Database::create_empty().await).await;
    let url = format!(
        "postgres://invitations@/postgres?host={},{}&target_session_attrs=read-write",
        standby.socket().await,
        primary.socket().await
    );
    // The first server of the URL does not accept writes yet.
    let (_running, channel) = deployment
        .serve_populated(&[("INVITATIONS_DATABASE_URL", &url)])
        .await;
    let kept = create(&channel, invite_request(&["kept@b.co"]));
    assert_eq!(kept.await.unwrap().failed_count, 0);
    let mut watch = WatchStream::begin(client(&channel), watch_request()).await;
    watch.wait_for_events(1).await;
    let kept_cursor = watch.cursors.last().unwrap().0.clone();
    let token = invite_with_link(&channel, "accepts@b.co").await;
    wait_until("the standby to replay the invitations", async || {
        count(&mut standby.connect().await, "invitations").await == 2
    })
    .await;
    standby.stop_replication().await;
    let accept = accept_request(&token, "newcomer", "accepts@b.co");
    client(&channel).accept(accept.clone()).await.unwrap();

    let lost_request = BulkCreateRequest {
        request_id: new_request_id(),
        ..invite_request(&["lost@b.co"])
    };
    let lost = create(&channel, lost_request.clone()).await.unwrap();
    let is_lost = |watch: &WatchStream| {
        let id = &lost.results[0].invitation.as_ref().unwrap().id;
        watch.events.iter().any(|event| event.invitation_id == *id)
    };
    while !is_lost(&watch) {
        watch.next().await.unwrap();
    }
    let lost_cursor = watch.cursors.last().unwrap().0.clone();
    primary.crash().await;
    standby.promote().await;

    wait_until("the repeated request to succeed", async || {
        create(&channel, lost_request.clone()).await.is_ok()
    })
    .await;
    wait_until("SERVING", async || is_serving(&channel).await).await;
    // The new primary gives the numbers of lost transactions to other transactions.
    let mut database = standby.connect().await;
    for _ in 0..100 {
        database
            .execute("SELECT pg_current_xact_id()")
            .await
            .unwrap();
    }
    let expired = (Code::FailedPrecondition, "CURSOR_EXPIRED".to_owned());
    for cursor in [&lost_cursor, &kept_cursor] {
        assert_eq!(refused_resume(&channel, cursor).await, expired);
    }
    // The stream that was open before has ended, at the latest with its next read.
    let ended = loop {
        if let Err(status) = watch.next().await {
            break status;
        }
    };
    assert!(
        ended.code() == Code::Unavailable || status_reason(&ended) == expired.1,
        "{ended:?}"
    );
    assert_eq!(count(&mut database, "invitations").await, 3);
    let mut again = WatchStream::begin(client(&channel), watch_request()).await;
    again.wait_for_events(3).await;

    // The membership was lost together with the state of its invitation, and the user can accept again.
    assert_eq!(
        count(&mut database, "memberships WHERE user_id = 'newcomer'").await,
        0
    );
    client(&channel).accept(accept).await.unwrap();
    wait_until("every email to be sent", async || {
        count(&mut standby.connect().await, "outbox WHERE state <> 'sent'").await == 0
    })
    .await;
    // What the database forgot is sent again.
    let received = deployment.relay.received();
    assert_invariants(&mut database, &received, received.len()).await;
}

#[tokio::test]
async fn an_old_primary_that_accepts_writes_again_gets_none() {
    let primary = PostgresCluster::start().await;
    Store::migrate(&primary.url().await).await.unwrap();
    let standby = primary.start_standby().await;
    let deployment = Deployment::with_database(Database::create_empty().await).await;
    let url = format!(
        "postgres://invitations@/postgres?host={},{}",
        primary.socket().await,
        standby.socket().await
    );
    let (running, channel) = deployment
        .serve_populated(&[("INVITATIONS_DATABASE_URL", &url)])
        .await;
    let before = create(&channel, invite_request(&["before@b.co"]));
    assert_eq!(before.await.unwrap().failed_count, 0);
    wait_until("the standby to replay the invitation", async || {
        count(&mut standby.connect().await, "invitations").await == 1
    })
    .await;
    primary.crash().await;
    standby.promote().await;
    let request = BulkCreateRequest {
        request_id: new_request_id(),
        ..invite_request(&["between@b.co"])
    };
    wait_until("the standby to be used", async || {
        create(&channel, request.clone()).await.is_ok()
    })
    .await;

    // The old primary is the first server of the URL and the only one that answers.
    primary.start_again().await;
    standby.crash().await;
    let request = BulkCreateRequest {
        request_id: new_request_id(),
        ..invite_request(&["after@b.co"])
    };
    wait_until("the old primary to be refused", async || {
        assert!(create(&channel, request.clone()).await.is_err());
        running.log().contains("on an older timeline")
    })
    .await;
    standby.start_again().await;
    wait_until("the standby to be used again", async || {
        create(&channel, request.clone()).await.is_ok()
    })
    .await;
    assert_eq!(count(&mut primary.connect().await, "invitations").await, 1);
    assert_eq!(count(&mut standby.connect().await, "invitations").await, 3);
    wait_until("every email to be sent", async || {
        count(&mut standby.connect().await, "outbox WHERE state <> 'sent'").await == 0
    })
    .await;
}
