//! Watches of all organizations that a caller may see, and watches of some types of events.

use std::collections::BTreeSet;

use invitations::proto::{
    BulkCreateRequest, InvitationEvent, InvitationEventType, NewInvitation, WatchRequest,
};
use sqlx::PgConnection;
use tonic::Code;
use uuid::Uuid;

use super::{SHORT_INTERVAL, begin_transaction, commit, insert_events, invite_many, refused_watch};
use crate::support::batch_counts::wait_until_events_are_final;
use crate::support::directory::organization;
use crate::support::user_issuer::UserIssuer;
use crate::support::watch_stream::{WatchStream, open_watch, watch_request};
use crate::support::{
    ACME, OTHER, START, World, accept_by_id_request, create_request, created, field_violations,
    invite_to_other_request, item_without_email, numbered_emails,
};

const THIRD: &str = "third";

/// Watches all organizations that the caller may see.
fn all_request() -> WatchRequest {
    WatchRequest::default()
}

fn all_of(types: &[InvitationEventType]) -> WatchRequest {
    WatchRequest {
        types: types.iter().map(|known| i32::from(*known)).collect(),
        ..all_request()
    }
}

async fn start() -> World {
    let mut world = World::start().await;
    world.may_leave_mail();
    world
        .upsert_organization(organization(THIRD, "Third Ways"))
        .await;
    world.add_member(THIRD, "eve", "admin").await;
    world
}

async fn invite_into_other(world: &World, prefix: &str, count: usize) {
    let emails = numbered_emails(prefix, "b.co", 0..count);
    world.bulk_create(invite_to_other_request(&emails)).await;
}

async fn invite_into_third(world: &World, prefix: &str, count: usize) {
    let emails = numbered_emails(prefix, "b.co", 0..count);
    let request = BulkCreateRequest {
        organization_id: THIRD.to_owned(),
        ..invite_to_other_request(&emails)
    };
    world.bulk_create(request).await;
}

/// Inserts rows of one event each directly into the database.
async fn insert_rows(database: &mut PgConnection, organization_id: &str, count: i32) {
    sqlx::query(
        "INSERT INTO invitation_events
                (created_at, organization_id, batch_id, event_type, new_state, new_delivery_state, invitation_ids)
         SELECT $1, $2, gen_random_uuid(), 'created', 'pending', 'queued', ARRAY[gen_random_uuid()]
           FROM generate_series(1, $3)",
    )
    .bind(START)
    .bind(organization_id)
    .bind(count)
    .execute(database)
    .await
    .unwrap();
}

/// The ids of all stored events of some organizations, in order.
async fn stored_ids(world: &World, organization_ids: &[&str]) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT transaction_id || '-' || seq || '-' || (ordinal - 1)
           FROM invitation_events, UNNEST(invitation_ids) WITH ORDINALITY AS t (id, ordinal)
          WHERE organization_id = ANY($1)
          ORDER BY transaction_id, seq, ordinal",
    )
    .bind(organization_ids)
    .fetch_all(&mut world.database().await)
    .await
    .unwrap()
}

fn organizations_of(events: &[InvitationEvent]) -> BTreeSet<&str> {
    let ids = events.iter().map(|event| event.organization_id.as_str());
    ids.collect()
}

#[tokio::test]
async fn a_watch_without_an_organization_returns_the_events_of_all_in_order() {
    let world = start().await;
    invite_many(&world, "before", 2).await;
    invite_into_other(&world, "before", 3).await;
    let mut watch = WatchStream::begin(world.client(), all_request()).await;
    watch.wait_for_events(5).await;
    // A commit in any organization wakes it.
    invite_into_third(&world, "live", 1).await;
    watch.wait_for_events(6).await;
    invite_many(&world, "live", 1).await;
    watch.wait_for_events(7).await;
    let all = stored_ids(&world, &[ACME, OTHER, THIRD]).await;
    assert_eq!(watch.event_ids(), all);
    assert_eq!(organizations_of(&watch.events), [ACME, OTHER, THIRD].into());
    // With from_now it begins after all of them.
    let request = WatchRequest {
        from_now: true,
        ..all_request()
    };
    let mut from_now = WatchStream::begin(world.client(), request).await;
    assert!(from_now.events.is_empty());
    invite_into_other(&world, "after", 1).await;
    from_now.wait_for_events(1).await;
    assert_eq!(from_now.events[0].organization_id, OTHER);
}

#[tokio::test]
async fn a_limited_caller_sees_only_the_events_of_its_organizations() {
    let world = start().await;
    invite_into_third(&world, "hidden", 2).await;
    invite_many(&world, "seen", 2).await;
    for (caller, visible) in [
        ("acme-and-other", [ACME, OTHER].as_slice()),
        ("acme-only", &[ACME]),
    ] {
        let mut watch = WatchStream::begin(world.client_of(caller), all_request()).await;
        watch
            .wait_for_events(stored_ids(&world, visible).await.len())
            .await;
        invite_into_third(&world, &format!("hidden-{caller}"), 1).await;
        invite_into_other(&world, &format!("other-{caller}"), 1).await;
        invite_many(&world, &format!("seen-{caller}"), 1).await;
        let all = stored_ids(&world, visible).await;
        watch.wait_for_events(all.len()).await;
        assert_eq!(watch.event_ids(), all);
        let seen = organizations_of(&watch.events);
        assert_eq!(seen, visible.iter().copied().collect());
    }
}

#[tokio::test]
async fn users_and_batches_need_an_organization() {
    let issuer = UserIssuer::start().await;
    let mut world = World::builder().issuers(&issuer.table()).start().await;
    world.may_leave_mail();
    let batch_id = invite_many(&world, "person", 1).await;
    let of_batch = WatchRequest {
        batch_id,
        ..all_request()
    };
    let expected = [("organization_id".to_owned(), "FIELD_REQUIRED".to_owned())];
    let ada = issuer.token(&world, "ada");
    for (caller, request) in [
        (ada.as_str(), all_request()),
        ("all", of_batch.clone()),
        ("acme-only", of_batch),
    ] {
        let refused = open_watch(world.client_of(caller), request).await;
        assert_eq!(field_violations(&refused.unwrap_err()), expected);
    }
}

#[tokio::test]
async fn a_watch_of_all_that_resumes_from_any_cursor_loses_no_event_while_transactions_are_open() {
    let world = start().await;
    world.listen(SHORT_INTERVAL);
    for caller in ["all", "acme-and-other"] {
        let begun_with = stored_ids(&world, &[ACME, OTHER]).await.len();
        let mut watch = WatchStream::begin(world.client_of(caller), all_request()).await;
        watch.wait_for_events(begun_with).await;
        let mut slow = world.database().await;
        begin_transaction(&mut slow).await;
        let mut expected = begun_with;
        for step in 0..4 {
            invite_into_other(&world, &format!("{caller}{step}x"), 2).await;
            invite_many(&world, &format!("{caller}{step}x"), 1).await;
            expected += 3;
            watch.wait_for_events(expected).await;
        }
        insert_events(&mut slow, Uuid::new_v4(), 3).await;
        commit(&mut slow).await;
        watch.wait_for_events(expected + 3).await;
        wait_until_events_are_final(&world).await;
        let all: BTreeSet<_> = stored_ids(&world, &[ACME, OTHER])
            .await
            .into_iter()
            .collect();
        let ids = watch.event_ids();
        assert_eq!(ids.len(), all.len(), "an event was returned twice");
        assert_eq!(ids.iter().cloned().collect::<BTreeSet<_>>(), all);
        for (cursor, count) in watch.cursors {
            let mut together: BTreeSet<_> = ids[..count].iter().cloned().collect();
            let request = WatchRequest {
                cursor,
                ..all_request()
            };
            let mut resumed = WatchStream::begin(world.client_of(caller), request).await;
            resumed.wait_for_events(all.len() - together.len()).await;
            together.extend(resumed.event_ids());
            assert_eq!(together, all);
        }
    }
}

#[tokio::test]
async fn the_logs_of_several_organizations_are_merged_in_order_however_uneven_they_are() {
    let world = start().await;
    let mut database = world.database().await;
    for (organization_id, count) in [
        (ACME, 700),
        (OTHER, 1),
        (THIRD, 50),
        (OTHER, 1_300),
        (ACME, 2_000),
        (OTHER, 3),
    ] {
        insert_rows(&mut database, organization_id, count).await;
    }
    wait_until_events_are_final(&world).await;
    for (caller, visible) in [
        ("all", [ACME, OTHER, THIRD].as_slice()),
        ("acme-and-other", &[ACME, OTHER]),
    ] {
        let all = stored_ids(&world, visible).await;
        let mut watch = WatchStream::begin(world.client_of(caller), all_request()).await;
        watch.wait_for_events(all.len()).await;
        assert_eq!(watch.event_ids(), all, "{caller}");
    }
}

#[tokio::test]
async fn a_watch_of_types_returns_only_events_of_these_types() {
    let world = start().await;
    let item = NewInvitation {
        role: "member".to_owned(),
        ..item_without_email("a@b.co")
    };
    let response = world.bulk_create(create_request(vec![item])).await;
    let id = created(&response.results[0]).id;
    let wanted = [InvitationEventType::Accepted, InvitationEventType::Revoked];
    let of_acme = WatchRequest {
        organization_id: ACME.to_owned(),
        ..all_of(&wanted)
    };
    let mut of_all = WatchStream::begin(world.client(), all_of(&wanted)).await;
    let mut of_one = WatchStream::begin(world.client(), of_acme).await;
    assert!(of_all.events.is_empty() && of_one.events.is_empty());
    // Rows of other types, more than one read scans.
    insert_rows(&mut world.database().await, ACME, 5_000).await;
    let request = accept_by_id_request(&id, "new", "a@b.co");
    world.client().accept(request).await.unwrap();
    for watch in [&mut of_all, &mut of_one] {
        watch.wait_for_events(1).await;
        let event = &watch.events[0];
        assert_eq!(watch.events.len(), 1);
        assert_eq!(event.r#type(), InvitationEventType::Accepted);
        assert_eq!(event.invitation_id, id);
    }
    for unknown in [0, -1, 999] {
        let mut request = all_of(&wanted);
        request.types.push(unknown);
        let refused = open_watch(world.client(), request).await.unwrap_err();
        let expected = [("types".to_owned(), "FIELD_INVALID".to_owned())];
        assert_eq!(field_violations(&refused), expected);
    }
}

#[tokio::test]
async fn a_cursor_belongs_to_its_organization_or_all_and_to_its_types() {
    let world = start().await;
    invite_many(&world, "person", 1).await;
    let wanted = [InvitationEventType::Created, InvitationEventType::Accepted];
    let reversed = [
        InvitationEventType::Accepted,
        InvitationEventType::Created,
        InvitationEventType::Accepted,
    ];
    let [all, of_types, of_acme] = [all_request(), all_of(&wanted), watch_request()];
    let begin = async |request: &WatchRequest| {
        let watch = WatchStream::begin(world.client(), request.clone()).await;
        watch.cursors[0].0.clone()
    };
    let cursors = [
        begin(&all).await,
        begin(&of_types).await,
        begin(&of_acme).await,
    ];
    let requests = [all, of_types, of_acme];
    for (own, cursor) in cursors.iter().enumerate() {
        for (number, request) in requests.iter().enumerate() {
            let request = WatchRequest {
                cursor: cursor.clone(),
                ..request.clone()
            };
            if number == own {
                open_watch(world.client(), request).await.unwrap();
            } else {
                let expected = (Code::InvalidArgument, "CURSOR_INVALID".to_owned());
                assert_eq!(refused_watch(world.client(), request).await, expected);
            }
        }
    }
    // The order of the types and repeated ones make no difference.
    let same = WatchRequest {
        cursor: cursors[1].clone(),
        ..all_of(&reversed)
    };
    open_watch(world.client(), same).await.unwrap();
}
