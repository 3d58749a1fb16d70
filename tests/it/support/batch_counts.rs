//! The counts that `GetBatch` returns, compared with the rows of the invitations.

use std::collections::BTreeMap;
use std::time::Duration;

use invitations::clock::Clock as _;
use invitations::proto::{Batch, DeliveryState, GetBatchRequest, InvitationState};
use time::OffsetDateTime;
use tokio::time::sleep;
use uuid::Uuid;

use crate::support::database::count;
use crate::support::requests::get_batch_request;
use crate::support::world::World;

/// The number of invitations in each state and in each delivery state, by the numbers of the enum values.
pub(crate) type BatchStateCounts = (BTreeMap<i32, i64>, BTreeMap<i32, i64>);

/// Reads a batch.
pub(crate) async fn get_batch(world: &World, organization_id: &str, batch_id: &str) -> Batch {
    let request = GetBatchRequest {
        organization_id: organization_id.to_owned(),
        ..get_batch_request(batch_id)
    };
    let response = world.client().get_batch(request).await.unwrap();
    response.into_inner().batch.unwrap()
}

pub(crate) fn state_counts(batch: &Batch) -> BatchStateCounts {
    let states = batch.state_counts.iter();
    let delivery_states = batch.delivery_state_counts.iter();
    (
        states.map(|it| (it.state, it.count)).collect(),
        delivery_states
            .map(|it| (it.delivery_state, it.count))
            .collect(),
    )
}

/// Fails unless each batch has the counts that its invitations have, counted row by row.
pub(crate) async fn assert_batch_counts(world: &World) {
    let mut expected = counts_of_rows(world).await;
    let batches: Vec<(Uuid, String)> = sqlx::query_as("SELECT id, organization_id FROM batches")
        .fetch_all(&mut world.database().await)
        .await
        .unwrap();
    let is_batch = |id: &Uuid| batches.iter().any(|(batch, _)| batch == id);
    assert!(expected.keys().all(is_batch));
    for (id, organization_id) in &batches {
        let batch = get_batch(world, organization_id, &id.to_string()).await;
        let expected = expected.remove(id).unwrap_or_default();
        assert_eq!(state_counts(&batch), expected, "{id}");
        assert_eq!(batch.invitation_count, expected.0.values().sum::<i64>());
        assert!(batch.item_count >= batch.invitation_count + batch.failed_count);
    }
}

async fn counts_of_rows(world: &World) -> BTreeMap<Uuid, BatchStateCounts> {
    let now = world.clock.now();
    let rows: Vec<(Uuid, String, String, OffsetDateTime, bool)> = sqlx::query_as(
        "SELECT i.batch_id, i.state, i.delivery_state, i.expires_at,
                EXISTS (SELECT FROM outbox o
                         WHERE o.invitation_id = i.id AND o.send_seq = i.send_seq AND o.state = 'sending')
           FROM invitations i",
    )
    .fetch_all(&mut world.database().await)
    .await
    .unwrap();
    let mut counts: BTreeMap<Uuid, BatchStateCounts> = BTreeMap::new();
    for (batch_id, state, delivery_state, expires_at, is_leased) in rows {
        let is_overdue = state == "pending" && expires_at <= now;
        let state = if is_overdue { "expired" } else { &state };
        let has_feedback = ["bounced", "complained"].contains(&delivery_state.as_str());
        let delivery_state = if is_leased && !has_feedback {
            "sending"
        } else {
            &delivery_state
        };
        let (states, delivery_states) = counts.entry(batch_id).or_default();
        *states.entry(state_number(state)).or_default() += 1;
        *delivery_states
            .entry(delivery_state_number(delivery_state))
            .or_default() += 1;
    }
    counts
}

fn state_number(name: &str) -> i32 {
    let name = format!("INVITATION_STATE_{}", name.to_uppercase());
    InvitationState::from_str_name(&name).unwrap().into()
}

fn delivery_state_number(name: &str) -> i32 {
    let name = format!("DELIVERY_STATE_{}", name.to_uppercase());
    DeliveryState::from_str_name(&name).unwrap().into()
}

/// Waits until no transaction of the Postgres cluster can still commit an event that is older than those of the test.
/// Transactions of other tests delay that moment.
pub(crate) async fn wait_until_events_are_final(world: &World) {
    let from = "invitation_events WHERE transaction_id >= pg_snapshot_xmin(pg_current_snapshot())";
    let mut database = world.database().await;
    while count(&mut database, from).await > 0 {
        sleep(Duration::from_millis(20)).await;
    }
}
