//! `AuditService`: the filter and the events.

use uuid::Uuid;

use super::fields::{self, Field, Fields as _, invalid};
use super::times;
use crate::domain::audit::{AuditAction, AuditCounts, AuditFilter, AuditRecord, OUTCOME_OK};
use crate::proto;

/// Longest name of a caller in a filter. No caller has a longer name.
const CALLER_BYTES_MAX: usize = 512;

/// The filter without the organization. Reports every violation.
pub(in crate::grpc) fn filter(request: &proto::ListAuditEventsRequest) -> Field<AuditFilter> {
    let (caller, user_id, action, invitation_id, batch_id, start, end) = (
        caller(&request.caller),
        fields::optional(&request.user_id, fields::user_id),
        action(request.action),
        fields::optional(&request.invitation_id, fields::invitation_id),
        fields::optional(&request.batch_id, fields::batch_id),
        times::optional_time("start_time", request.start_time),
        times::optional_time("end_time", request.end_time),
    )
        .all()?;
    Ok(AuditFilter {
        organization_id: None,
        action,
        caller,
        user_id: user_id.map(|id| id.as_str().to_owned()),
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
