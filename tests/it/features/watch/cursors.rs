//! The order of events, and resuming from a cursor.

use std::collections::{BTreeMap, BTreeSet};

use invitations::domain::event::{EventCursor, EventPosition};
use invitations::domain::keyring::Keyring;
use invitations::domain::page_token;
use invitations::proto::{
    BulkRevokeRequest, InvitationEvent, InvitationEventType, InvitationFilter, WatchRequest,
};
use tonic::Code;
use uuid::Uuid;

use super::{
    SHORT_INTERVAL, all_event_ids, begin_transaction, commit, from_now_request, insert_events,
    invite_many, refused_watch, resume_request,
};
use crate::support::batch_counts::wait_until_events_are_final;
use crate::support::watch_stream::{WatchStream, watch_request};
use crate::support::{ACME, EVENTS_KEPT, KEYS, START, World, status_reason};

#[tokio::test]
async fn events_arrive_at_once_and_in_order() {
    let mut world = World::start().await;
    let mut watch = WatchStream::begin(world.client(), watch_request()).await;
    assert!(watch.events.is_empty());
    // The server does not listen to the database. A commit in the same process wakes the watch.
    let batch_id = invite_many(&world, "person", 3).await;
    watch.wait_for_events(3).await;
    world.deliver_all().await;
    watch.wait_for_events(6).await;
    let types: Vec<_> = watch.events.iter().map(InvitationEvent::r#type).collect();
    assert_eq!(types[..3], [InvitationEventType::Created; 3]);
    assert_eq!(types[3..], [InvitationEventType::Sent; 3]);
    for event in &watch.events {
        assert_eq!(event.batch_id, batch_id);
        assert_eq!(event.organization_id, ACME);
        let time = event.event_time.unwrap();
        assert_eq!(time.seconds, START.unix_timestamp());
    }
    let all = all_event_ids(&mut world.database().await).await;
    assert_eq!(watch.event_ids().into_iter().collect::<BTreeSet<_>>(), all);
}

#[tokio::test]
async fn from_now_excludes_events_that_were_committed_before() {
    let mut world = World::start().await;
    world.may_leave_mail();
    invite_many(&world, "before", 3).await;
    // Events that follow an open transaction are not final.
    let mut slow = world.database().await;
    begin_transaction(&mut slow).await;
    invite_many(&world, "beyond", 3).await;
    let mut watch = WatchStream::begin(world.client(), from_now_request()).await;
    assert!(watch.events.is_empty());
    invite_many(&world, "after", 2).await;
    watch.wait_for_events(2).await;
    assert_eq!(watch.events.len(), 2);
    // Resuming from the first cursor returns all of these events. It may return earlier ones too.
    let cursor = watch.cursors[0].0.clone();
    let resumed = WatchStream::begin(world.client(), resume_request(&cursor)).await;
    let resumed: BTreeSet<_> = resumed.event_ids().into_iter().collect();
    assert!(watch.event_ids().iter().all(|id| resumed.contains(id)));
    commit(&mut slow).await;
}

#[tokio::test]
async fn resuming_from_any_cursor_loses_no_event_while_transactions_are_open() {
    let mut world = World::start().await;
    world.may_leave_mail();
    world.listen(SHORT_INTERVAL);
    let batch_id = Uuid::new_v4();
    let mut watch = WatchStream::begin(world.client(), watch_request()).await;
    let mut open = Vec::new();
    let mut expected = 0;
    for step in 0..30 {
        let mut transaction = world.database().await;
        begin_transaction(&mut transaction).await;
        open.push(transaction);
        invite_many(&world, &format!("step{step}x"), 2).await;
        expected += 2;
        if open.len() == 4 {
            // One of the older transactions ends, and the others stay open.
            let mut ending = open.remove(step % 2);
            insert_events(&mut ending, batch_id, 1 + i32::try_from(step % 4).unwrap()).await;
            insert_events(&mut ending, batch_id, 1).await;
            commit(&mut ending).await;
            expected += 2 + step % 4;
        }
        watch.wait_for_events(expected).await;
    }
    for mut transaction in open {
        commit(&mut transaction).await;
    }
    // After all events are final, a response without events returns a cursor behind the last one.
    wait_until_events_are_final(&world).await;
    loop {
        let last = watch.cursors.last().unwrap().0.clone();
        let resumed = WatchStream::begin(world.client(), resume_request(&last)).await;
        if resumed.events.is_empty() {
            break;
        }
        watch.next().await.unwrap();
    }
    let all = all_event_ids(&mut world.database().await).await;
    let ids = watch.event_ids();
    assert_eq!(ids.len(), all.len(), "an event was returned twice");
    assert_eq!(ids.iter().cloned().collect::<BTreeSet<_>>(), all);
    let cursors: BTreeMap<String, usize> = watch.cursors.iter().cloned().rev().collect();
    // Transactions of other tests delay that moment, too.
    assert!(cursors.len() > 2, "{}", cursors.len());
    for (cursor, count) in cursors {
        let mut together: BTreeSet<_> = ids[..count].iter().cloned().collect();
        let mut resumed = WatchStream::begin(world.client(), resume_request(&cursor)).await;
        let missing = all.len() - together.len();
        resumed.wait_for_events(missing).await;
        together.extend(resumed.event_ids());
        assert_eq!(together, all);
    }
}

#[tokio::test]
async fn a_row_with_thousands_of_events_is_split_and_resumes_from_any_part() {
    let mut world = World::start().await;
    world.may_leave_mail();
    invite_many(&world, "one", 1).await;
    let batch_id = invite_many(&world, "person", 2_500).await;
    invite_many(&world, "last", 1).await;
    wait_until_events_are_final(&world).await;
    let mut watch = WatchStream::begin(world.client(), watch_request()).await;
    watch.wait_for_events(2_502).await;
    let ids = watch.event_ids();
    assert!(watch.cursors.len() >= 3);
    for (cursor, count) in watch.cursors {
        let mut resumed = WatchStream::begin(world.client(), resume_request(&cursor)).await;
        resumed.wait_for_events(ids.len() - count).await;
        assert_eq!(
            resumed.event_ids(),
            ids[count..],
            "a final event was returned again"
        );
    }
    let request = WatchRequest {
        batch_id: batch_id.clone(),
        ..watch_request()
    };
    let mut of_batch = WatchStream::begin(world.client(), request).await;
    of_batch.wait_for_events(2_500).await;
    assert_eq!(of_batch.event_ids(), ids[1..2_501]);
    assert!(
        of_batch
            .events
            .iter()
            .all(|event| event.batch_id == batch_id)
    );
}

#[tokio::test]
async fn the_events_of_a_batch_are_found_among_those_of_a_busy_organization() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let batch_id = invite_many(&world, "person", 2).await;
    let mut database = world.database().await;
    sqlx::query(
        "INSERT INTO invitation_events
                (created_at, organization_id, batch_id, event_type, new_state, new_delivery_state, invitation_ids)
         SELECT $1, 'acme', gen_random_uuid(), 'created', 'pending', 'queued', ARRAY[gen_random_uuid()]
           FROM generate_series(1, 7000)",
    )
    .bind(START)
    .execute(&mut database)
    .await
    .unwrap();
    let request = WatchRequest {
        batch_id: batch_id.clone(),
        ..watch_request()
    };
    let mut watch = WatchStream::begin(world.client(), request).await;
    watch.wait_for_events(2).await;
    let revoke = BulkRevokeRequest {
        organization_id: ACME.to_owned(),
        filter: Some(InvitationFilter {
            batch_id: Some(batch_id),
            ..Default::default()
        }),
        ..Default::default()
    };
    world.client().bulk_revoke(revoke).await.unwrap();
    watch.wait_for_events(4).await;
    assert_eq!(watch.events.len(), 4);
    assert_eq!(watch.events[3].r#type(), InvitationEventType::Revoked);
}

#[tokio::test]
async fn a_cursor_is_valid_as_long_as_the_events_after_it_are_certainly_kept() {
    let mut world = World::start().await;
    world.may_leave_mail();
    invite_many(&world, "person", 1).await;
    let kept = time::Duration::try_from(EVENTS_KEPT).unwrap();
    let watch = WatchStream::begin(world.client(), watch_request()).await;
    let cursor = watch.cursors[0].0.clone();
    world.clock.advance(kept - time::Duration::hours(1));
    WatchStream::begin(world.client(), resume_request(&cursor)).await;
    world.clock.advance(time::Duration::seconds(2));
    let expected = (Code::FailedPrecondition, "CURSOR_EXPIRED".to_owned());
    assert_eq!(
        refused_watch(world.client(), resume_request(&cursor)).await,
        expected
    );
    // A new watch returns the events that are still stored.
    let new_watch = WatchStream::begin(world.client(), watch_request()).await;
    assert_eq!(new_watch.events.len(), 1);
}

#[tokio::test]
async fn a_cursor_of_another_database_cluster_is_expired() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let mut database = world.database().await;
    let ahead = "INSERT INTO invitation_events
                        (transaction_id, created_at, organization_id, batch_id, event_type, new_state,
                         new_delivery_state, invitation_ids)
                 VALUES ('4611686018427387904', $1, 'acme', gen_random_uuid(), 'created', 'pending', 'queued',
                         (SELECT array_agg(gen_random_uuid()) FROM generate_series(1, 3)))";
    sqlx::query(ahead)
        .bind(START)
        .execute(&mut database)
        .await
        .unwrap();
    // A row from a restored dump may have a transaction id in the future. It is returned and never becomes final.
    let watch = WatchStream::begin(world.client(), watch_request()).await;
    assert_eq!(watch.events.len(), 3);
    let keyring = Keyring::parse(KEYS).unwrap();
    let genuine = page_token::open(&keyring, b"events\0acme\0\0", &watch.cursors[0].0).unwrap();
    let cursor = EventCursor {
        log_id: EventCursor::decode(&genuine).unwrap().log_id,
        position: EventPosition {
            transaction_id: 4_611_686_018_427_387_904,
            seq: 1,
        },
        ordinal: 1,
        time: START,
    };
    let cursor = page_token::seal(&keyring, b"events\0acme\0\0", &cursor.encode());
    let expected = (Code::FailedPrecondition, "CURSOR_EXPIRED".to_owned());
    assert_eq!(
        refused_watch(world.client(), resume_request(&cursor)).await,
        expected
    );
}

/// A failover to a server without the last commits changes the log in the same way. An idle watch may not notice that its
/// connections were replaced.
#[tokio::test]
async fn cursors_and_open_watches_of_another_log_are_expired() {
    let mut world = World::start().await;
    world.may_leave_mail();
    invite_many(&world, "person", 1).await;
    let mut watch = WatchStream::begin(world.client(), watch_request()).await;
    let cursor = watch.cursors.last().unwrap().0.clone();
    world
        .execute("UPDATE event_fold SET log_id = gen_random_uuid()")
        .await;
    invite_many(&world, "other", 1).await;
    let ended = loop {
        if let Err(status) = watch.next().await {
            break (status.code(), status_reason(&status));
        }
    };
    let expected = (Code::FailedPrecondition, "CURSOR_EXPIRED".to_owned());
    assert_eq!(ended, expected);
    assert_eq!(
        refused_watch(world.client(), resume_request(&cursor)).await,
        expected
    );
    let again = WatchStream::begin(world.client(), watch_request()).await;
    assert_eq!(again.events.len(), 2);
}
