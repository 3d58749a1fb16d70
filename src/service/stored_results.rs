//! The results of a bulk call as they are stored for repetitions.
//!
//! Outcomes, and what can change in the rows of the invitations, are stored. Addresses, notes, metadata and links are read
//! from the rows again, so that they are missing here once they were erased there.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::ids::OrganizationId;
use crate::domain::invitation::{
    Delivery, DeliveryState, Invitation, InvitationState, InvitationView,
};
use crate::domain::quota::{ExceededQuota, Quota};
use crate::domain::reason::{Reason, Violation};

use super::invitation_access::invitations_by_id;
use super::{ItemOutcome, ItemResult, ServiceError, UnitOfWork};

const UNREADABLE: ServiceError = ServiceError::Corrupt("a stored response cannot be read");

#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct StoredResults(Vec<StoredResult>);

/// Field names are short, because one row holds ten thousand of these.
#[derive(Serialize, Deserialize)]
struct StoredResult {
    #[serde(rename = "o")]
    outcome: ItemOutcome,
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    invitation: Option<StoredInvitation>,
    #[serde(rename = "v", default, skip_serializing_if = "Vec::is_empty")]
    violations: Vec<(String, String)>,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    first_index: Option<usize>,
    /// The code of the quota, its limit and the seconds until it has room.
    #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
    exceeded: Option<(String, u64, u64)>,
}

/// Of a pending invitation. Times are microseconds since the Unix epoch.
#[derive(Serialize, Deserialize)]
struct StoredInvitation {
    #[serde(rename = "i")]
    id: Uuid,
    #[serde(rename = "r")]
    role: String,
    #[serde(rename = "o")]
    organization_name: String,
    #[serde(rename = "n")]
    inviter_name: String,
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    invited_user_id: Option<String>,
    #[serde(rename = "x")]
    expires_at: i64,
    #[serde(rename = "u")]
    updated_at: i64,
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    last_accept_error: Option<String>,
    #[serde(rename = "d")]
    delivery: StoredDelivery,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    remind_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct StoredDelivery {
    #[serde(rename = "s")]
    state: String,
    #[serde(rename = "a")]
    attempts: u32,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    last_reply_code: Option<u16>,
    #[serde(rename = "t")]
    times: [Option<i64>; 3],
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, ServiceError> {
    serde_json::to_vec(value).map_err(|_| UNREADABLE)
}

pub(super) fn decode<T: DeserializeOwned>(response: &[u8]) -> Result<T, ServiceError> {
    serde_json::from_slice(response).map_err(|_| UNREADABLE)
}

impl StoredResults {
    pub(super) fn new(results: &[ItemResult]) -> Self {
        Self(results.iter().map(StoredResult::new).collect())
    }

    pub(super) fn append(
        &mut self,
        mut other: Self,
        part: Range<usize>,
    ) -> Result<(), ServiceError> {
        if part.start > part.end || part.end > other.0.len() {
            return Err(UNREADABLE);
        }
        self.0.extend(other.0.drain(part));
        Ok(())
    }

    /// The results as they were returned, completed from the rows of the invitations.
    pub(super) async fn restore(
        self,
        work: &mut UnitOfWork<'_>,
        organization_id: &OrganizationId,
        view: InvitationView,
    ) -> Result<Vec<ItemResult>, ServiceError> {
        let ids: Vec<Uuid> = self
            .0
            .iter()
            .filter_map(|result| Some(result.invitation.as_ref()?.id))
            .collect();
        let now = work.context.now();
        let found = invitations_by_id(work, organization_id, &ids, view, now).await?;
        self.0
            .into_iter()
            .map(|result| result.restore(&found))
            .collect()
    }
}

impl StoredResult {
    fn new(result: &ItemResult) -> Self {
        let violation =
            |violation: &Violation| (violation.field.clone(), violation.reason.code().to_owned());
        Self {
            outcome: result.outcome,
            invitation: result.invitation.as_ref().map(StoredInvitation::new),
            violations: result.violations.iter().map(violation).collect(),
            first_index: result.first_index,
            exceeded: result.exceeded.map(|exceeded| {
                let code = exceeded.quota.as_str().to_owned();
                (code, exceeded.limit, exceeded.retry_after_seconds())
            }),
        }
    }

    fn restore(self, found: &HashMap<Uuid, Invitation>) -> Result<ItemResult, ServiceError> {
        let invitation = match self.invitation {
            None => None,
            // Two results may show one invitation: one chunk created it, and a later chunk found it.
            Some(stored) => found
                .get(&stored.id)
                .map(|row| stored.restore(row.clone()))
                .transpose()?,
        };
        let violations = self
            .violations
            .into_iter()
            .map(|(field, code)| {
                Ok(Violation::new(
                    field,
                    Reason::from_code(&code).ok_or(UNREADABLE)?,
                ))
            })
            .collect::<Result<_, ServiceError>>()?;
        Ok(ItemResult {
            outcome: self.outcome,
            invitation,
            violations,
            first_index: self.first_index,
            exceeded: self.exceeded.map(exceeded).transpose()?,
            link: None,
        })
    }
}

impl StoredInvitation {
    fn new(invitation: &Invitation) -> Self {
        let delivery = &invitation.delivery;
        let times = [
            delivery.queued_at,
            delivery.next_attempt_at,
            delivery.sent_at,
        ];
        Self {
            id: invitation.id,
            role: invitation.role.clone(),
            organization_name: invitation.organization_name.clone(),
            inviter_name: invitation.inviter_name.clone(),
            invited_user_id: invitation.invited_user_id.clone(),
            expires_at: micros(invitation.expires_at),
            updated_at: micros(invitation.updated_at),
            last_accept_error: invitation
                .last_accept_error
                .map(|reason| reason.code().to_owned()),
            remind_at: invitation.remind_at.map(micros),
            delivery: StoredDelivery {
                state: delivery.state.as_str().to_owned(),
                attempts: delivery.attempts,
                last_error: delivery.last_error.clone(),
                last_reply_code: delivery.last_reply_code,
                times: times.map(|time| time.map(micros)),
            },
        }
    }

    /// The invitation as it was returned. What cannot change comes from its row.
    fn restore(self, row: Invitation) -> Result<Invitation, ServiceError> {
        let [queued_at, next_attempt_at, sent_at] = self.delivery.times;
        let optional = |time: Option<i64>| time.map(from_micros).transpose();
        Ok(Invitation {
            role: self.role,
            organization_name: self.organization_name,
            state: InvitationState::Pending,
            inviter_name: self.inviter_name,
            invited_user_id: self.invited_user_id,
            expires_at: from_micros(self.expires_at)?,
            updated_at: from_micros(self.updated_at)?,
            remind_at: optional(self.remind_at)?,
            last_accept_error: self
                .last_accept_error
                .as_deref()
                .and_then(Reason::from_code),
            delivery: Delivery {
                state: DeliveryState::from_name(&self.delivery.state).ok_or(UNREADABLE)?,
                attempts: self.delivery.attempts,
                last_error: self.delivery.last_error,
                last_reply_code: self.delivery.last_reply_code,
                queued_at: optional(queued_at)?,
                next_attempt_at: optional(next_attempt_at)?,
                sent_at: optional(sent_at)?,
            },
            ..row
        })
    }
}

fn exceeded((code, limit, seconds): (String, u64, u64)) -> Result<ExceededQuota, ServiceError> {
    Ok(ExceededQuota {
        quota: Quota::from_name(&code).ok_or(UNREADABLE)?,
        limit,
        retry_after: Duration::from_secs(seconds),
    })
}

fn micros(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

fn from_micros(micros: i64) -> Result<OffsetDateTime, ServiceError> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).map_err(|_| UNREADABLE)
}
