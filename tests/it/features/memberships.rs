//! Memberships: what is kept of them, and how they are read back.

use invitations::domain::ids::OrganizationId;
use invitations::proto::{
    GetMembershipRequest, ListMembershipsRequest, ListMembershipsResponse, Membership,
    UpsertMembershipsRequest, UpsertUsersRequest, User,
};
use invitations::store::Connection;
use invitations::store::memberships;
use prost_types::{ListValue, Struct, Value, value::Kind};
use sqlx::Executor as _;
use time::Duration;
use tonic::{Code, Status};

use crate::support::{ACME, OTHER, START, World, reason};

pub(crate) fn membership(organization_id: &str, user_id: &str, role: &str) -> Membership {
    Membership {
        organization_id: organization_id.to_owned(),
        user_id: user_id.to_owned(),
        role: role.to_owned(),
        ..Default::default()
    }
}

/// Writes memberships that are all taken.
async fn upsert(world: &World, memberships: Vec<Membership>) {
    let request = UpsertMembershipsRequest { memberships };
    let answer = world.directory().upsert_memberships(request).await;
    assert_eq!(answer.unwrap().into_inner().failed_count, 0);
}

pub(crate) async fn get_membership(world: &World, user_id: &str) -> Result<Membership, Status> {
    let request = GetMembershipRequest {
        organization_id: ACME.to_owned(),
        user_id: user_id.to_owned(),
    };
    let answer = world.directory().get_membership(request).await?;
    Ok(answer.into_inner().membership.unwrap())
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

pub(crate) fn text_metadata(text: &str) -> Struct {
    Struct {
        fields: [("text".to_owned(), value(Kind::StringValue(text.to_owned())))].into(),
    }
}

#[tokio::test]
async fn metadata_comes_back_as_it_went_in() {
    let world = World::start().await;
    let list = [
        Kind::BoolValue(true),
        Kind::NullValue(0),
        Kind::NumberValue(-2.5),
    ]
    .map(value);
    let list = Kind::ListValue(ListValue {
        values: list.into(),
    });
    let mut public = text_metadata("quote \" backslash \\ \u{1f600}");
    public.fields.insert("list".to_owned(), value(list));
    let inner = text_metadata("inside");
    public
        .fields
        .insert("inner".to_owned(), value(Kind::StructValue(inner)));
    let whole = value(Kind::NumberValue(9_007_199_254_740_991.0));
    public.fields.insert("whole".to_owned(), whole);
    let given = Membership {
        public_metadata: Some(public),
        private_metadata: Some(text_metadata("secret")),
        ..membership(ACME, "grace", "member")
    };
    world.clock.advance(Duration::hours(1));
    upsert(&world, vec![given.clone()]).await;
    let found = get_membership(&world, "grace").await.unwrap();
    assert!(found.public_metadata == given.public_metadata);
    assert!(found.private_metadata == given.private_metadata);
    let times = [found.create_time, found.update_time].map(|time| time.unwrap().seconds);
    assert_eq!(
        times,
        [START.unix_timestamp(), START.unix_timestamp() + 3_600]
    );
    assert!(found.invitation_id.is_empty());
    // What is left out is gone.
    upsert(&world, vec![membership(ACME, "grace", "")]).await;
    let found = get_membership(&world, "grace").await.unwrap();
    assert!(found.public_metadata.is_none() && found.private_metadata.is_none());
}

pub(crate) async fn list(
    world: &World,
    organization_id: &str,
    size: i32,
    token: &str,
) -> Result<ListMembershipsResponse, Status> {
    let request = ListMembershipsRequest {
        organization_id: organization_id.to_owned(),
        page_size: size,
        page_token: token.to_owned(),
    };
    let answer = world.directory().list_memberships(request).await?;
    Ok(answer.into_inner())
}

#[tokio::test]
async fn memberships_are_listed_in_pages_by_user() {
    let world = World::start().await;
    let ids: Vec<String> = (0..250).map(|number| format!("user{number:03}")).collect();
    let users = ids.iter().map(|id| User {
        id: id.clone(),
        ..Default::default()
    });
    let request = UpsertUsersRequest {
        users: users.collect(),
    };
    world.directory().upsert_users(request).await.unwrap();
    let memberships = ids
        .iter()
        .rev()
        .map(|id| membership(ACME, id, ""))
        .collect();
    upsert(&world, memberships).await;

    let (mut token, mut sizes, mut seen) = (String::new(), Vec::new(), Vec::new());
    loop {
        let page = list(&world, ACME, 100, &token).await.unwrap();
        sizes.push(page.memberships.len());
        seen.extend(
            page.memberships
                .into_iter()
                .map(|membership| membership.user_id),
        );
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let mut expected = vec!["ada".to_owned(), "grace".to_owned()];
    expected.extend(ids);
    assert_eq!(seen, expected);
    assert_eq!(sizes, [100, 100, 52]);
    for (size, expected) in [(0, 100), (252, 252), (5_000, 252)] {
        let page = list(&world, ACME, size, "").await.unwrap();
        let told = (page.memberships.len(), page.next_page_token.is_empty());
        assert_eq!(told, (expected, expected == 252), "{size}");
    }
    assert_eq!(reason(list(&world, ACME, -1, "").await), "FIELD_INVALID");

    let token = list(&world, ACME, 100, "").await.unwrap().next_page_token;
    let last = if token.ends_with('A') { 'B' } else { 'A' };
    let changed = format!("{}{last}", &token[..token.len() - 1]);
    for (organization_id, token) in [(ACME, changed.as_str()), (OTHER, &token), (ACME, "x")] {
        let answer = list(&world, organization_id, 100, token).await;
        assert_eq!(reason(answer), "PAGE_TOKEN_INVALID", "{token}");
    }
}

#[tokio::test]
async fn a_membership_that_is_not_there_is_not_found() {
    let world = World::start().await;
    let answer = get_membership(&world, "eve").await;
    let code = answer.as_ref().err().map(Status::code);
    let told = (code, reason(answer));
    assert_eq!(
        told,
        (Some(Code::NotFound), "MEMBERSHIP_NOT_FOUND".to_owned())
    );
    assert_eq!(reason(get_membership(&world, "").await), "FIELD_REQUIRED");
    assert_eq!(reason(get_membership(&world, "a b").await), "FIELD_INVALID");
}

#[tokio::test]
async fn an_inviter_is_not_demoted_while_a_batch_is_made_in_their_name() {
    let world = World::start().await;
    let (mut batch, mut directory) = (world.database().await, world.database().await);
    let acme = OrganizationId::parse(ACME).unwrap();
    batch.execute("BEGIN").await.unwrap();
    let user_ids = ["ada"];
    let known =
        memberships::lock_inviters(&mut Connection::new(&mut batch), &acme, &user_ids).await;
    assert!(known.unwrap()["ada"].is_admin);
    let demote = "SET lock_timeout = '50ms';
                  UPDATE memberships SET role = 'member' WHERE organization_id = 'acme' AND user_id = 'ada'";
    let error = directory.execute(demote).await.unwrap_err();
    let code = error
        .as_database_error()
        .unwrap()
        .code()
        .unwrap()
        .into_owned();
    assert_eq!(code, "55P03");
    batch.execute("COMMIT").await.unwrap();
    directory.execute(demote).await.unwrap();
}
