//! Filters of invitations.

use uuid::Uuid;

use super::enums;
use super::fields::{self, Field, Fields as _};
use crate::domain::ids::UserId;
use crate::domain::invitation::InvitationFilter;
use crate::domain::reason::Violation;
use crate::proto;
use crate::service::InvitationSelection;

/// A filter, which stands in the field `filter`. Reports every violation.
pub(in crate::grpc) fn filter(input: Option<&proto::InvitationFilter>) -> Field<InvitationFilter> {
    let Some(input) = input else {
        return Ok(InvitationFilter::default());
    };
    let inviter = |id: &str| fields::required("inviter_user_id", id, UserId::parse(id));
    // TODO(13): several states.
    let (state, delivery_state, email, batch_id, inviter) = (
        enums::state_filter(input.states.first().copied().unwrap_or_default()),
        enums::delivery_filter(input.delivery_states.first().copied().unwrap_or_default()),
        fields::optional(&input.email, fields::email),
        fields::optional(&input.batch_id, fields::batch_id),
        fields::optional(&input.inviter_user_id, inviter),
    )
        .all()
        .map_err(|violations| within("filter", violations))?;
    Ok(InvitationFilter {
        states: state.into_iter().collect(),
        delivery_state,
        email_normalized: email.map(|email| email.normalized().to_owned()),
        inviter_user_id: inviter.map(|id| id.as_str().to_owned()),
        batch_id,
    })
}

/// The invitations of a bulk call: ids, or a filter, beside which ids are refused.
pub(super) fn selection<F>(
    ids: &[String],
    wanted: Option<&F>,
    page_size: i32,
    filter: fn(&F) -> Field<InvitationFilter>,
    before: Field<Option<Uuid>>,
) -> Field<InvitationSelection> {
    let Some(wanted) = wanted else {
        return fields::invitation_ids(ids).map(InvitationSelection::Ids);
    };
    let only_filter = if ids.is_empty() {
        Ok(())
    } else {
        Err(fields::invalid("filter"))
    };
    let page_size = fields::bulk_page_size(page_size);
    let ((), page_size, filter, before) = (only_filter, page_size, filter(wanted), before).all()?;
    Ok(InvitationSelection::Filter {
        filter,
        before,
        page_size,
    })
}

/// The violations of fields of a message that stands in a field.
pub(super) fn within(field: &str, violations: Vec<Violation>) -> Vec<Violation> {
    let name = |it: Violation| Violation::new(format!("{field}.{}", it.field), it.reason);
    violations.into_iter().map(name).collect()
}
