//! What most tests look at in a response or a refusal.

use invitations::proto::{
    BulkCreateResponse, CreateOutcome, CreateResult, ErrorReason, Invitation,
};
use tonic::Status;
use tonic_types::StatusExt as _;

/// The invitation that an item created.
pub(crate) fn created(result: &CreateResult) -> Invitation {
    assert_eq!(
        result.outcome(),
        CreateOutcome::Created,
        "{:?}",
        result.error.as_ref().map(|error| &error.message)
    );
    result.invitation.clone().unwrap()
}

/// The ids of a response all of whose items created an invitation.
pub(crate) fn created_ids(response: &BulkCreateResponse) -> Vec<String> {
    let results = response.results.iter();
    results.map(|result| created(result).id).collect()
}

/// Why an item failed.
pub(crate) fn item_reason(result: &CreateResult) -> ErrorReason {
    assert_eq!(result.outcome(), CreateOutcome::Failed);
    result.error.as_ref().unwrap().reason()
}

/// Why a call was refused. Fails if the call succeeded.
pub(crate) fn reason<T>(answer: Result<T, Status>) -> String {
    let status = answer.err().expect("the call was expected to be refused");
    status_reason(&status)
}

/// The reason in the `ErrorInfo` of a refusal.
pub(crate) fn status_reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details
        .error_info()
        .expect("every refusal carries ErrorInfo");
    assert_eq!(info.domain, "invitation.v1");
    info.reason.clone()
}

/// The field and the reason of each violation in the `BadRequest` of a refusal.
pub(crate) fn field_violations(status: &Status) -> Vec<(String, String)> {
    let details = status.get_error_details();
    let bad_request = details.bad_request().expect("the refusal names no field");
    let violations = bad_request.field_violations.iter();
    violations
        .map(|violation| (violation.field.clone(), violation.reason.clone()))
        .collect()
}
