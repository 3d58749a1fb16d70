//! Isolation: whatever is somebody else's is as unknown as what is not there, and who has an account is not told.

use std::collections::BTreeSet;

use invitations::proto::{
    BulkCreateRequest, BulkResendRequest, GetRequest, Invitation, ListRequest, OnExisting,
    ResendRequest, RevokeRequest, SuppressionServiceAddRequest,
};
use prost::Message as _;

use crate::support::statements::StatementRecorder;
use crate::support::{ACME, OTHER, World, created, invite_request};
use crate::support::{descriptors, raw_grpc};

/// An id of nobody's, as long as any.
const RANDOM_ID: &str = "019aacd0-0000-7000-8000-00000000abcd";
const AS_ALL: (&str, &str) = ("authorization", "Bearer all");

/// An answer as bytes, whatever it is, with one text instead of another of the same length.
async fn answer(
    world: &World,
    method: &descriptors::MethodDescriptor,
    organization_id: &str,
    names: [&str; 3],
    disguise: (&str, &str),
) -> Vec<u8> {
    let [invitation_id, user_id, batch_id] = names;
    let message = descriptors::with_texts(
        &method.input,
        &[
            ("organization_id", organization_id),
            ("invitation_id", invitation_id),
            ("invitation_ids", invitation_id),
            ("user_id", user_id),
            ("batch_id", batch_id),
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
    replaced(&bytes, disguise.0.as_bytes(), disguise.1.as_bytes())
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while at + from.len() <= bytes.len() {
        if &bytes[at..at + from.len()] == from {
            bytes[at..at + from.len()].copy_from_slice(to);
        }
        at += 1;
    }
    bytes
}

#[tokio::test]
async fn every_method_answers_a_foreign_id_as_it_answers_a_random_one() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let before = world.get(&invitation.id).await;
    let mut methods = 0;
    let concerned = |method: &descriptors::MethodDescriptor| {
        ["invitation_id", "invitation_ids", "batch_id"]
            .iter()
            .any(|field| descriptors::has_field(&method.input, field))
    };
    // Found by the protocol's own words, so that a new method is asked too.
    for method in descriptors::methods()
        .iter()
        .filter(|method| concerned(method))
    {
        methods += 1;
        let own = [&invitation.id, "ada", &invitation.batch_id].map(|text| text);
        let random = [RANDOM_ID, "ada", RANDOM_ID];
        let disguise = (invitation.id.as_str(), RANDOM_ID);
        let foreign = answer(&world, method, OTHER, own, disguise).await;
        let unknown = answer(&world, method, OTHER, random, disguise).await;
        assert_eq!(foreign, unknown, "{}", method.path);
        assert!(before == world.get(&invitation.id).await, "{}", method.path);
    }
    assert!(methods >= 6, "{methods}");
    let mut database = world.database().await;
    let changed: i64 =
        sqlx::query_scalar("SELECT count(*) FROM invitations WHERE state <> 'pending'")
            .fetch_one(&mut database)
            .await
            .unwrap();
    assert_eq!(changed, 0);
    assert_eq!(world.deliver_all().await, 0, "nobody was mailed");
}

#[tokio::test]
async fn a_foreign_membership_is_as_unknown_as_none() {
    let world = World::start().await;
    for path in ["GetMembership", "DeleteMembership"] {
        let path = format!("/invitation.v1.DirectoryService/{path}");
        let methods = descriptors::methods();
        let method = methods.iter().find(|method| method.path == path).unwrap();
        // Grace is a member of another organization, nobody one of none.
        let foreign = answer(&world, method, OTHER, ["", "grace", ""], ("", "")).await;
        let unknown = answer(&world, method, OTHER, ["", "nobody", ""], ("", "")).await;
        assert_eq!(foreign, unknown, "{path}");
    }
}

#[tokio::test]
async fn a_list_never_shows_what_another_organization_has() {
    let world = World::start().await;
    let theirs = BulkCreateRequest {
        organization_id: OTHER.to_owned(),
        inviter_user_id: "eve".to_owned(),
        ..invite_request(&["a@b.co", "c@b.co"])
    };
    let theirs = world.client().bulk_create(theirs).await.unwrap();
    let theirs = theirs.into_inner();
    let mut mine = world.invite(&["a@b.co"]).await;
    let mine = created(&mine.results.remove(0)).id;
    let list = |change: &dyn Fn(&mut ListRequest)| {
        let mut request = ListRequest {
            organization_id: ACME.to_owned(),
            page_size: 1,
            ..Default::default()
        };
        change(&mut request);
        let mut client = world.client();
        async move { client.list(request).await.unwrap().into_inner() }
    };
    let ids = |found: Vec<Invitation>| found.into_iter().map(|one| one.id).collect::<Vec<_>>();
    let all = list(&|_| {}).await;
    assert_eq!(
        (ids(all.invitations), all.next_page_token),
        (vec![mine.clone()], String::new())
    );
    let by_email = list(&|request| request.email = "a@b.co".to_owned()).await;
    assert_eq!(ids(by_email.invitations), [mine]);
    for narrowed in [
        list(&|request| request.email = "c@b.co".to_owned()).await,
        list(&|request| request.inviter_user_id = "eve".to_owned()).await,
        list(&|request| request.batch_id = theirs.batch_id.clone()).await,
    ] {
        assert!(narrowed.invitations.is_empty());
    }
    let mut database = world.database().await;
    sqlx::raw_sql("UPDATE outbox SET state = 'canceled'")
        .execute(&mut database)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_address_is_compared_whole_and_never_as_a_pattern() {
    let mut world = World::start().await;
    let made = world
        .invite(&[
            "alice@example.com",
            "ice@example.com",
            "%@example.com",
            "_lice@example.com",
            "%",
            "a%@example.com",
        ])
        .await;
    let failed: Vec<i32> = made
        .results
        .iter()
        .filter(|result| result.error.is_some())
        .map(|result| result.index)
        .collect();
    assert_eq!(failed, [4], "what is no address, and nothing else");
    world.deliver_all().await;
    for (email, expected) in [
        ("ice@example.com", 1),
        ("%ice@example.com", 0),
        ("______@example.com", 0),
        ("%@example.com", 1),
        ("*@example.com", 0),
    ] {
        let request = ListRequest {
            organization_id: ACME.to_owned(),
            email: email.to_owned(),
            ..Default::default()
        };
        let page = world.client().list(request).await.unwrap().into_inner();
        assert_eq!(page.invitations.len(), expected, "{email}");
    }
    let request = SuppressionServiceAddRequest {
        emails: vec!["%@other.example".to_owned(), "_@other.example".to_owned()],
        ..Default::default()
    };
    world.suppressions().add(request).await.unwrap();
    let made = world.invite(&["a@other.example", "%@other.example"]).await;
    assert!(made.results[0].error.is_none() && made.results[1].error.is_some());
    world.deliver_all().await;
}

/// What a caller without `directory:read` is told of an address by every method that speaks of invitations.
async fn told_of(world: &World, email: &str) -> Vec<Vec<u8>> {
    let mut client = world.client_of("all-but-directory:read");
    let (mut told, mut id) = (Vec::new(), String::new());
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
            let mut answer = client.bulk_create(request).await.unwrap().into_inner();
            answer.batch_id.clear();
            answer.results[0].email.clear();
            if let Some(invitation) = &mut answer.results[0].invitation {
                id.clone_from(&invitation.id);
                anonymize(invitation);
            }
            told.push(answer.encode_to_vec());
        }
    }
    let (organization_id, invitation_id) = (ACME.to_owned(), id.clone());
    let get = GetRequest {
        organization_id: organization_id.clone(),
        invitation_id: invitation_id.clone(),
    };
    let list = ListRequest {
        organization_id: organization_id.clone(),
        email: email.to_owned(),
        page_size: 1,
        ..Default::default()
    };
    let resend = ResendRequest {
        organization_id: organization_id.clone(),
        invitation_id: invitation_id.clone(),
        ..Default::default()
    };
    let bulk_resend = BulkResendRequest {
        organization_id: organization_id.clone(),
        invitation_ids: vec![invitation_id.clone()],
        ..Default::default()
    };
    let revoke = RevokeRequest {
        organization_id,
        invitation_id,
        user_id: String::new(),
    };
    let mut invitations = vec![
        client.get(get).await.unwrap().into_inner().invitation,
        client
            .list(list)
            .await
            .unwrap()
            .into_inner()
            .invitations
            .pop(),
        client.resend(resend).await.unwrap().into_inner().invitation,
        client
            .bulk_resend(bulk_resend)
            .await
            .unwrap()
            .into_inner()
            .results[0]
            .invitation
            .take(),
    ];
    invitations.push(client.revoke(revoke).await.unwrap().into_inner().invitation);
    for mut invitation in invitations.into_iter().flatten() {
        anonymize(&mut invitation);
        told.push(invitation.encode_to_vec());
    }
    told
}

fn anonymize(invitation: &mut Invitation) {
    assert!(!invitation.email.is_empty());
    invitation.id.clear();
    invitation.batch_id.clear();
    invitation.email.clear();
}

#[tokio::test(flavor = "current_thread")]
async fn registered_and_unregistered_addresses_get_the_same_answers_for_the_same_work() {
    let mut world = World::start().await;
    world.add_user("known", "Known", &["known@b.co"]).await;
    // Once before, so that nothing is done for the first time.
    told_of(&world, "first@b.co").await;
    let mut seen = Vec::new();
    for email in ["known@b.co", "nobody@b.co"] {
        let recorder = StatementRecorder::start();
        let told = told_of(&world, email).await;
        let mut statements = recorder.take();
        // The number of statements of the connection pool depends on how many connections it has.
        statements.retain(|statement| statement.starts_with("-- store::"));
        assert!(statements.len() > 30, "{statements:?}");
        seen.push((told, statements));
    }
    assert!(seen[0].0 == seen[1].0, "the answers differ");
    assert_eq!(seen[0].1, seen[1].1);
    let distinct: BTreeSet<_> = seen[0].0.iter().collect();
    assert!(distinct.len() > 3, "the answers were not all alike anyway");
    assert_eq!(world.deliver_all().await, 0);
}
