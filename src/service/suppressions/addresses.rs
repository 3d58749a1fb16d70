//! The addresses of a call that changes the suppression list.

use std::collections::HashMap;

use crate::domain::email_address::EmailAddress;
use crate::domain::ids::OrganizationId;
use crate::domain::reason::{Reason, Violation};
use crate::domain::suppression::EVERY_ORGANIZATION;
use crate::service::ServiceError;
use crate::service::existing_organization::require_organization_exists;
use crate::store::Connection;

/// The addresses of a request. Each is valid, or the rule that it breaks.
pub type AddressInputs = Vec<Result<EmailAddress, Reason>>;

/// One result for each address, in the order of the request.
pub type AddressResults<T> = Vec<Result<T, RefusedAddress>>;

/// An address that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedAddress {
    pub violation: Violation,
    /// The index of the first item with the same address, for a duplicate.
    pub first_index: Option<usize>,
}

impl RefusedAddress {
    const fn new(violation: Violation, first_index: Option<usize>) -> Self {
        Self {
            violation,
            first_index,
        }
    }
}

/// The normalized form of each address. Of several equal addresses, all but the first are refused.
pub(super) fn distinct(inputs: &AddressInputs) -> AddressResults<String> {
    let mut first_of: HashMap<&str, usize> = HashMap::with_capacity(inputs.len());
    inputs
        .iter()
        .enumerate()
        .map(|(index, email)| {
            let refuse =
                |reason, first| RefusedAddress::new(Violation::new("email", reason), first);
            let email = email.as_ref().map_err(|reason| refuse(*reason, None))?;
            let first = *first_of.entry(email.normalized()).or_insert(index);
            if first != index {
                return Err(refuse(Reason::DuplicateInRequest, Some(first)));
            }
            Ok(email.normalized().to_owned())
        })
        .collect()
}

/// The result of each address that was not refused.
pub(super) fn results<T>(
    addresses: AddressResults<String>,
    mut result: impl FnMut(&str) -> T,
) -> AddressResults<T> {
    addresses
        .into_iter()
        .map(|address| address.map(|email| result(&email)))
        .collect()
}

/// The name of an organization in the list, after a check that it exists.
///
/// # Errors
///
/// `ORGANIZATION_NOT_FOUND`.
pub(super) async fn list_owner<'a>(
    connection: &mut Connection<'_>,
    organization_id: Option<&'a OrganizationId>,
) -> Result<&'a str, ServiceError> {
    match organization_id {
        None => Ok(EVERY_ORGANIZATION),
        Some(id) => {
            require_organization_exists(connection, id).await?;
            Ok(id.as_str())
        }
    }
}
