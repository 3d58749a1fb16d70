//! Memberships: what is stored, and how it is read and listed.

use invitations::domain::ids::OrganizationId;
use invitations::proto::{
    ListMembershipsRequest, ListMembershipsResponse, Membership, UpsertOutcome,
};
use invitations::store::Connection;
use invitations::store::memberships;
use prost_types::{ListValue, Struct, Value, value::Kind};
use sqlx::Executor as _;
use time::Duration;
use tonic::{Code, Status};

use crate::support::directory::{membership, upsert_outcomes, user};
use crate::support::{ACME, OTHER, START, World, reason, status_reason};

async fn upsert(world: &World, membership: Membership) {
    let results = world.upsert_memberships(vec![membership]).await;
    assert_ne!(results[0].outcome(), UpsertOutcome::Failed);
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn text_metadata(text: &str) -> Struct {
    Struct {
        fields: [("text".to_owned(), value(Kind::StringValue(text.to_owned())))].into(),
    }
}

#[tokio::test]
async fn metadata_is_returned_as_it_was_written() {
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
    upsert(&world, given.clone()).await;
    let found = world.get_membership("grace").await.unwrap();
    assert!(found.public_metadata == given.public_metadata);
    assert!(found.private_metadata == given.private_metadata);
    let times = [found.create_time, found.update_time].map(|time| time.unwrap().seconds);
    assert_eq!(
        times,
        [START.unix_timestamp(), START.unix_timestamp() + 3_600]
    );
    assert!(found.invitation_id.is_empty());
    let cleared = Membership {
        public_metadata: Some(Struct::default()),
        private_metadata: Some(Struct::default()),
        ..membership(ACME, "grace", "")
    };
    upsert(&world, cleared).await;
    let found = world.get_membership("grace").await.unwrap();
    assert!(found.public_metadata.is_none() && found.private_metadata.is_none());
}

/// Reads one page of the memberships of an organization.
pub(crate) async fn list_page(
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
async fn memberships_are_listed_in_pages_ordered_by_user() {
    let world = World::start().await;
    let ids: Vec<String> = (0..250).map(|number| format!("user{number:03}")).collect();
    let users = ids.iter().map(|id| user(id, "", &[]));
    world.upsert_users(users.collect()).await;
    let memberships = ids.iter().rev().map(|id| membership(ACME, id, ""));
    let results = world.upsert_memberships(memberships.collect()).await;
    assert_eq!(upsert_outcomes(&results), [UpsertOutcome::Created; 250]);

    let (mut token, mut sizes, mut listed) = (String::new(), Vec::new(), Vec::new());
    loop {
        let page = list_page(&world, ACME, 100, &token).await.unwrap();
        sizes.push(page.memberships.len());
        listed.extend(
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
    assert_eq!(listed, expected);
    assert_eq!(sizes, [100, 100, 52]);
    for (size, expected) in [(0, 100), (252, 252), (5_000, 252)] {
        let page = list_page(&world, ACME, size, "").await.unwrap();
        let is_last = page.next_page_token.is_empty();
        assert_eq!(page.memberships.len(), expected, "{size}");
        assert_eq!(is_last, expected == 252, "{size}");
    }
    assert_eq!(
        reason(list_page(&world, ACME, -1, "").await),
        "FIELD_INVALID"
    );

    let token = list_page(&world, ACME, 100, "")
        .await
        .unwrap()
        .next_page_token;
    let last = if token.ends_with('A') { 'B' } else { 'A' };
    let changed = format!("{}{last}", &token[..token.len() - 1]);
    for (organization_id, token) in [(ACME, changed.as_str()), (OTHER, &token), (ACME, "x")] {
        let answer = list_page(&world, organization_id, 100, token).await;
        assert_eq!(reason(answer), "PAGE_TOKEN_INVALID", "{token}");
    }
}

#[tokio::test]
async fn a_missing_membership_is_not_found() {
    let world = World::start().await;
    let status = world.get_membership("eve").await.err().unwrap();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status_reason(&status), "MEMBERSHIP_NOT_FOUND");
    assert_eq!(reason(world.get_membership("").await), "FIELD_REQUIRED");
    assert_eq!(reason(world.get_membership("a b").await), "FIELD_INVALID");
}

#[tokio::test]
async fn an_inviter_cannot_be_demoted_while_a_batch_is_created_in_their_name() {
    let world = World::start().await;
    let (mut batch, mut directory) = (world.database().await, world.database().await);
    let acme = OrganizationId::parse(ACME).unwrap();
    batch.execute("BEGIN").await.unwrap();
    let user_ids = ["ada"];
    let inviters =
        memberships::lock_inviters(&mut Connection::new(&mut batch), &acme, &user_ids).await;
    assert!(inviters.unwrap()["ada"].can_invite);
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
