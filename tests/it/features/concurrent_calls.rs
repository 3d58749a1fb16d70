//! Concurrent calls on the same rows: every call has its full effect or none, and there are no deadlocks.

use futures::future::join_all;
use invitations::proto::{
    BulkCreateRequest, DeliveryState, InvitationState, ListRequest, OnExisting, ResendOutcome,
};

use crate::support::callers::MailClient;
use crate::support::deadlocks::assert_no_deadlocks;
use crate::support::{
    ACME, InvitationClient, World, accept_request, bulk_resend_request, created_ids,
    delete_membership_request, invite_request, list_request, numbered_emails, reason,
    requeue_request, revoke_request, run_concurrently,
};

/// Invites a hundred addresses, in ascending or descending order.
fn batch(is_ascending: bool, on_existing: OnExisting) -> BulkCreateRequest {
    let mut emails = numbered_emails("person", "example.com", 0..100);
    if !is_ascending {
        emails.reverse();
    }
    BulkCreateRequest {
        on_existing: on_existing.into(),
        ..invite_request(&emails)
    }
}

/// Counts the pending invitations of an inviter, or of all.
async fn count_pending(world: &World, inviter_user_id: Option<&str>) -> usize {
    let request = ListRequest {
        page_size: 1_000,
        filter: Some(invitations::proto::InvitationFilter {
            states: vec![InvitationState::Pending.into()],
            inviter_user_id: inviter_user_id.map(str::to_owned),
            ..Default::default()
        }),
        ..list_request()
    };
    world.list(request).await.invitations.len()
}

#[tokio::test]
async fn overlapping_batches_of_every_mode_wait_for_each_other_without_deadlock() {
    let mut world = World::start().await;
    world.bulk_create(batch(true, OnExisting::Fail)).await;
    for on_existing in [
        OnExisting::Resend,
        OnExisting::Replace,
        OnExisting::Return,
        OnExisting::Fail,
    ] {
        let client = world.client();
        let calls = run_concurrently((0..4).map(|number| {
            let mut client = client.clone();
            let request = batch(number % 2 == 0, on_existing);
            async move { client.bulk_create(request).await }
        }));
        // Emails are delivered at the same time, and their settlement locks the same rows.
        let (responses, _) = tokio::join!(calls, world.deliver_all());
        let mut succeeded = 0;
        for response in responses {
            match response {
                Ok(_) => succeeded += 1,
                refused => assert_eq!(reason(refused), "CONFLICT", "{on_existing:?}"),
            }
        }
        assert!(succeeded > 0, "{on_existing:?}");
        assert_eq!(count_pending(&world, None).await, 100, "{on_existing:?}");
    }
    world.deliver_all().await;
    assert_no_deadlocks(world.database().await).await;
}

#[tokio::test]
async fn an_inviter_removed_during_a_batch_leaves_no_pending_invitation() {
    let mut world = World::start().await;
    world.add_user("bob", "Bob", &[]).await;
    for round in 0..20 {
        world.add_member(ACME, "bob", "admin").await;
        let emails = numbered_emails("person", &format!("round{round}.example"), 0..100);
        let request = BulkCreateRequest {
            inviter_user_id: "bob".to_owned(),
            ..invite_request(&emails)
        };
        let removal = delete_membership_request("bob");
        let (mut client, mut directory) = (world.client(), world.directory());
        let (created, removed) = tokio::join!(
            client.bulk_create(request),
            directory.delete_membership(removal)
        );
        assert_eq!(
            removed.unwrap().into_inner().revoked_invitation_count,
            i64::from(created.unwrap().into_inner().succeeded_count),
            "round {round}"
        );
        assert_eq!(count_pending(&world, Some("bob")).await, 0, "round {round}");
    }
    assert_eq!(world.deliver_all().await, 0);
}

/// Resends and requeues the invitations five times.
async fn resend_and_requeue(mut client: InvitationClient, mut mails: MailClient, ids: Vec<String>) {
    for _ in 0..5 {
        let response = client.bulk_resend(bulk_resend_request(&ids)).await;
        for result in response.unwrap().into_inner().results {
            let is_resent = result.outcome() == ResendOutcome::Resent;
            assert_eq!(is_resent, result.invitation.is_some());
        }
        mails.requeue_messages(requeue_request(&ids)).await.unwrap();
    }
}

/// Accepts every third invitation, beginning with the last one.
async fn accept_every_third(mut client: InvitationClient, tokens: Vec<String>) {
    for index in (0..tokens.len()).rev().filter(|index| index % 3 == 0) {
        let email = format!("person{index}@example.com");
        let request = accept_request(&tokens[index], &format!("user{index}"), &email);
        client.accept(request).await.unwrap();
    }
}

/// Revokes every third invitation, beginning with the last one.
async fn revoke_every_third(mut client: InvitationClient, ids: Vec<String>) {
    for index in (0..ids.len()).rev().filter(|index| index % 3 == 1) {
        client.revoke(revoke_request(&ids[index])).await.unwrap();
    }
}

#[tokio::test]
async fn concurrent_resends_requeues_accepts_and_revokes_neither_deadlock_nor_lose_a_result() {
    let mut world = World::start().await;
    let response = world.bulk_create(batch(true, OnExisting::Fail)).await;
    let ids = created_ids(&response);
    world.deliver_all().await;
    let tokens: Vec<String> = response
        .results
        .iter()
        .map(|result| world.mail_to(&result.email).token())
        .collect();
    let mut tasks = Vec::new();
    for caller in 0..4 {
        let mut ids = ids.clone();
        if caller % 2 == 1 {
            ids.reverse();
        }
        let resending = resend_and_requeue(world.client(), world.mails(), ids);
        tasks.push(tokio::spawn(resending));
    }
    tasks.push(tokio::spawn(accept_every_third(world.client(), tokens)));
    let revoking = revoke_every_third(world.client(), ids.clone());
    tasks.push(tokio::spawn(revoking));
    let (tasks, _) = tokio::join!(join_all(tasks), world.deliver_all());
    for task in tasks {
        task.unwrap();
    }
    assert_eq!(count_pending(&world, None).await, 33);
    world.deliver_all().await;
    for (index, id) in ids.iter().enumerate() {
        let invitation = world.get(id).await;
        let delivery = invitation.delivery.as_ref().unwrap().state();
        let expected = match index % 3 {
            0 => InvitationState::Accepted,
            1 => InvitationState::Revoked,
            _ => InvitationState::Pending,
        };
        assert_eq!(invitation.state(), expected, "{index}");
        if expected == InvitationState::Pending {
            assert_eq!(delivery, DeliveryState::Sent, "{index}");
        }
    }
    assert_no_deadlocks(world.database().await).await;
}
