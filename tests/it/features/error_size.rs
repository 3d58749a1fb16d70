//! The size of the errors of items: ten thousand of them fit into what gRPC clients receive by default, whatever the
//! method.

use invitations::domain::new_invitation::ITEMS_MAX;
use invitations::grpc::limits::ECHOED_ID_BYTES_MAX;
use invitations::proto::directory_service_client::DirectoryServiceClient;
use invitations::proto::invitation_service_client::InvitationServiceClient;
use invitations::proto::mail_service_client::MailServiceClient;
use invitations::proto::suppression_service_client::SuppressionServiceClient;
use invitations::proto::{
    AddSuppressionsRequest, BulkDeleteMembershipsRequest, BulkDeleteUsersRequest,
    LiftSuppressionsRequest, Membership, MembershipKey, NewSuppression, Organization, Role,
    UpsertMembershipsRequest, UpsertOrganizationsRequest, UpsertUsersRequest, User,
};
use prost::Message as _;
use prost_types::Timestamp;

use crate::support::callers::caller_channel;
use crate::support::{
    World, bulk_get_request, bulk_resend_request, bulk_revoke_request, requeue_request,
};

/// Breaks a rule of every field.
fn invalid_organization() -> Organization {
    let invalid = || Some("\u{1}".to_owned());
    let role = Role {
        id: "\u{1}".to_owned(),
        display_name: "\u{1}".to_owned(),
        ..Default::default()
    };
    Organization {
        id: "\u{1}".to_owned(),
        name: invalid(),
        roles: vec![role; 2],
        default_role: invalid(),
        allowed_email_domains: invalid().into_iter().collect(),
        redirect_origins: invalid().into_iter().collect(),
        locale: invalid(),
        logo_url: invalid(),
        brand_color: invalid(),
        support_email: invalid(),
        ..Default::default()
    }
}

fn invalid_user() -> User {
    User {
        id: "\u{1}".to_owned(),
        name: Some("\u{1}".to_owned()),
        verified_emails: vec!["\u{1}".to_owned(); 20],
        ..Default::default()
    }
}

fn invalid_membership() -> Membership {
    Membership {
        organization_id: "\u{1}".to_owned(),
        user_id: "\u{1}".to_owned(),
        role: Some("\u{1}".to_owned()),
        ..Default::default()
    }
}

fn invalid_suppression() -> NewSuppression {
    NewSuppression {
        email: "\u{1}".to_owned(),
        reason: 99,
        expire_time: Some(Timestamp {
            seconds: i64::MAX,
            nanos: -1,
        }),
    }
}

/// The number of errors and the bytes of a response.
macro_rules! response_sizes {
    ($($client:ident.$method:ident($request:expr)),+ $(,)?) => {
        [$({
            let response = $client.$method($request).await.unwrap().into_inner();
            (stringify!($method), response.failed_count, response.encoded_len())
        }),+]
    };
}

#[tokio::test]
async fn ten_thousand_errors_of_each_bulk_method_reach_a_client_with_default_limits() {
    let world = World::start().await;
    let channel = caller_channel(&world.channel(), "all");
    let mut invitations = InvitationServiceClient::new(channel.clone());
    let mut directory = DirectoryServiceClient::new(channel.clone());
    let mut mails = MailServiceClient::new(channel.clone());
    let mut suppressions = SuppressionServiceClient::new(channel);
    // The longest text that a result repeats.
    let ids = vec!["x".repeat(ECHOED_ID_BYTES_MAX); ITEMS_MAX];
    let invalid_ids = vec!["\u{1}".to_owned(); ITEMS_MAX];
    let key = MembershipKey {
        organization_id: "\u{1}".to_owned(),
        user_id: "\u{1}".to_owned(),
    };
    let sizes = response_sizes![
        invitations.bulk_get(bulk_get_request(&ids)),
        invitations.bulk_resend(bulk_resend_request(&ids)),
        invitations.bulk_revoke(bulk_revoke_request(&ids)),
        mails.requeue_messages(requeue_request(&ids)),
        directory.upsert_organizations(UpsertOrganizationsRequest {
            organizations: vec![invalid_organization(); ITEMS_MAX],
            ..Default::default()
        }),
        directory.upsert_users(UpsertUsersRequest {
            users: vec![invalid_user(); ITEMS_MAX],
            ..Default::default()
        }),
        directory.upsert_memberships(UpsertMembershipsRequest {
            memberships: vec![invalid_membership(); ITEMS_MAX],
            ..Default::default()
        }),
        directory.bulk_delete_users(BulkDeleteUsersRequest {
            user_ids: invalid_ids.clone(),
            ..Default::default()
        }),
        directory.bulk_delete_memberships(BulkDeleteMembershipsRequest {
            memberships: vec![key; ITEMS_MAX],
            ..Default::default()
        }),
        suppressions.add_suppressions(AddSuppressionsRequest {
            suppressions: vec![invalid_suppression(); ITEMS_MAX],
            ..Default::default()
        }),
        suppressions.lift_suppressions(LiftSuppressionsRequest {
            emails: invalid_ids,
            ..Default::default()
        }),
    ];
    for (method, failed_count, bytes) in sizes {
        assert_eq!(failed_count, 10_000, "{method}");
        assert!(
            (500_000..4 * 1024 * 1024).contains(&bytes),
            "{method}: {bytes}"
        );
    }
}
