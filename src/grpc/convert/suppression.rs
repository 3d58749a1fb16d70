//! `SuppressionService`: requests and responses.

use data_encoding::HEXLOWER;

use super::error::ItemErrors;
use super::fields::{Field, invalid};
use super::{count, times};
use crate::domain::email_address::EmailAddress;
use crate::domain::expiry::Expiry;
use crate::domain::suppression::{Suppression, SuppressionKey, SuppressionReason};
use crate::proto;
use crate::service::{
    AddOutcome, AddressInputs, AddressResults, LiftOutcome, SuppressionEnd, SuppressionInput,
};

/// Bytes of a tag that are shown, enough to distinguish entries.
const TAG_SHOWN_BYTES: usize = 8;

pub(in crate::grpc) fn addresses(emails: &[String]) -> AddressInputs {
    let parse = |email: &String| EmailAddress::parse(email);
    emails.iter().map(parse).collect()
}

pub(in crate::grpc) fn item(input: &proto::NewSuppression) -> SuppressionInput {
    let reason = match proto::SuppressionReason::try_from(input.reason) {
        Ok(proto::SuppressionReason::Unspecified) => Some(SuppressionReason::Manual),
        Ok(wanted) => parse_reason(wanted),
        Err(_) => None,
    };
    SuppressionInput {
        email: EmailAddress::parse(&input.email),
        reason,
        end: match input.expire_time.map(times::expiry_of_time) {
            None => SuppressionEnd::Default,
            Some(Expiry::At(end)) => SuppressionEnd::At(end),
            Some(_) => SuppressionEnd::Malformed,
        },
    }
}

pub(in crate::grpc) fn reason_filter(value: i32) -> Field<Option<SuppressionReason>> {
    proto::SuppressionReason::try_from(value)
        .map(parse_reason)
        .map_err(|_| invalid("reason"))
}

fn parse_reason(wanted: proto::SuppressionReason) -> Option<SuppressionReason> {
    let mut reasons = SuppressionReason::ALL.into_iter();
    reasons.find(|known| reason(*known) == wanted)
}

const fn reason(reason: SuppressionReason) -> proto::SuppressionReason {
    match reason {
        SuppressionReason::HardBounce => proto::SuppressionReason::HardBounce,
        SuppressionReason::Complaint => proto::SuppressionReason::Complaint,
        SuppressionReason::Unsubscribed => proto::SuppressionReason::Unsubscribed,
        SuppressionReason::Declined => proto::SuppressionReason::Declined,
        SuppressionReason::Manual => proto::SuppressionReason::Manual,
    }
}

pub(in crate::grpc) fn suppression(input: &Suppression) -> proto::Suppression {
    proto::Suppression {
        organization_id: input.organization_id.clone(),
        reason: reason(input.reason).into(),
        create_time: Some(times::timestamp(input.created_at)),
        expire_time: input.expires_at.map(times::timestamp),
        tag: HEXLOWER.encode(&input.tag[..TAG_SHOWN_BYTES]),
    }
}

/// The position of an entry in the list, for a page token.
pub(in crate::grpc) fn cursor(last: &Suppression) -> Vec<u8> {
    [last.tag.as_slice(), last.organization_id.as_bytes()].concat()
}

pub(in crate::grpc) fn key_of_cursor(cursor: &[u8]) -> Option<SuppressionKey> {
    let (tag, organization_id) = cursor.split_first_chunk()?;
    Some(SuppressionKey {
        organization_id: String::from_utf8(organization_id.to_vec()).ok()?,
        tag: *tag,
    })
}

pub(in crate::grpc) fn added(
    outcomes: AddressResults<AddOutcome>,
) -> proto::AddSuppressionsResponse {
    let failed_count = failed_count(&outcomes);
    let errors = ItemErrors::among(outcomes.len());
    let results = (0..).zip(outcomes).map(|(index, outcome)| {
        let (outcome, error) = match outcome {
            Ok(AddOutcome::Added) => (proto::AddSuppressionOutcome::Added, None),
            Ok(AddOutcome::Updated) => (proto::AddSuppressionOutcome::Updated, None),
            Ok(AddOutcome::Kept) => (proto::AddSuppressionOutcome::Kept, None),
            Err(refused) => (
                proto::AddSuppressionOutcome::Failed,
                Some(errors.of_violations(&refused.violations, refused.first_index)),
            ),
        };
        proto::AddSuppressionResult {
            index,
            outcome: outcome.into(),
            error,
        }
    });
    proto::AddSuppressionsResponse {
        results: results.collect(),
        failed_count,
    }
}

pub(in crate::grpc) fn lifted(
    outcomes: AddressResults<LiftOutcome>,
) -> proto::LiftSuppressionsResponse {
    let failed_count = failed_count(&outcomes);
    let errors = ItemErrors::among(outcomes.len());
    let results = (0..).zip(outcomes).map(|(index, outcome)| {
        let (outcome, error) = match outcome {
            Ok(LiftOutcome::Lifted) => (proto::LiftSuppressionOutcome::Lifted, None),
            Ok(LiftOutcome::NotSuppressed) => (proto::LiftSuppressionOutcome::NotSuppressed, None),
            Err(refused) => (
                proto::LiftSuppressionOutcome::Failed,
                Some(errors.of_violations(&refused.violations, refused.first_index)),
            ),
        };
        proto::LiftSuppressionResult {
            index,
            outcome: outcome.into(),
            error,
        }
    });
    proto::LiftSuppressionsResponse {
        results: results.collect(),
        failed_count,
    }
}

fn failed_count<T>(outcomes: &AddressResults<T>) -> i32 {
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    count(failed)
}
