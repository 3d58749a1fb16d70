//! The size of pages: a page of the largest rows ends early, and its token continues. Links are complete in any case.

use std::collections::BTreeSet;

use invitations::domain::display_name::NAME_CHARACTERS_MAX;
use invitations::domain::ids::OrganizationId;
use invitations::domain::invitation::InvitationView as View;
use invitations::domain::role::{LOCALIZED_NAMES_MAX, ROLES_MAX};
use invitations::domain::user::USER_EMAILS_MAX;
use invitations::grpc::limits::{LARGE_FIELDS_BYTES_MAX, RESPONSE_BYTES_MAX};
use invitations::proto::directory_service_client::DirectoryServiceClient;
use invitations::proto::invitation_service_client::InvitationServiceClient;
use invitations::proto::{
    BulkCreateRequest, BulkCreateResponse, ListMembershipsRequest, ListOrganizationsRequest,
    ListRequest, ListUsersRequest, Membership, NewInvitation, Organization, Role, User,
};
use invitations::service::BulkGetInvitations;
use tonic::Status;
use uuid::Uuid;

use crate::support::callers::{DirectoryClient, caller_channel};
use crate::support::deployment::{Deployment, TOKEN};
use crate::support::directory::{assert_upserted, membership, organization, user};
use crate::support::{
    ACME, World, create_request, created_ids, item_without_email, list_request, metadata,
    new_request_id,
};

const PAGE_SIZE: i32 = 1_000;

/// Reads pages, with the limits of every gRPC library, until the last one. Returns the number of pages and all ids, which
/// must differ.
async fn read_all(
    mut page: impl AsyncFnMut(String) -> Result<(Vec<String>, String), Status>,
) -> (usize, BTreeSet<String>) {
    let (mut count, mut ids, mut token) = (0, BTreeSet::new(), String::new());
    loop {
        let (rows, next) = page(token).await.unwrap();
        assert!(!rows.is_empty());
        for id in rows {
            assert!(ids.insert(id));
        }
        count += 1;
        if next.is_empty() {
            return (count, ids);
        }
        token = next;
    }
}

fn default_directory(world: &World) -> DirectoryClient {
    DirectoryServiceClient::new(caller_channel(&world.channel(), "all"))
}

/// An organization with as many roles, and names of roles, as possible.
fn largest_organization(id: &str) -> Organization {
    let name = "\u{4e00}".repeat(NAME_CHARACTERS_MAX);
    let names = (0..LOCALIZED_NAMES_MAX).map(|number| (format!("de-x-{number}"), name.clone()));
    let role = |id: String| Role {
        id,
        display_name: name.clone(),
        localized_display_names: names.clone().collect(),
        ..Default::default()
    };
    let ids = (2..ROLES_MAX).map(|number| format!("role{number}"));
    let ids = ["admin".to_owned(), "member".to_owned()]
        .into_iter()
        .chain(ids);
    Organization {
        roles: ids.map(role).collect(),
        ..organization(id, "Acme Engines")
    }
}

fn largest_user(number: usize) -> User {
    let domain = format!("{0}.{0}.{0}.example", "d".repeat(60));
    let emails = (0..USER_EMAILS_MAX).map(|index| format!("{number:0>40}x{index:0>2}@{domain}"));
    let emails: Vec<_> = emails.collect();
    let emails: Vec<_> = emails.iter().map(String::as_str).collect();
    let name = "\u{4e00}".repeat(NAME_CHARACTERS_MAX);
    user(&format!("user{number}"), &name, &emails)
}

fn largest_membership(number: usize) -> Membership {
    let large = metadata("x", &"y".repeat(8_000));
    Membership {
        public_metadata: Some(large.clone()),
        private_metadata: Some(large),
        ..membership(ACME, &format!("user{number}"), "member")
    }
}

fn largest_item(number: usize) -> NewInvitation {
    let large = metadata("x", &"y".repeat(8_000));
    NewInvitation {
        public_metadata: Some(large.clone()),
        private_metadata: Some(large),
        ..item_without_email(&format!("{number}@b.co"))
    }
}

#[tokio::test]
async fn no_page_of_the_largest_rows_exceeds_what_clients_receive() {
    let world = World::start().await;
    let ids = (0..8).map(|number| format!("large{number}"));
    let organizations = ids.map(|id| largest_organization(&id)).collect();
    assert_upserted(&world.upsert_organizations(organizations).await);
    let mut directory = default_directory(&world);
    let (pages, ids) = read_all(async |page_token| {
        let request = ListOrganizationsRequest {
            page_size: PAGE_SIZE,
            page_token,
            ..Default::default()
        };
        let page = directory.list_organizations(request).await?.into_inner();
        let ids = page.organizations.into_iter().map(|it| it.id);
        Ok((ids.collect(), page.next_page_token))
    })
    .await;
    assert!(pages >= 3 && ids.contains("large7"), "{pages}");

    assert_upserted(
        &world
            .upsert_users((0..1_000).map(largest_user).collect())
            .await,
    );
    let (pages, ids) = read_all(async |page_token| {
        let request = ListUsersRequest {
            page_size: PAGE_SIZE,
            page_token,
            ..Default::default()
        };
        let page = directory.list_users(request).await?.into_inner();
        let ids = page.users.into_iter().map(|it| it.id);
        Ok((ids.collect(), page.next_page_token))
    })
    .await;
    assert!(pages >= 2 && ids.len() > 1_000, "{pages}");

    let memberships = (0..500).map(largest_membership).collect();
    assert_upserted(&world.upsert_memberships(memberships).await);
    let (pages, ids) = read_all(async |page_token| {
        let request = ListMembershipsRequest {
            organization_id: ACME.to_owned(),
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = directory.list_memberships(request).await?.into_inner();
        let are_complete =
            |it: &Membership| it.private_metadata.is_some() || !it.user_id.starts_with("user");
        assert!(page.memberships.iter().all(are_complete));
        let ids = page.memberships.into_iter().map(|it| it.user_id);
        Ok((ids.collect(), page.next_page_token))
    })
    .await;
    assert!(pages >= 4 && ids.len() > 500, "{pages}");
}

#[tokio::test]
async fn a_page_of_large_invitations_ends_early_and_each_is_complete() {
    let world = World::start().await;
    let items = (0..500).map(largest_item).collect();
    world.bulk_create(create_request(items)).await;
    let mut client = InvitationServiceClient::new(caller_channel(&world.channel(), "all"));
    let (pages, ids) = read_all(async |page_token| {
        let request = ListRequest {
            page_size: PAGE_SIZE,
            page_token,
            ..list_request()
        };
        let page = client.list(request).await?.into_inner();
        for invitation in &page.invitations {
            assert!(invitation.private_metadata.is_some() && invitation.omitted_fields.is_none());
        }
        let ids = page.invitations.into_iter().map(|it| it.id);
        Ok((ids.collect(), page.next_page_token))
    })
    .await;
    assert!(pages >= 4, "{pages}");
    assert_eq!(ids.len(), 500);
}

#[tokio::test]
async fn large_fields_are_bounded_before_they_are_read() {
    let world = World::start().await;
    let items = (0..500).map(largest_item).collect();
    let ids = created_ids(&world.bulk_create(create_request(items)).await);
    let get = BulkGetInvitations {
        organization_id: OrganizationId::parse(ACME).unwrap(),
        ids: ids.iter().map(|id| Uuid::parse_str(id).unwrap()).collect(),
        view: View::Full,
    };
    let found = world.service.run(get).await.unwrap();
    let metadata = found
        .values()
        .flat_map(|it| [&it.public_metadata, &it.private_metadata]);
    let bytes: usize = metadata.flatten().map(String::len).sum();
    assert!(
        (LARGE_FIELDS_BYTES_MAX * 9 / 10..=LARGE_FIELDS_BYTES_MAX).contains(&bytes),
        "{bytes}"
    );
    assert_eq!(found.len(), 500);
}

#[tokio::test]
async fn links_have_their_redirect_urls_whatever_a_response_leaves_out() {
    let deployment = Deployment::create().await;
    let settings = [
        ("INVITATIONS_ROLE", "api"),
        ("INVITATIONS_LINK_STYLE", "redirect"),
    ];
    let (_process, channel) = deployment.serve_populated(&settings).await;
    let client = InvitationServiceClient::new(caller_channel(&channel, TOKEN));
    let mut client = client.max_decoding_message_size(RESPONSE_BYTES_MAX);
    let url = |number: usize| format!("https://app.example.com/{number:0>1900}");
    let items = (0..1_500).map(|number| NewInvitation {
        redirect_url: url(number),
        ..item_without_email(&format!("{number}@b.co"))
    });
    let request = BulkCreateRequest {
        request_id: new_request_id(),
        return_link: true,
        ..create_request(items.collect())
    };
    let first = client.bulk_create(request.clone()).await.unwrap();
    let again = client.bulk_create(request).await.unwrap();
    let links = |response: &BulkCreateResponse| -> Vec<String> {
        let results = response.results.iter();
        results.map(|result| result.link.clone()).collect()
    };
    assert_eq!(links(first.get_ref()), links(again.get_ref()));
    for (number, result) in again.get_ref().results.iter().enumerate() {
        assert!(result.link.starts_with(&url(number)), "{}", result.link);
    }
    let last = again.into_inner().results.pop().unwrap();
    assert!(last.invitation.unwrap().omitted_fields.is_some());
}
