//! Quotas and rates: how many people are invited and mailed, by which organization and how fast, and how a call is
//! refused beyond a limit.

mod addresses;
mod calls;
mod concurrency;
mod organizations;
mod rates;

use std::time::Duration;

use invitations::domain::quota::QuotaLimits;
use invitations::proto::{
    BulkCreateRequest, BulkCreateResponse, BulkResendRequest, BulkResendResponse, ErrorReason,
    ItemError, ResendOutcome,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{World, invite_request, numbered_emails};

/// The seconds from the start time of every test to midnight.
const SECONDS_TO_MIDNIGHT: u64 = (5 * 60 + 12) * 60;

fn emails(prefix: &str, count: usize) -> Vec<String> {
    numbered_emails(prefix, "example.net", 0..count)
}

/// Invites new addresses. Returns the outcome of each item as [`create_outcomes`] does.
async fn invite(world: &World, prefix: &str, count: usize) -> String {
    create(world, invite_request(&emails(prefix, count))).await
}

async fn create(world: &World, request: BulkCreateRequest) -> String {
    create_outcomes(&world.bulk_create(request).await)
}

/// The outcome of each item: a dot for success, or the short name of the quota that it exceeded.
fn create_outcomes(response: &BulkCreateResponse) -> String {
    let outcome = |error: &ItemError| {
        assert_eq!(error.reason(), ErrorReason::QuotaExceeded);
        assert_eq!(error.code, i32::from(Code::ResourceExhausted));
        quota_of(error).to_owned()
    };
    let results = response.results.iter();
    let outcomes: Vec<String> = results
        .map(|result| result.error.as_ref().map_or(".".to_owned(), outcome))
        .collect();
    outcomes.join(" ")
}

async fn bulk_resend(world: &World, request: BulkResendRequest) -> BulkResendResponse {
    let response = world.client().bulk_resend(request).await;
    response.unwrap().into_inner()
}

/// The outcome of each resent invitation, as [`create_outcomes`] names them.
fn resend_outcomes(response: &BulkResendResponse) -> String {
    let outcomes: Vec<&str> = response
        .results
        .iter()
        .map(|result| match &result.error {
            None => {
                assert_eq!(result.outcome(), ResendOutcome::Resent);
                "."
            }
            Some(error) => quota_of(error),
        })
        .collect();
    outcomes.join(" ")
}

fn quota_of(error: &ItemError) -> &str {
    match error.metadata["quota"].as_str() {
        "organization_daily" => "daily",
        "organization_pending" => "pending",
        "address_daily" => "address",
        "invitation_resends" => "resends",
        "invitation_pause" => "pause",
        other => panic!("unknown quota {other}"),
    }
}

/// Asserts that a call was refused with one violation. Checks the subject, the quota and the retry delay in seconds.
fn assert_refused(status: &Status, subject: &str, quota: &str, retry_seconds: u64) {
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.reason, "QUOTA_EXCEEDED");
    assert_eq!(info.metadata["quota"], quota);
    assert!(!info.metadata["limit"].is_empty());
    let violations = &details.quota_failure().unwrap().violations;
    assert!(violations.iter().all(|it| !it.description.is_empty()));
    let subjects: Vec<&str> = violations.iter().map(|it| it.subject.as_str()).collect();
    assert_eq!(subjects, [subject]);
    let delay = details.retry_info().unwrap().retry_delay.unwrap();
    let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
    assert_eq!(info.metadata["retry_after_seconds"], seconds.to_string());
    assert_eq!(seconds, retry_seconds);
}

/// The number of invitations and of messages, and how much of the quotas is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
struct QuotaUsage {
    invitations: i64,
    messages: i64,
    /// The sum over all organizations and days.
    organizations: i64,
    /// The sum over all addresses and days.
    addresses: i64,
}

async fn usage(world: &World) -> QuotaUsage {
    sqlx::query_as(
        "SELECT (SELECT count(*) FROM invitations) AS invitations, (SELECT count(*) FROM outbox) AS messages,
                (SELECT coalesce(sum(used), 0)::bigint FROM organization_quotas) AS organizations,
                (SELECT coalesce(sum(used), 0)::bigint FROM address_quotas) AS addresses",
    )
    .fetch_one(&mut world.database().await)
    .await
    .unwrap()
}

async fn start(quotas: QuotaLimits) -> World {
    World::builder().quotas(quotas).start().await
}

fn daily(limit: u32) -> QuotaLimits {
    QuotaLimits {
        organization_daily: Some(limit),
        ..QuotaLimits::OFF
    }
}

fn pending(limit: u32) -> QuotaLimits {
    QuotaLimits {
        organization_pending: Some(limit),
        ..QuotaLimits::OFF
    }
}

fn address(limit: u32) -> QuotaLimits {
    QuotaLimits {
        address_daily: Some(limit),
        ..QuotaLimits::OFF
    }
}

/// Three resends a day, with a pause of a minute.
fn resends() -> QuotaLimits {
    QuotaLimits {
        invitation_resends: Some(3),
        invitation_pause: Some(Duration::from_mins(1)),
        ..QuotaLimits::OFF
    }
}
