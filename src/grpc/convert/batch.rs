//! Batches and their counts.

use std::collections::BTreeMap;

use super::{enums, times, viewer};
use crate::domain::batch::{Batch, BatchCounts};
use crate::domain::invitation::{DeliveryState, StateName};
use crate::proto;

/// A batch with its counts by state and by delivery state, in the order of the enums.
pub(in crate::grpc) fn batch(input: &Batch, counts: &[BatchCounts]) -> proto::Batch {
    let mut states: BTreeMap<i32, i64> = BTreeMap::new();
    let mut delivery_states: BTreeMap<i32, i64> = BTreeMap::new();
    for counted in counts {
        let state = StateName::from_name(&counted.state).map(enums::state);
        let delivery = DeliveryState::from_name(&counted.delivery_state);
        let delivery = delivery.map(enums::delivery_state);
        *states.entry(state.unwrap_or_default().into()).or_default() += counted.count;
        *delivery_states
            .entry(delivery.unwrap_or_default().into())
            .or_default() += counted.count;
    }
    proto::Batch {
        id: viewer::id(input.id),
        organization_id: input.organization_id.clone(),
        create_time: Some(times::timestamp(input.created_at)),
        update_time: Some(times::timestamp(input.updated_at)),
        item_count: input.item_count,
        failed_count: input.failed_count,
        invitation_count: counts.iter().map(|counted| counted.count).sum(),
        state_counts: states
            .into_iter()
            .filter(|(_, count)| *count != 0)
            .map(|(state, count)| proto::StateCount { state, count })
            .collect(),
        delivery_state_counts: delivery_states
            .into_iter()
            .filter(|(_, count)| *count != 0)
            .map(|(delivery_state, count)| proto::DeliveryStateCount {
                delivery_state,
                count,
            })
            .collect(),
    }
}
