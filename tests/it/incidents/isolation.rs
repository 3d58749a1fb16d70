//! The responses about objects of other organizations and about accounts are the same as about objects that do not
//! exist.

use std::collections::BTreeSet;

use invitations::proto::{
    AddSuppressionsRequest, BulkCreateRequest, Invitation, ListRequest, OnExisting,
};
use prost::Message as _;

use crate::support::descriptors::MethodDescriptor;
use crate::support::statements::StatementRecorder;
use crate::support::{
    InvitationClient, OTHER, World, bulk_resend_request, created, descriptors, get_request,
    invite_request, invite_to_other_request, list_request, raw_grpc, resend_request,
    revoke_request,
};

/// An id that no invitation or batch has. The length is that of every id.
const RANDOM_ID: &str = "019aacd0-0000-7000-8000-00000000abcd";
const AS_ALL: (&str, &str) = ("authorization", "Bearer all");

/// The objects that a call names.
struct NamedObjects<'a> {
    invitation: &'a str,
    user: &'a str,
    batch: &'a str,
}

/// Calls a method for [`OTHER`]. Returns the bytes of the response or refusal, with one text replaced by another of the
/// same length.
async fn answer(
    world: &World,
    method: &MethodDescriptor,
    ids: NamedObjects<'_>,
    (from, to): (&str, &str),
) -> Vec<u8> {
    let message = descriptors::with_texts(
        &method.input,
        &[
            ("organization_id", OTHER),
            ("invitation_id", ids.invitation),
            ("invitation_ids", ids.invitation),
            ("user_id", ids.user),
            ("batch_id", ids.batch),
        ],
    );
    let answer = raw_grpc::call(world.address(), &method.path, &[AS_ALL], &message).await;
    let bytes = match answer {
        Ok(bytes) => bytes,
        Err(status) => {
            let code = i32::from(status.code()).to_be_bytes();
            [&code, status.message().as_bytes(), status.details()].concat()
        }
    };
    replaced(&bytes, from.as_bytes(), to.as_bytes())
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    for start in 0..(bytes.len() + 1).saturating_sub(from.len()) {
        let part = &mut bytes[start..start + from.len()];
        if part == from {
            part.copy_from_slice(to);
        }
    }
    bytes
}

#[tokio::test]
async fn every_method_answers_an_id_of_another_organization_like_a_random_id() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let before = world.get(&invitation.id).await;
    let mut methods = descriptors::methods();
    methods.retain(|method| {
        ["invitation_id", "invitation_ids", "batch_id"]
            .iter()
            .any(|field| descriptors::has_field(&method.input, field))
    });
    assert!(methods.len() >= 6, "{}", methods.len());
    for method in methods {
        let id_of_acme = NamedObjects {
            invitation: &invitation.id,
            user: "ada",
            batch: &invitation.batch_id,
        };
        let random_id = NamedObjects {
            invitation: RANDOM_ID,
            user: "ada",
            batch: RANDOM_ID,
        };
        let replacement = (invitation.id.as_str(), RANDOM_ID);
        let of_acme = answer(&world, &method, id_of_acme, replacement).await;
        let of_random = answer(&world, &method, random_id, replacement).await;
        assert_eq!(of_acme, of_random, "{}", method.path);
        assert!(before == world.get(&invitation.id).await, "{}", method.path);
    }
    assert_eq!(world.count("invitations WHERE state <> 'pending'").await, 0);
    assert_eq!(world.deliver_all().await, 0, "a call sent an email");
}

#[tokio::test]
async fn a_membership_of_another_organization_is_answered_like_a_missing_one() {
    let world = World::start().await;
    for path in ["GetMembership", "DeleteMembership"] {
        let path = format!("/invitation.v1.DirectoryService/{path}");
        let methods = descriptors::methods();
        let method = methods.iter().find(|method| method.path == path).unwrap();
        let ids = |user_id| NamedObjects {
            invitation: "",
            user: user_id,
            batch: "",
        };
        let member_of_acme = answer(&world, method, ids("grace"), ("", "")).await;
        let unknown_user = answer(&world, method, ids("nobody"), ("", "")).await;
        assert_eq!(member_of_acme, unknown_user, "{path}");
    }
}

#[tokio::test]
async fn a_list_never_shows_invitations_of_another_organization() {
    let world = World::start().await;
    let of_other = invite_to_other_request(&["a@b.co", "c@b.co"]);
    let of_other = world.bulk_create(of_other).await;
    let of_acme = created(&world.invite(&["a@b.co"]).await.results[0]);
    let one_per_page = || ListRequest {
        page_size: 1,
        ..list_request()
    };
    let of_email = |email: &str| ListRequest {
        filter: Some(invitations::proto::InvitationFilter {
            email: Some(email.to_owned()),
            ..Default::default()
        }),
        ..one_per_page()
    };
    for request in [one_per_page(), of_email("a@b.co")] {
        let page = world.list(request).await;
        let ids: Vec<&str> = page.invitations.iter().map(|found| &*found.id).collect();
        assert_eq!(ids, [&of_acme.id]);
        assert_eq!(page.next_page_token, "");
    }
    let of_inviter = ListRequest {
        filter: Some(invitations::proto::InvitationFilter {
            inviter_user_id: Some("eve".to_owned()),
            ..Default::default()
        }),
        ..one_per_page()
    };
    let of_batch = ListRequest {
        filter: Some(invitations::proto::InvitationFilter {
            batch_id: Some(of_other.batch_id),
            ..Default::default()
        }),
        ..one_per_page()
    };
    for request in [of_email("c@b.co"), of_inviter, of_batch] {
        assert!(world.list(request).await.invitations.is_empty());
    }
    world.execute("UPDATE outbox SET state = 'canceled'").await;
}

#[tokio::test]
async fn addresses_are_compared_as_a_whole_and_never_as_a_pattern() {
    let mut world = World::start().await;
    let response = world
        .invite(&[
            "alice@example.com",
            "ice@example.com",
            "%@example.com",
            "_lice@example.com",
            "%",
            "a%@example.com",
        ])
        .await;
    let failed: Vec<i64> = response
        .results
        .iter()
        .filter(|result| result.error.is_some())
        .map(|result| result.index)
        .collect();
    assert_eq!(failed, [4], "only the text that is not an address");
    world.deliver_all().await;
    for (email, expected) in [
        ("ice@example.com", 1),
        ("%ice@example.com", 0),
        ("______@example.com", 0),
        ("%@example.com", 1),
        ("*@example.com", 0),
    ] {
        let request = ListRequest {
            filter: Some(invitations::proto::InvitationFilter {
                email: Some(email.to_owned()),
                ..Default::default()
            }),
            ..list_request()
        };
        let page = world.list(request).await;
        assert_eq!(page.invitations.len(), expected, "{email}");
    }
    let request = AddSuppressionsRequest {
        suppressions: crate::support::requests::new_suppressions(
            vec!["%@other.example".to_owned(), "_@other.example".to_owned()],
            None,
        ),
        ..Default::default()
    };
    world
        .suppressions()
        .add_suppressions(request)
        .await
        .unwrap();
    let response = world.invite(&["a@other.example", "%@other.example"]).await;
    assert!(response.results[0].error.is_none() && response.results[1].error.is_some());
    world.deliver_all().await;
}

/// What a caller without `directory:read` reads about an address from every method that returns invitations.
async fn responses_about(world: &World, email: &str) -> Vec<Vec<u8>> {
    let mut client = world.client_of("all-but-directory:read");
    let (mut responses, mut id) = (Vec::new(), String::new());
    for on_existing in [
        OnExisting::Fail,
        OnExisting::Fail,
        OnExisting::Return,
        OnExisting::Resend,
        OnExisting::Replace,
    ] {
        for validate_only in [true, false] {
            let request = BulkCreateRequest {
                on_existing: on_existing.into(),
                validate_only,
                ..invite_request(&[email])
            };
            let mut response = client.bulk_create(request).await.unwrap().into_inner();
            response.batch_id.clear();
            response.results[0].email.clear();
            if let Some(invitation) = &mut response.results[0].invitation {
                id.clone_from(&invitation.id);
                clear_id_and_email(invitation);
            }
            responses.push(response.encode_to_vec());
        }
    }
    for mut invitation in read_and_revoke(&mut client, &id, email).await {
        clear_id_and_email(&mut invitation);
        responses.push(invitation.encode_to_vec());
    }
    responses
}

/// The invitation as each method returns it, of which the last one revokes it.
async fn read_and_revoke(client: &mut InvitationClient, id: &str, email: &str) -> Vec<Invitation> {
    let list = ListRequest {
        page_size: 1,
        filter: Some(invitations::proto::InvitationFilter {
            email: Some(email.to_owned()),
            ..Default::default()
        }),
        ..list_request()
    };
    let got = client.get(get_request(id)).await.unwrap().into_inner();
    let mut listed = client.list(list).await.unwrap().into_inner();
    let resent = client
        .resend(resend_request(id))
        .await
        .unwrap()
        .into_inner();
    let bulk_resend = client.bulk_resend(bulk_resend_request(&[id])).await;
    let mut bulk_resent = bulk_resend.unwrap().into_inner();
    let revoked = client
        .revoke(revoke_request(id))
        .await
        .unwrap()
        .into_inner();
    let invitations = [
        got.invitation,
        listed.invitations.pop(),
        resent.invitation,
        bulk_resent.results[0].invitation.take(),
        revoked.invitation,
    ];
    invitations.into_iter().flatten().collect()
}

/// Clears what differs between two invitations of the same kind.
fn clear_id_and_email(invitation: &mut Invitation) {
    assert!(!invitation.email.is_empty());
    invitation.id.clear();
    invitation.batch_id.clear();
    invitation.email.clear();
}

#[tokio::test(flavor = "current_thread")]
async fn registered_and_unregistered_addresses_get_equal_responses_from_equal_statements() {
    let mut world = World::start().await;
    world.add_user("known", "Known", &["known@b.co"]).await;
    // The first call of a day runs more statements.
    responses_about(&world, "first@b.co").await;
    let mut observations = Vec::new();
    for email in ["known@b.co", "nobody@b.co"] {
        let recorder = StatementRecorder::start();
        let responses = responses_about(&world, email).await;
        let mut statements = recorder.take();
        // The number of statements of the connection pool depends on how many connections it has.
        statements.retain(|statement| statement.starts_with("-- store::"));
        assert!(statements.len() > 30, "{statements:?}");
        observations.push((responses, statements));
    }
    let [(registered, with_user), (unregistered, without_user)] = &observations[..] else {
        unreachable!()
    };
    assert!(registered == unregistered, "the responses differ");
    assert_eq!(with_user, without_user);
    let distinct: BTreeSet<_> = registered.iter().collect();
    assert!(distinct.len() > 3, "the responses are always the same");
    assert_eq!(world.deliver_all().await, 0);
}
