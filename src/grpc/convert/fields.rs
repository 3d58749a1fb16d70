//! Fields that requests have in common, and how the violations of several are told at once.

use uuid::Uuid;

use crate::domain::email_address::EmailAddress;
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::keyring::Keyring;
use crate::domain::page_token;
use crate::domain::reason::{Reason, Violation};
use crate::domain::token::Token;
use crate::grpc::wire::limits::{PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};

/// A field, or every rule it breaks.
pub(crate) type Field<T> = Result<T, Vec<Violation>>;

/// Two fields, or every rule that either breaks.
pub(crate) fn both<A, B>(one: Field<A>, other: Field<B>) -> Field<(A, B)> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (one, other) => {
            let violations = one.err().into_iter().chain(other.err());
            Err(violations.flatten().collect())
        }
    }
}

/// The organization.
pub(crate) fn organization_id(input: &str) -> Field<OrganizationId> {
    required("organization_id", input, OrganizationId::parse(input))
}

/// A user.
pub(crate) fn user_id(input: &str) -> Field<UserId> {
    required("user_id", input, UserId::parse(input))
}

/// A user that need not be named.
pub(crate) fn optional_user_id(input: &str) -> Field<Option<UserId>> {
    if input.is_empty() {
        return Ok(None);
    }
    user_id(input).map(Some)
}

/// An invitation.
pub(crate) fn invitation_id(input: &str) -> Field<Uuid> {
    required("invitation_id", input, Uuid::try_parse(input).ok())
}

/// A batch.
pub(crate) fn batch_id(input: &str) -> Field<Uuid> {
    required("batch_id", input, Uuid::try_parse(input).ok())
}

/// A batch that need not be named.
pub(crate) fn optional_batch_id(input: &str) -> Field<Option<Uuid>> {
    if input.is_empty() {
        return Ok(None);
    }
    batch_id(input).map(Some)
}

/// An address.
pub(crate) fn email(input: &str) -> Field<EmailAddress> {
    if input.is_empty() {
        return Err(vec![Violation::new("email", Reason::FieldRequired)]);
    }
    EmailAddress::parse(input).map_err(|error| vec![Violation::new("email", error.into())])
}

/// The token of a link.
pub(crate) fn token(input: &str) -> Field<Token> {
    Token::parse(input).map_err(|_| vec![Violation::new("token", Reason::TokenMalformed)])
}

/// A page size in its range; a negative one is refused (AIP-158).
pub(crate) fn page_size(input: i32) -> Field<usize> {
    match usize::try_from(input) {
        Ok(0) => Ok(PAGE_SIZE_DEFAULT),
        Ok(size) => Ok(size.min(PAGE_SIZE_MAX)),
        Err(_) => Err(vec![Violation::new("page_size", Reason::FieldInvalid)]),
    }
}

/// Where in a list to go on; `None` for its beginning.
pub(crate) fn cursor<T>(
    keyring: &Keyring,
    list: &[u8],
    token: &str,
    parse: impl FnOnce(Vec<u8>) -> Option<T>,
) -> Field<Option<T>> {
    if token.is_empty() {
        return Ok(None);
    }
    page_token::open(keyring, list, token)
        .and_then(|cursor| parse(cursor).ok_or(Reason::PageTokenInvalid))
        .map(Some)
        .map_err(|reason| vec![Violation::new("page_token", reason)])
}

fn required<T>(field: &str, input: &str, parsed: Option<T>) -> Field<T> {
    parsed.ok_or_else(|| {
        let reason = if input.is_empty() {
            Reason::FieldRequired
        } else {
            Reason::FieldInvalid
        };
        vec![Violation::new(field, reason)]
    })
}
