//! Calls that meet on the same rows: nobody is lost, nobody is doubled, and nothing deadlocks.

use invitations::proto::{
    BulkCreateRequest, BulkResendRequest, DeleteMembershipRequest, DeliveryState, InvitationState,
    ListRequest, OnExisting, RequeueRequest, ResendOutcome, RevokeRequest,
};

use crate::support::{ACME, World, accept_request, created, invite_request, reason};

/// The addresses of a batch, forward or backward.
fn batch(is_forward: bool, on_existing: OnExisting) -> BulkCreateRequest {
    let mut emails: Vec<String> = (0..100)
        .map(|number| format!("person{number}@example.com"))
        .collect();
    if !is_forward {
        emails.reverse();
    }
    let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
    BulkCreateRequest {
        on_existing: on_existing.into(),
        ..invite_request(&emails)
    }
}

async fn pending(world: &World, inviter_user_id: &str) -> usize {
    let request = ListRequest {
        organization_id: ACME.to_owned(),
        state: InvitationState::Pending.into(),
        inviter_user_id: inviter_user_id.to_owned(),
        page_size: 1_000,
        ..Default::default()
    };
    world
        .client()
        .list(request)
        .await
        .unwrap()
        .into_inner()
        .invitations
        .len()
}

/// Deadlocks the database found since it was made.
async fn deadlocks(world: &World) -> i64 {
    let mut database = world.database().await;
    sqlx::query_scalar("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        .fetch_one(&mut database)
        .await
        .unwrap()
}

#[tokio::test]
async fn overlapping_batches_wait_for_each_other_whatever_they_do_to_the_invited() {
    let mut world = World::start().await;
    world
        .client()
        .bulk_create(batch(true, OnExisting::Fail))
        .await
        .unwrap();
    for on_existing in [
        OnExisting::Resend,
        OnExisting::Replace,
        OnExisting::Return,
        OnExisting::Fail,
    ] {
        let calls = (0..4).map(|number| {
            let mut client = world.client();
            let request = batch(number % 2 == 0, on_existing);
            tokio::spawn(async move { client.bulk_create(request).await })
        });
        let calls = futures::future::join_all(calls);
        // Mails go out meanwhile: settling them locks the same rows.
        let (answers, _) = tokio::join!(calls, world.deliver_all());
        let mut succeeded = 0;
        for answer in answers {
            match answer.unwrap() {
                Ok(_) => succeeded += 1,
                refused => assert_eq!(reason(refused), "CONFLICT", "{on_existing:?}"),
            }
        }
        assert!(succeeded > 0, "{on_existing:?}");
        assert_eq!(pending(&world, "").await, 100, "{on_existing:?}");
    }
    world.deliver_all().await;
    assert_eq!(deadlocks(&world).await, 0);
}

#[tokio::test]
async fn whoever_is_removed_in_the_middle_of_a_batch_leaves_nothing_pending() {
    let mut world = World::start().await;
    world.add_user("bob", "Bob", &[]).await;
    for round in 0..20 {
        world.add_member(ACME, "bob", "admin").await;
        let emails: Vec<String> = (0..100)
            .map(|number| format!("person{number}@round{round}.example"))
            .collect();
        let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
        let request = BulkCreateRequest {
            inviter_user_id: "bob".to_owned(),
            ..invite_request(&emails)
        };
        let removal = DeleteMembershipRequest {
            organization_id: ACME.to_owned(),
            user_id: "bob".to_owned(),
        };
        let (mut client, mut directory) = (world.client(), world.directory());
        let (made, removed) = tokio::join!(
            client.bulk_create(request),
            directory.delete_membership(removal)
        );
        let (made, removed) = (made.unwrap().into_inner(), removed.unwrap().into_inner());
        assert_eq!(
            removed.revoked_invitation_count,
            i64::from(made.created_count),
            "round {round}"
        );
        assert_eq!(pending(&world, "bob").await, 0, "round {round}");
    }
    assert_eq!(world.deliver_all().await, 0);
}

#[tokio::test]
async fn resending_requeueing_accepting_and_revoking_meet_without_deadlock_or_loss() {
    let mut world = World::start().await;
    let made = world
        .client()
        .bulk_create(batch(true, OnExisting::Fail))
        .await;
    let made = made.unwrap().into_inner();
    let ids: Vec<String> = made.results.iter().map(|it| created(it).id).collect();
    world.deliver_all().await;
    let tokens: Vec<String> = made
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
        let (mut client, mut mails) = (world.client(), world.mails_of("all"));
        tasks.push(tokio::spawn(async move {
            for _ in 0..5 {
                let request = BulkResendRequest {
                    organization_id: ACME.to_owned(),
                    invitation_ids: ids.clone(),
                    ..Default::default()
                };
                let answer = client.bulk_resend(request).await.unwrap().into_inner();
                for result in answer.results {
                    let is_resent = result.outcome() == ResendOutcome::Resent;
                    assert_eq!(is_resent, result.invitation.is_some());
                }
                let request = RequeueRequest {
                    organization_id: ACME.to_owned(),
                    invitation_ids: ids.clone(),
                    all_dead: false,
                };
                mails.requeue(request).await.unwrap();
            }
        }));
    }
    // Some accept and some revoke, each from the end of the list.
    for remainder in [0, 1] {
        let mut client = world.client();
        let (ids, tokens) = (ids.clone(), tokens.clone());
        tasks.push(tokio::spawn(async move {
            for index in (0..ids.len()).rev().filter(|index| index % 3 == remainder) {
                if remainder == 0 {
                    let (user, email) =
                        (format!("user{index}"), format!("person{index}@example.com"));
                    let request = accept_request(&tokens[index], &user, &email);
                    client.accept(request).await.unwrap();
                } else {
                    let request = RevokeRequest {
                        organization_id: ACME.to_owned(),
                        invitation_id: ids[index].clone(),
                        user_id: String::new(),
                    };
                    client.revoke(request).await.unwrap();
                }
            }
        }));
    }
    let (tasks, _) = tokio::join!(futures::future::join_all(tasks), world.deliver_all());
    for task in tasks {
        task.unwrap();
    }
    assert_eq!(pending(&world, "").await, 33);
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
    assert_eq!(deadlocks(&world).await, 0);
}
