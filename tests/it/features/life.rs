//! The life cycle of an invitation: decline, revoke, resend, expiry, and the deletions that end invitations.

use invitations::proto::{
    BulkCreateRequest, DeleteUserRequest, DeliveryState, Invitation, InvitationState,
    ResendRequest, RevokeRequest, resend_request,
};
use time::Duration;
use tonic::Status;

use crate::support::{
    ACME, OTHER, START, UNKNOWN_ID, World, created, delete_membership_request, invite_request,
    numbered_emails, reason, resend_request, revoke_request, status_reason,
};

/// Revokes on behalf of `ada`.
async fn revoke(world: &World, invitation_id: &str) -> Result<Invitation, Status> {
    let request = RevokeRequest {
        acting_user_id: "ada".to_owned(),
        ..revoke_request(invitation_id)
    };
    let answer = world.client().revoke(request).await?;
    Ok(answer.into_inner().invitation.unwrap())
}

async fn resend(world: &World, request: ResendRequest) -> Result<Invitation, Status> {
    let answer = world.client().resend(request).await?;
    Ok(answer.into_inner().invitation.unwrap())
}

#[tokio::test]
async fn a_declined_invitation_stays_declined() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let declined = world.decline(&token).await.unwrap();
    assert_eq!(declined.state(), InvitationState::Declined);
    assert!(declined.decline_time.is_some());
    world.clock.advance(Duration::hours(1));
    let again = world.decline(&token).await.unwrap();
    assert!(again == declined, "a repeated decline changes nothing");
    let accepted = world.accept(&token, "new", "a@b.co").await;
    assert_eq!(reason(accepted), "INVITATION_DECLINED");
    let revoked = revoke(&world, &invitation.id).await.unwrap();
    assert_eq!(revoked.state(), InvitationState::Declined);
    let resent = resend(&world, resend_request(&invitation.id)).await;
    assert_eq!(reason(resent), "INVITATION_DECLINED");
    created(&world.invite(&["a@b.co"]).await.results[0]);
    world.deliver_all().await;
}

#[tokio::test]
async fn revoking_an_invitation_ends_it_and_cancels_its_queued_email() {
    let mut world = World::start().await;
    let invitation = created(&world.invite(&["a@b.co"]).await.results[0]);
    let revoked = revoke(&world, &invitation.id).await.unwrap();
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
    let again = revoke(&world, &invitation.id).await.unwrap();
    assert!(again == revoked);
    let resent = resend(&world, resend_request(&invitation.id)).await;
    assert_eq!(reason(resent), "INVITATION_REVOKED");
}

#[tokio::test]
async fn an_accepted_invitation_cannot_be_revoked_resent_or_declined() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    world.accept(&token, "new", "a@b.co").await.unwrap();
    let revoked = revoke(&world, &invitation.id).await;
    assert_eq!(reason(revoked), "ALREADY_ACCEPTED");
    let resent = resend(&world, resend_request(&invitation.id)).await;
    assert_eq!(reason(resent), "ALREADY_ACCEPTED");
    assert_eq!(reason(world.decline(&token).await), "ALREADY_ACCEPTED");
}

#[tokio::test]
async fn a_resent_invitation_keeps_its_link_unless_the_token_is_rotated() {
    let mut world = World::start().await;
    let (invitation, first) = world.invite_one("a@b.co").await;
    world.clock.advance(Duration::hours(1));
    let ttl = resend_request::Expiration::Ttl(prost_types::Duration {
        seconds: 86_400,
        nanos: 0,
    });
    let request = ResendRequest {
        expiration: Some(ttl),
        ..resend_request(&invitation.id)
    };
    let resent = resend(&world, request).await.unwrap();
    assert_eq!(resent.id, invitation.id);
    assert_eq!(
        resent.expire_time.unwrap().seconds,
        (START + Duration::hours(25)).unix_timestamp()
    );
    assert_eq!(resent.delivery.unwrap().state(), DeliveryState::Queued);
    world.deliver_all().await;
    let mails = world.mailbox();
    assert_eq!((mails.len(), mails[1].token()), (2, first.clone()));
    assert_ne!(
        mails[0].message_id, mails[1].message_id,
        "a resend is a new message"
    );

    let request = ResendRequest {
        rotate_token: true,
        ..resend_request(&invitation.id)
    };
    resend(&world, request).await.unwrap();
    world.deliver_all().await;
    let second = world.mail_to("a@b.co").token();
    assert_ne!(first, second);
    let accepted = world.accept(&first, "new", "a@b.co").await;
    assert_eq!(reason(accepted), "TOKEN_INVALID");
    world.accept(&second, "new", "a@b.co").await.unwrap();
}

#[tokio::test]
async fn a_resend_replaces_an_email_that_is_still_queued() {
    let mut world = World::start().await;
    let invitation = created(&world.invite(&["a@b.co"]).await.results[0]);
    for _ in 0..3 {
        world.resend(&invitation.id).await;
    }
    assert_eq!(world.deliver_all().await, 1);
    assert_eq!(world.mailbox().len(), 1);
}

#[tokio::test]
async fn resending_an_expired_invitation_makes_it_pending_with_a_new_link() {
    let mut world = World::start().await;
    let (invitation, first) = world.invite_one("a@b.co").await;
    world.clock.advance(Duration::days(31));
    world.service.sweep().await.unwrap();
    let resent = world.resend(&invitation.id).await;
    assert_eq!(resent.state(), InvitationState::Pending);
    world.deliver_all().await;
    let accepted = world.accept(&first, "new", "a@b.co").await;
    assert_eq!(reason(accepted), "TOKEN_INVALID");
    let second = world.mail_to("a@b.co").token();
    world.accept(&second, "new", "a@b.co").await.unwrap();
}

#[tokio::test]
async fn an_expired_invitation_cannot_be_resent_beside_a_newer_one() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    world.clock.advance(Duration::days(31));
    world.invite_one("a@b.co").await;
    let resent = resend(&world, resend_request(&invitation.id)).await;
    assert_eq!(reason(resent), "ALREADY_INVITED");
}

#[tokio::test]
async fn the_sweeper_marks_invitations_as_expired_and_cancels_their_emails() {
    let mut world = World::start().await;
    let emails = numbered_emails("person", "example.com", 0..1_100);
    let response = world.invite(&emails).await;
    world.clock.advance(Duration::days(30));
    world.service.sweep().await.unwrap();
    let expired = "invitations WHERE state = 'expired' AND delivery_state = 'canceled'";
    assert_eq!(world.count(expired).await, 1_100);
    let canceled = "outbox WHERE state = 'canceled'";
    assert_eq!(world.count(canceled).await, 1_100);
    let id = created(&response.results[0]).id;
    let revoked = revoke(&world, &id).await.unwrap();
    assert_eq!(revoked.state(), InvitationState::Expired);
    assert_eq!(world.deliver_all().await, 0);
}

#[tokio::test]
async fn an_invitation_of_another_organization_is_answered_as_an_unknown_one() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let foreign = RevokeRequest {
        organization_id: OTHER.to_owned(),
        acting_user_id: "ada".to_owned(),
        ..revoke_request(&invitation.id)
    };
    let foreign = world.client().revoke(foreign).await.err().unwrap();
    let unknown = revoke(&world, UNKNOWN_ID).await.err().unwrap();
    assert_eq!(
        (foreign.code(), foreign.message(), foreign.details()),
        (unknown.code(), unknown.message(), unknown.details())
    );
    assert_eq!(status_reason(&foreign), "INVITATION_NOT_FOUND");
}

#[tokio::test]
async fn deleting_a_membership_user_or_organization_revokes_its_pending_invitations() {
    let mut world = World::start().await;
    for inviter in ["bob", "carl"] {
        world.add_user(inviter, "", &[]).await;
        world.add_member(ACME, inviter, "admin").await;
        let emails = [format!("1.{inviter}@b.co"), format!("2.{inviter}@b.co")];
        let request = BulkCreateRequest {
            inviter_user_id: inviter.to_owned(),
            ..invite_request(&emails)
        };
        world.bulk_create(request).await;
    }
    let (_, token) = world.invite_one("kept@b.co").await;
    let mut directory = world.directory();
    let request = delete_membership_request("bob");
    let answer = directory.delete_membership(request.clone()).await.unwrap();
    assert_eq!(answer.into_inner().revoked_invitation_count, 2);
    let again = directory.delete_membership(request).await;
    assert_eq!(reason(again), "MEMBERSHIP_NOT_FOUND");

    let request = DeleteUserRequest {
        user_id: "carl".to_owned(),
        ..Default::default()
    };
    let answer = directory.delete_user(request.clone()).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!(answer.revoked_invitation_count, 2);
    assert_eq!(answer.deleted_membership_count, 1);
    let again = directory.delete_user(request).await;
    assert_eq!(reason(again), "USER_NOT_FOUND");

    let answer = world.delete_organization().await;
    assert_eq!(answer.revoked_invitation_count, 1);
    assert_eq!(answer.deleted_membership_count, 2);
    let accepted = world.accept(&token, "new", "kept@b.co").await;
    assert_eq!(reason(accepted), "ORGANIZATION_DELETED");
    let request = invite_request(&["a@b.co"]);
    let invited = world.client().bulk_create(request).await;
    assert_eq!(reason(invited), "ORGANIZATION_NOT_FOUND");
}
