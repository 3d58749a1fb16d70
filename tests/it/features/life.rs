//! Decline, revoke, resend, expiry, and what deletions take with them.

use invitations::proto::{
    DeclineRequest, DeleteMembershipRequest, DeleteOrganizationRequest, DeleteUserRequest,
    DeliveryState, InvitationState, ResendRequest, RevokeRequest, resend_request,
};
use time::Duration;
use tonic::Status;

use crate::support::{ACME, OTHER, START, World, created, invite_request, reason};

fn revoke_request(invitation_id: &str) -> RevokeRequest {
    RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: invitation_id.to_owned(),
        user_id: "ada".to_owned(),
    }
}

fn resend_request(invitation_id: &str) -> ResendRequest {
    ResendRequest {
        organization_id: ACME.to_owned(),
        invitation_id: invitation_id.to_owned(),
        ..Default::default()
    }
}

async fn decline(world: &World, token: &str) -> Result<invitations::proto::Invitation, Status> {
    let request = DeclineRequest {
        token: token.to_owned(),
        suppress: false,
    };
    world
        .client()
        .decline(request)
        .await
        .map(|answer| answer.into_inner().invitation.unwrap())
}

#[tokio::test]
async fn a_declined_invitation_stays_declined() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let declined = decline(&world, &token).await.unwrap();
    assert_eq!(declined.state(), InvitationState::Declined);
    assert!(declined.decline_time.is_some());
    world.clock.advance(Duration::hours(1));
    assert!(
        decline(&world, &token).await.unwrap() == declined,
        "again is fine and changes nothing"
    );
    assert_eq!(
        reason(world.accept(&token, "new", "a@b.co").await),
        "DECLINED"
    );
    let revoked = world
        .client()
        .revoke(revoke_request(&invitation.id))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        revoked.invitation.unwrap().state(),
        InvitationState::Declined
    );
    assert_eq!(
        reason(world.client().resend(resend_request(&invitation.id)).await),
        "DECLINED"
    );
    created(&world.invite(&["a@b.co"]).await.results[0]);
    world.deliver_all().await;
}

#[tokio::test]
async fn a_revoked_invitation_is_dead_and_its_queued_mail_with_it() {
    let mut world = World::start().await;
    let invitation = created(&world.invite(&["a@b.co"]).await.results[0]);
    let revoked = world
        .client()
        .revoke(revoke_request(&invitation.id))
        .await
        .unwrap()
        .into_inner();
    let revoked = revoked.invitation.unwrap();
    assert_eq!(
        (revoked.state(), revoked.revoked_by_user_id.as_str()),
        (InvitationState::Revoked, "ada")
    );
    assert_eq!(
        revoked.delivery.as_ref().unwrap().state(),
        DeliveryState::Canceled
    );
    assert_eq!(world.deliver_all().await, 0);
    world.clock.advance(Duration::hours(1));
    let again = world
        .client()
        .revoke(revoke_request(&invitation.id))
        .await
        .unwrap()
        .into_inner();
    assert!(again.invitation.unwrap() == revoked);
    assert_eq!(
        reason(world.client().resend(resend_request(&invitation.id)).await),
        "REVOKED"
    );
}

#[tokio::test]
async fn an_accepted_invitation_cannot_be_taken_back() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    world.accept(&token, "new", "a@b.co").await.unwrap();
    assert_eq!(
        reason(world.client().revoke(revoke_request(&invitation.id)).await),
        "ALREADY_ACCEPTED"
    );
    assert_eq!(
        reason(world.client().resend(resend_request(&invitation.id)).await),
        "ALREADY_ACCEPTED"
    );
    assert_eq!(reason(decline(&world, &token).await), "ALREADY_ACCEPTED");
}

#[tokio::test]
async fn a_resent_invitation_keeps_its_link_unless_that_is_to_be_cut() {
    let mut world = World::start().await;
    let (invitation, first) = world.invite_one("a@b.co").await;
    world.clock.advance(Duration::hours(1));
    let ttl = resend_request::Expiry::Ttl(prost_types::Duration {
        seconds: 86_400,
        nanos: 0,
    });
    let request = ResendRequest {
        expiry: Some(ttl),
        ..resend_request(&invitation.id)
    };
    let resent = world
        .client()
        .resend(request)
        .await
        .unwrap()
        .into_inner()
        .invitation
        .unwrap();
    assert_eq!(resent.id, invitation.id);
    assert_eq!(
        resent.expire_time.unwrap().seconds,
        (START + Duration::hours(25)).unix_timestamp()
    );
    assert_eq!(resent.delivery.unwrap().state(), DeliveryState::Queued);
    world.deliver_all().await;
    let mails = world.mailbox();
    assert_eq!((mails.len(), mails[1].token()), (2, first.clone()));
    assert_ne!(mails[0].message_id, mails[1].message_id, "another mail");

    let request = ResendRequest {
        rotate_token: true,
        ..resend_request(&invitation.id)
    };
    world.client().resend(request).await.unwrap();
    world.deliver_all().await;
    let second = world.mail_to("a@b.co").token();
    assert_ne!(first, second);
    assert_eq!(
        reason(world.accept(&first, "new", "a@b.co").await),
        "TOKEN_INVALID"
    );
    world.accept(&second, "new", "a@b.co").await.unwrap();
}

#[tokio::test]
async fn a_mail_that_is_still_queued_is_replaced_and_not_added_to() {
    let mut world = World::start().await;
    let invitation = created(&world.invite(&["a@b.co"]).await.results[0]);
    for _ in 0..3 {
        world
            .client()
            .resend(resend_request(&invitation.id))
            .await
            .unwrap();
    }
    assert_eq!(world.deliver_all().await, 1);
    assert_eq!(world.mailbox().len(), 1);
}

#[tokio::test]
async fn an_expired_invitation_comes_back_with_a_new_link() {
    let mut world = World::start().await;
    let (invitation, first) = world.invite_one("a@b.co").await;
    world.clock.advance(Duration::days(31));
    world.service.sweep().await.unwrap();
    let resent = world
        .client()
        .resend(resend_request(&invitation.id))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(resent.invitation.unwrap().state(), InvitationState::Pending);
    world.deliver_all().await;
    assert_eq!(
        reason(world.accept(&first, "new", "a@b.co").await),
        "TOKEN_INVALID"
    );
    let second = world.mail_to("a@b.co").token();
    world.accept(&second, "new", "a@b.co").await.unwrap();
}

#[tokio::test]
async fn an_expired_invitation_does_not_come_back_beside_a_newer_one() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    world.clock.advance(Duration::days(31));
    world.invite_one("a@b.co").await;
    assert_eq!(
        reason(world.client().resend(resend_request(&invitation.id)).await),
        "ALREADY_INVITED"
    );
}

#[tokio::test]
async fn the_sweeper_writes_down_what_has_expired_and_cancels_its_mail() {
    let mut world = World::start().await;
    let emails: Vec<String> = (0..1_100)
        .map(|number| format!("person{number}@example.com"))
        .collect();
    let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
    let response = world.invite(&emails).await;
    world.clock.advance(Duration::days(30));
    world.service.sweep().await.unwrap();
    let mut database = world.database().await;
    let counts: (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM invitations WHERE state = 'expired' AND delivery_state = 'canceled'),
                (SELECT count(*) FROM outbox WHERE state = 'canceled')",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    assert_eq!(counts, (1_100, 1_100));
    let id = created(&response.results[0]).id;
    let revoked = world
        .client()
        .revoke(revoke_request(&id))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        revoked.invitation.unwrap().state(),
        InvitationState::Expired
    );
    assert_eq!(world.deliver_all().await, 0);
}

#[tokio::test]
async fn an_invitation_of_another_organization_is_as_unknown_as_none() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let foreign = RevokeRequest {
        organization_id: OTHER.to_owned(),
        ..revoke_request(&invitation.id)
    };
    let unknown = revoke_request("019aacd0-0000-7000-8000-000000000001");
    let foreign = world.client().revoke(foreign).await.err().unwrap();
    let unknown = world.client().revoke(unknown).await.err().unwrap();
    assert_eq!(
        (foreign.code(), foreign.message(), foreign.details()),
        (unknown.code(), unknown.message(), unknown.details())
    );
    assert_eq!(reason(Err::<(), _>(foreign)), "INVITATION_NOT_FOUND");
}

#[tokio::test]
async fn whoever_is_gone_leaves_no_open_invitation_behind() {
    let mut world = World::start().await;
    for inviter in ["bob", "carl"] {
        world.add_user(inviter, "", &[]).await;
        world.add_member(ACME, inviter, "admin").await;
        let request = invitations::proto::BulkCreateRequest {
            inviter_user_id: inviter.to_owned(),
            ..invite_request(&[&format!("1.{inviter}@b.co"), &format!("2.{inviter}@b.co")])
        };
        world.client().bulk_create(request).await.unwrap();
    }
    let (_, token) = world.invite_one("kept@b.co").await;
    let request = DeleteMembershipRequest {
        organization_id: ACME.to_owned(),
        user_id: "bob".to_owned(),
    };
    let answer = world
        .directory()
        .delete_membership(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.revoked_invitation_count, 2);
    assert_eq!(
        reason(world.directory().delete_membership(request).await),
        "MEMBERSHIP_NOT_FOUND"
    );
    let request = DeleteUserRequest {
        user_id: "carl".to_owned(),
    };
    let answer = world
        .directory()
        .delete_user(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            answer.revoked_invitation_count,
            answer.deleted_membership_count
        ),
        (2, 1)
    );
    assert_eq!(
        reason(world.directory().delete_user(request).await),
        "USER_NOT_FOUND"
    );

    let request = DeleteOrganizationRequest {
        organization_id: ACME.to_owned(),
    };
    let answer = world
        .directory()
        .delete_organization(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (
            answer.revoked_invitation_count,
            answer.deleted_membership_count
        ),
        (1, 2)
    );
    assert_eq!(
        reason(world.accept(&token, "new", "kept@b.co").await),
        "ORGANIZATION_INACTIVE"
    );
    assert_eq!(
        reason(
            world
                .client()
                .bulk_create(invite_request(&["a@b.co"]))
                .await
        ),
        "ORGANIZATION_NOT_FOUND"
    );
}
