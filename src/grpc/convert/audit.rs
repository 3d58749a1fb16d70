//! `AuditService`: the filter and the events.

use prost_types::Timestamp;
use time::OffsetDateTime;
use uuid::Uuid;

use super::fields::{Field, Fields as _};
use super::times;
use crate::domain::audit::AuditFilter;
use crate::domain::audit::{AuditAction, AuditCounts, AuditRecord, OUTCOME_OK};
use crate::domain::expiry::Expiry;
use crate::domain::ids::UserId;
use crate::domain::reason::{Reason, Violation};
use crate::proto;

/// Longest name of a caller in a filter. No caller has a longer name.
const CALLER_BYTES_MAX: usize = 512;

/// The filter without the organization. Reports every violation.
pub(in crate::grpc) fn filter(request: &proto::AuditServiceListRequest) -> Field<AuditFilter> {
    let (caller, user_id, action, invitation_id, batch_id, start, end) = (
        caller(&request.caller),
        user_id(&request.user_id),
        action(request.action),
        id("invitation_id", &request.invitation_id),
        id("batch_id", &request.batch_id),
        time("start_time", request.start_time),
        time("end_time", request.end_time),
    )
        .all()?;
    Ok(AuditFilter {
        organization_id: None,
        action,
        caller,
        user_id,
        invitation_id,
        batch_id,
        start,
        end,
    })
}

pub(in crate::grpc) fn event(input: AuditRecord) -> proto::AuditEvent {
    let action = AuditAction::from_name(&input.action)
        .map_or(proto::AuditAction::Unspecified, action_on_wire);
    let id = |id: Option<Uuid>| id.as_ref().map(Uuid::to_string).unwrap_or_default();
    let refusal = (input.outcome != OUTCOME_OK).then(|| {
        let name = format!("ERROR_REASON_{}", input.outcome);
        proto::ErrorReason::from_str_name(&name)
            .unwrap_or_default()
            .into()
    });
    proto::AuditEvent {
        id: input.id.to_string(),
        create_time: Some(times::timestamp(input.created_at)),
        organization_id: input.organization_id,
        action: action.into(),
        refusal,
        caller: input.caller,
        on_behalf_of_user_id: input.on_behalf_of_user_id.unwrap_or_default(),
        subject_user_id: input.subject_user_id.unwrap_or_default(),
        invitation_id: id(input.invitation_id),
        batch_id: id(input.batch_id),
        request_id: id(input.request_id),
        counts: Some(counts(input.counts)),
    }
}

fn counts(input: AuditCounts) -> proto::AuditCounts {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    proto::AuditCounts {
        created: count(input.created),
        updated: count(input.updated),
        replaced: count(input.replaced),
        resent: count(input.resent),
        rotated: count(input.rotated),
        requeued: count(input.requeued),
        revoked: count(input.revoked),
        deleted: count(input.deleted),
        erased: count(input.erased),
        suppressed: count(input.suppressed),
        unchanged: count(input.unchanged),
        failed: count(input.failed),
        role_denied: count(input.role_denied),
    }
}

/// The protocol's enum has the same names.
fn action_on_wire(action: AuditAction) -> proto::AuditAction {
    let name = format!("AUDIT_ACTION_{}", action.as_str().to_ascii_uppercase());
    proto::AuditAction::from_str_name(&name).unwrap_or_default()
}

fn action(value: i32) -> Field<Option<AuditAction>> {
    let wanted = proto::AuditAction::try_from(value).map_err(|_| invalid("action"))?;
    Ok(AuditAction::ALL
        .iter()
        .copied()
        .find(|action| action_on_wire(*action) == wanted))
}

fn caller(input: &str) -> Field<Option<String>> {
    if input.len() > CALLER_BYTES_MAX || input.chars().any(char::is_control) {
        return Err(invalid("caller"));
    }
    Ok((!input.is_empty()).then(|| input.to_owned()))
}

fn user_id(input: &str) -> Field<Option<String>> {
    optional("user_id", input, |input| {
        UserId::parse(input).map(|id| id.as_str().to_owned())
    })
}

fn id(field: &str, input: &str) -> Field<Option<Uuid>> {
    optional(field, input, |input| Uuid::try_parse(input).ok())
}

fn optional<T>(
    field: &str,
    input: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Field<Option<T>> {
    if input.is_empty() {
        return Ok(None);
    }
    parse(input).map(Some).ok_or_else(|| invalid(field))
}

fn time(field: &str, input: Option<Timestamp>) -> Field<Option<OffsetDateTime>> {
    match input.map(times::expiry_of_time) {
        None => Ok(None),
        Some(Expiry::At(time)) => Ok(Some(time)),
        Some(_) => Err(invalid(field)),
    }
}

fn invalid(field: &str) -> Vec<Violation> {
    vec![Violation::new(field, Reason::FieldInvalid)]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_protocol_and_the_domain_name_the_same_actions() {
        let on_wire: BTreeSet<i32> = AuditAction::ALL
            .iter()
            .map(|action| action_on_wire(*action).into())
            .collect();
        let in_protocol: BTreeSet<i32> = (1..200)
            .filter(|number| proto::AuditAction::try_from(*number).is_ok())
            .collect();
        assert_eq!(on_wire, in_protocol);
        for wanted in &AuditAction::ALL {
            assert_eq!(action(action_on_wire(*wanted).into()), Ok(Some(*wanted)));
        }
        assert_eq!(action(0), Ok(None));
    }
}
