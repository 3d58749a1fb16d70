//! The `acting_user_id` and the `request_id` of calls that change something: whom a user may name, and which ids are
//! refused. The tests of [`audit`](super::audit) check that each method writes both to the audit log.

use invitations::proto::{
    AcceptRequest, AddSuppressionsRequest, BulkResendRequest, BulkRevokeRequest, DeclineRequest,
    LiftSuppressionsRequest, RequeueMessagesRequest, ResendRequest, RevokeRequest,
};
use tonic::Status;

use crate::support::audit::audit_rows_of;
use crate::support::requests::new_suppressions;
use crate::support::user_issuer::UserIssuer;
use crate::support::{
    World, accept_request, bulk_resend_all, bulk_revoke_all, decline_request, requeue_all,
    resend_request, revoke_request, status_reason,
};

/// The reasons of the refusals of `Resend`, `BulkResend`, `Revoke` and `BulkRevoke`. An empty reason stands for success.
async fn act(world: &World, caller: &str, id: &str, acting_user_id: &str) -> [String; 4] {
    let mut client = world.client_of(caller);
    let acting_user_id = acting_user_id.to_owned();
    let resend = ResendRequest {
        acting_user_id: acting_user_id.clone(),
        ..resend_request(id)
    };
    let bulk_resend = BulkResendRequest {
        acting_user_id: acting_user_id.clone(),
        ..bulk_resend_all()
    };
    let revoke = RevokeRequest {
        acting_user_id: acting_user_id.clone(),
        ..revoke_request(id)
    };
    let bulk_revoke = BulkRevokeRequest {
        acting_user_id,
        ..bulk_revoke_all()
    };
    let answers = [
        client.resend(resend).await.map(drop),
        client.bulk_resend(bulk_resend).await.map(drop),
        client.revoke(revoke).await.map(drop),
        client.bulk_revoke(bulk_revoke).await.map(drop),
    ];
    answers.map(|answer| refusal(answer).unwrap_or_default())
}

fn refusal(answer: Result<(), Status>) -> Option<String> {
    answer.err().map(|status| status_reason(&status))
}

#[tokio::test]
async fn a_user_acts_only_for_themselves_and_is_recorded_without_being_named() {
    let issuer = UserIssuer::start().await;
    let mut world = World::builder().issuers(&issuer.table()).start().await;
    world.may_leave_mail();
    let ids = world.invite_numbered("b.co", 2).await;
    let ada = issuer.token(&world, "ada");
    let rows = audit_rows_of(&world, async {
        let refused = act(&world, &ada, &ids[0], "grace").await;
        assert_eq!(refused, ["USER_DENIED"; 4]);
        let malformed = act(&world, "all", &ids[0], "a b").await;
        assert_eq!(malformed, ["FIELD_INVALID"; 4]);
    })
    .await;
    assert!(rows.is_empty());
    let rows = audit_rows_of(&world, async {
        assert_eq!(act(&world, &ada, &ids[0], "").await, [""; 4]);
    })
    .await;
    assert_eq!(rows.len(), 4);
    for row in rows {
        assert_eq!(row.on_behalf_of_user_id.as_deref(), Some("ada"));
    }
    for id in ids {
        assert_eq!(world.get(&id).await.revoked_by_user_id, "ada");
    }
}

#[tokio::test]
async fn a_service_names_the_acting_user_of_each_call() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let ids = world.invite_numbered("b.co", 2).await;
    let rows = audit_rows_of(&world, async {
        assert_eq!(act(&world, "all", &ids[0], "grace").await, [""; 4]);
    })
    .await;
    let users: Vec<_> = rows
        .iter()
        .map(|row| row.on_behalf_of_user_id.as_deref())
        .collect();
    assert_eq!(users, [Some("grace"); 4]);
    assert_eq!(world.get(&ids[1]).await.revoked_by_user_id, "grace");
}

#[tokio::test]
async fn a_request_id_that_is_no_uuid_is_refused_by_every_method() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let request_id = "0c7b8a529ad64fd59a2a07f1c6a0b1d3".to_owned();
    let resend = ResendRequest {
        request_id: request_id.clone(),
        ..resend_request(&invitation.id)
    };
    let bulk_resend = BulkResendRequest {
        request_id: request_id.clone(),
        ..bulk_resend_all()
    };
    let revoke = RevokeRequest {
        request_id: request_id.clone(),
        ..revoke_request(&invitation.id)
    };
    let bulk_revoke = BulkRevokeRequest {
        request_id: request_id.clone(),
        ..bulk_revoke_all()
    };
    let accept = AcceptRequest {
        request_id: request_id.clone(),
        ..accept_request(&token, "new", "a@b.co")
    };
    let decline = DeclineRequest {
        request_id: request_id.clone(),
        ..decline_request(&token)
    };
    let requeue = RequeueMessagesRequest {
        request_id: request_id.clone(),
        ..requeue_all()
    };
    let add = AddSuppressionsRequest {
        suppressions: new_suppressions(vec!["a@b.co".to_owned()], None),
        request_id: request_id.clone(),
        ..Default::default()
    };
    let lift = LiftSuppressionsRequest {
        emails: vec!["a@b.co".to_owned()],
        request_id,
        ..Default::default()
    };
    let (mut client, mut mails) = (world.client(), world.mails());
    let mut suppressions = world.suppressions();
    let answers = [
        client.resend(resend).await.map(drop),
        client.bulk_resend(bulk_resend).await.map(drop),
        client.revoke(revoke).await.map(drop),
        client.bulk_revoke(bulk_revoke).await.map(drop),
        client.accept(accept).await.map(drop),
        client.decline(decline).await.map(drop),
        mails.requeue_messages(requeue).await.map(drop),
        suppressions.add_suppressions(add).await.map(drop),
        suppressions.lift_suppressions(lift).await.map(drop),
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        let reason = refusal(answer);
        assert_eq!(reason.as_deref(), Some("REQUEST_ID_INVALID"), "{number}");
    }
}
