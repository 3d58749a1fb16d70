//! The suppression list: adding, lifting and listing suppressions, and who may do that.

mod changes;
mod lists;

use invitations::proto::{
    AddSuppressionOutcome, AddSuppressionResult, AddSuppressionsRequest, AddSuppressionsResponse,
    LiftSuppressionsRequest, LiftSuppressionsResponse, ListSuppressionsRequest,
    ListSuppressionsResponse, Suppression,
};
use prost_types::Timestamp;
use time::OffsetDateTime;
use tonic::Status;

use crate::support::World;

/// Suppresses addresses for an organization, or for all if the id is empty.
fn add_request(organization_id: &str, emails: &[impl AsRef<str>]) -> AddSuppressionsRequest {
    AddSuppressionsRequest {
        organization_id: organization_id.to_owned(),
        suppressions: crate::support::requests::new_suppressions(owned(emails), None),
        ..Default::default()
    }
}

/// Lifts suppressions of an organization, or those for all if the id is empty.
fn lift_request(organization_id: &str, emails: &[impl AsRef<str>]) -> LiftSuppressionsRequest {
    LiftSuppressionsRequest {
        emails: owned(emails),
        organization_id: organization_id.to_owned(),
        ..Default::default()
    }
}

fn list_request_of(organization_id: &str) -> ListSuppressionsRequest {
    ListSuppressionsRequest {
        organization_id: organization_id.to_owned(),
        ..Default::default()
    }
}

fn owned(emails: &[impl AsRef<str>]) -> Vec<String> {
    let emails = emails.iter();
    emails.map(|email| email.as_ref().to_owned()).collect()
}

fn timestamp(time: OffsetDateTime) -> Timestamp {
    Timestamp {
        seconds: time.unix_timestamp(),
        nanos: 0,
    }
}

async fn add_as(
    world: &World,
    caller: &str,
    request: AddSuppressionsRequest,
) -> Result<AddSuppressionsResponse, Status> {
    let answer = world
        .suppressions_of(caller)
        .add_suppressions(request)
        .await?;
    Ok(answer.into_inner())
}

async fn lift_as(
    world: &World,
    caller: &str,
    request: LiftSuppressionsRequest,
) -> Result<LiftSuppressionsResponse, Status> {
    let answer = world
        .suppressions_of(caller)
        .lift_suppressions(request)
        .await?;
    Ok(answer.into_inner())
}

async fn list_as(
    world: &World,
    caller: &str,
    request: ListSuppressionsRequest,
) -> Result<ListSuppressionsResponse, Status> {
    let answer = world
        .suppressions_of(caller)
        .list_suppressions(request)
        .await?;
    Ok(answer.into_inner())
}

/// All suppressions of all organizations.
async fn all_suppressions(world: &World) -> Vec<Suppression> {
    let request = ListSuppressionsRequest::default();
    let page = list_as(world, "all", request).await.unwrap();
    assert!(page.next_page_token.is_empty(), "there is more");
    page.suppressions
}

fn add_outcomes(results: &[AddSuppressionResult]) -> Vec<AddSuppressionOutcome> {
    results.iter().map(AddSuppressionResult::outcome).collect()
}
