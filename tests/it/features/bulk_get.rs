//! `BulkGet`: reads many invitations by their ids, with a result for each.

use invitations::proto::{
    BulkGetRequest, BulkGetResponse, ErrorReason, Invitation, InvitationState, InvitationView,
    ItemError,
};
use tonic::Code;

use crate::support::user_issuer::UserIssuer;
use crate::support::{
    OTHER, UNKNOWN_ID, World, bulk_get_request, created, created_ids, invite_to_other_request,
    reason,
};

async fn bulk_get(world: &World, request: BulkGetRequest) -> BulkGetResponse {
    let answer = world.client().bulk_get(request).await;
    answer.unwrap().into_inner()
}

#[tokio::test]
async fn each_id_gets_a_result_in_the_order_of_the_request() {
    let mut world = World::start().await;
    let ids = world.invite_numbered("b.co", 3).await;
    let foreign = world
        .bulk_create(invite_to_other_request(&["a@b.co"]))
        .await;
    let foreign = created(&foreign.results[0]).id;
    world.revoke(&ids[1]).await;
    let requested = [
        ids[2].as_str(),
        UNKNOWN_ID,
        &ids[1].to_uppercase(),
        "no id",
        &foreign,
        &ids[2],
    ];
    let answer = bulk_get(&world, bulk_get_request(&requested)).await;

    let found: Vec<Option<Invitation>> = answer
        .results
        .iter()
        .map(|result| result.invitation.clone())
        .collect();
    let (second, third) = (world.get(&ids[1]).await, world.get(&ids[2]).await);
    assert_eq!(second.state(), InvitationState::Revoked);
    let expected = [
        Some(third.clone()),
        None,
        Some(second),
        None,
        None,
        Some(third),
    ];
    assert!(found == expected, "the invitations are those of Get");
    let errors: Vec<Option<ErrorReason>> = answer
        .results
        .iter()
        .map(|result| result.error.as_ref().map(ItemError::reason))
        .collect();
    let unknown = Some(ErrorReason::InvitationNotFound);
    let malformed = Some(ErrorReason::FieldInvalid);
    assert_eq!(errors, [None, unknown, None, malformed, unknown, None]);
    assert!(answer.results.iter().map(|it| it.index).eq(0..6));
    assert_eq!(answer.failed_count, 3);
    world.deliver_all().await;
}

#[tokio::test]
async fn ten_thousand_ids_are_read_in_one_call() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let ids = world.invite_numbered("b.co", 10_000).await;
    let request = BulkGetRequest {
        view: InvitationView::Basic.into(),
        ..bulk_get_request(&ids)
    };
    let answer = bulk_get(&world, request).await;
    let found = answer.results.into_iter().map(|it| it.invitation.unwrap());
    assert!(found.map(|it| it.id).eq(ids));
}

#[tokio::test]
async fn an_invalid_request_is_refused() {
    let world = World::start().await;
    let call = async |request: BulkGetRequest| {
        let status = world.client().bulk_get(request).await.err().unwrap();
        (status.code(), reason::<()>(Err(status)))
    };
    let too_many = vec![UNKNOWN_ID; 10_001];
    let unknown_view = BulkGetRequest {
        view: 99,
        ..bulk_get_request(&[UNKNOWN_ID])
    };
    for (request, expected) in [
        (bulk_get_request(&[""; 0]), "ITEMS_EMPTY"),
        (bulk_get_request(&too_many), "TOO_MANY_ITEMS"),
        (unknown_view, "FIELD_INVALID"),
    ] {
        let refusal = (Code::InvalidArgument, expected.to_owned());
        assert_eq!(call(request).await, refusal);
    }
    let elsewhere = BulkGetRequest {
        organization_id: "unknown".to_owned(),
        ..bulk_get_request(&[UNKNOWN_ID])
    };
    let refusal = (Code::NotFound, "ORGANIZATION_NOT_FOUND".to_owned());
    assert_eq!(call(elsewhere).await, refusal);
    world.delete_organization().await;
    assert_eq!(call(bulk_get_request(&[UNKNOWN_ID])).await, refusal);
}

#[tokio::test]
async fn only_readers_and_admins_of_the_organization_may_read() {
    let issuer = UserIssuer::start().await;
    let mut world = World::builder().issuers(&issuer.table()).start().await;
    let ids = created_ids(&world.invite(&["a@b.co"]).await);
    world.deliver_all().await;
    let call = async |caller: &str, organization_id: &str| {
        let request = BulkGetRequest {
            organization_id: organization_id.to_owned(),
            ..bulk_get_request(&ids)
        };
        let answer = world.client_of(caller).bulk_get(request).await;
        answer.map(|answer| answer.into_inner().failed_count)
    };
    assert_eq!(call("only-invitations:read", "acme").await.unwrap(), 0);
    let denied = call("all-but-invitations:read", "acme").await;
    assert_eq!(reason(denied), "SCOPE_MISSING");
    let denied = call("other-only", "acme").await;
    assert_eq!(reason(denied), "ORGANIZATION_DENIED");
    let ada = issuer.token(&world, "ada");
    assert_eq!(call(&ada, "acme").await.unwrap(), 0);
    assert_eq!(reason(call(&ada, OTHER).await), "ORGANIZATION_DENIED");
    let grace = issuer.token(&world, "grace");
    assert_eq!(reason(call(&grace, "acme").await), "ORGANIZATION_DENIED");
}
