//! Fields that many requests have, and the violations of several fields together.

use tonic::Status;
use uuid::Uuid;

use crate::domain::email_address::EmailAddress;
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::new_invitation::ITEMS_MAX;
use crate::domain::reason::{Reason, Violation};
use crate::domain::token::Token;
use crate::grpc::status;
use crate::grpc::wire::limits::{ECHOED_ID_BYTES_MAX, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX};

/// A field, or every rule that it breaks.
pub(crate) type Field<T> = Result<T, Vec<Violation>>;

/// Fields that are needed together.
pub(crate) trait Fields {
    type Values;

    /// All values, or the violations of all fields.
    fn all(self) -> Field<Self::Values>;

    /// All values, or the status of a request whose fields are malformed.
    fn valid(self) -> Result<Self::Values, Status>
    where
        Self: Sized,
    {
        self.all().map_err(status::invalid)
    }
}

impl<T> Fields for Field<T> {
    type Values = T;

    fn all(self) -> Self {
        self
    }
}

macro_rules! fields {
    ($($field:ident: $type:ident),+) => {
        impl<$($type),+> Fields for ($(Field<$type>,)+) {
            type Values = ($($type,)+);

            fn all(self) -> Field<Self::Values> {
                let ($($field,)+) = self;
                let mut violations = Vec::new();
                $(if let Err(broken) = &$field { violations.extend(broken.iter().cloned()); })+
                match ($($field,)+) {
                    ($(Ok($field),)+) => Ok(($($field,)+)),
                    _ => Err(violations),
                }
            }
        }
    };
}
fields!(a: A, b: B);
fields!(a: A, b: B, c: C);
fields!(a: A, b: B, c: C, d: D);
fields!(a: A, b: B, c: C, d: D, e: E);
fields!(a: A, b: B, c: C, d: D, e: E, f: F);
fields!(a: A, b: B, c: C, d: D, e: E, f: F, g: G);

/// An id of an item as it is repeated in the result: empty if it is longer than any id, so that a response has a limit.
pub(crate) fn echo(id: impl AsRef<str>) -> String {
    let id = id.as_ref();
    if id.len() > ECHOED_ID_BYTES_MAX {
        return String::new();
    }
    id.to_owned()
}

pub(crate) fn organization_id(input: &str) -> Field<OrganizationId> {
    required("organization_id", input, OrganizationId::parse(input))
}

pub(crate) fn user_id(input: &str) -> Field<UserId> {
    required("user_id", input, UserId::parse(input))
}

pub(crate) fn acting_user_id(input: &str) -> Field<UserId> {
    required("acting_user_id", input, UserId::parse(input))
}

pub(crate) fn invitation_id(input: &str) -> Field<Uuid> {
    required("invitation_id", input, Uuid::try_parse(input).ok())
}

pub(crate) fn batch_id(input: &str) -> Field<Uuid> {
    required("batch_id", input, Uuid::try_parse(input).ok())
}

/// A field that may be empty, which gives `None`.
pub(crate) fn optional<T>(input: &str, parse: impl FnOnce(&str) -> Field<T>) -> Field<Option<T>> {
    if input.is_empty() {
        return Ok(None);
    }
    parse(input).map(Some)
}

/// A field with presence, where an empty text is no value.
pub(crate) fn set<T>(
    input: Option<&str>,
    parse: impl FnOnce(&str) -> Field<T>,
) -> Field<Option<T>> {
    input.map(parse).transpose()
}

pub(crate) fn invalid(field: &str) -> Vec<Violation> {
    vec![Violation::new(field, Reason::FieldInvalid)]
}

pub(crate) fn email(input: &str) -> Field<EmailAddress> {
    if input.is_empty() {
        return Err(vec![Violation::new("email", Reason::FieldRequired)]);
    }
    EmailAddress::parse(input).map_err(|error| vec![Violation::new("email", error)])
}

pub(crate) fn verified_email(input: &str) -> Field<EmailAddress> {
    EmailAddress::parse(input).map_err(|error| vec![Violation::new("verified_email", error)])
}

pub(crate) fn token(input: &str) -> Field<Token> {
    Token::parse(input).ok_or_else(|| vec![Violation::new("token", Reason::TokenMalformed)])
}

/// A page size, limited to its range. A negative one is refused (AIP-158).
pub(crate) fn page_size(input: i32) -> Field<usize> {
    size(input, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)
}

/// The page size of a bulk call, which may be as large as a list of ids.
pub(crate) fn bulk_page_size(input: i32) -> Field<usize> {
    size(input, ITEMS_MAX, ITEMS_MAX)
}

fn size(input: i32, default: usize, max: usize) -> Field<usize> {
    match usize::try_from(input) {
        Ok(0) => Ok(default),
        Ok(size) => Ok(size.min(max)),
        Err(_) => Err(invalid("page_size")),
    }
}

/// A `request_id` in the spelling of RFC 9562 section 4, so that an id has one spelling except for case.
pub(crate) fn request_id(input: &str) -> Field<Option<Uuid>> {
    if input.is_empty() {
        return Ok(None);
    }
    let is_hyphenated = input.len() == 36;
    Uuid::try_parse(input)
        .ok()
        .filter(|_| is_hyphenated)
        .map(Some)
        .ok_or_else(|| vec![Violation::new("request_id", Reason::RequestIdInvalid)])
}

pub(crate) fn list_length(field: &str, length: usize) -> Field<()> {
    let refuse = |reason| Err(vec![Violation::new(field, reason)]);
    match length {
        0 => refuse(Reason::ItemsEmpty),
        1..=ITEMS_MAX => Ok(()),
        _ => refuse(Reason::TooManyItems),
    }
}

/// The ids of a bulk call. `None` stands for an id that is no UUID, which fails as an item.
pub(crate) fn invitation_ids(input: &[String]) -> Field<Vec<Option<Uuid>>> {
    list_length("invitation_ids", input.len())?;
    Ok(input.iter().map(|id| Uuid::try_parse(id).ok()).collect())
}

pub(crate) fn required<T>(field: &str, input: &str, parsed: Option<T>) -> Field<T> {
    parsed.ok_or_else(|| {
        let reason = if input.is_empty() {
            Reason::FieldRequired
        } else {
            Reason::FieldInvalid
        };
        vec![Violation::new(field, reason)]
    })
}
