//! The claims of a verified JWT, and the caller that they identify. Pure functions: the time is a parameter.
//!
//! A claim of the wrong type refuses the token, because guessing its meaning would mean guessing the caller.

use std::collections::BTreeSet;

use serde_json::Value;
use time::{Duration, OffsetDateTime};

use super::caller::{Caller, SignedInUser};
use super::entries::{IssuerEntry, IssuerKind, ServicePermissions};
use super::jwt::{Claims, JwtError};
use crate::domain::actor::Access;
use crate::domain::display_name;
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::UserId;

/// Largest difference between the clock of an issuer and the clock of this service.
pub const LEEWAY: Duration = Duration::seconds(30);
/// Longest lifetime of a token. A token cannot be revoked before it expires, so a long-lived one is like a password.
pub const LIFETIME_MAX: Duration = Duration::hours(24);
/// Longest subject of a service, in bytes, as `OpenID` Connect allows (Core 1.0 §2).
const SUBJECT_BYTES_MAX: usize = 255;

pub(super) fn names(claims: &Claims, entry: &IssuerEntry) -> bool {
    let is_issuer = claims.get("iss").and_then(Value::as_str) == Some(entry.issuer.as_str());
    let is_audience = |audience: &Value| audience.as_str() == Some(entry.audience.as_str());
    is_issuer
        && match claims.get("aud") {
            Some(Value::Array(audiences)) => audiences.iter().any(is_audience),
            Some(audience) => is_audience(audience),
            None => false,
        }
}

pub(super) fn caller(
    claims: &Claims,
    entry: &IssuerEntry,
    now: OffsetDateTime,
) -> Result<Caller, JwtError> {
    if !names(claims, entry) {
        return Err(JwtError::Audience);
    }
    check_times(claims, now)?;
    let subject = text(claims, "sub")?.ok_or(JwtError::Subject)?;
    match &entry.kind {
        IssuerKind::Service(permissions) => service(claims, entry, permissions, subject),
        IssuerKind::User => Ok(Caller::user(&entry.name, user(claims, subject)?)),
    }
}

fn check_times(claims: &Claims, now: OffsetDateTime) -> Result<(), JwtError> {
    let expires_at = time(claims, "exp")?.ok_or(JwtError::Expired)?;
    // The leeway is subtracted from `now`, because `expires_at` may be the latest time that can be represented.
    if expires_at <= now - LEEWAY {
        return Err(JwtError::Expired);
    }
    let issued_at = time(claims, "iat")?;
    // No time is less than any.
    if time(claims, "nbf")?.max(issued_at) > Some(now + LEEWAY) {
        return Err(JwtError::NotYetValid);
    }
    // The issuer's clock may be ahead, so the remaining lifetime may seem longer than the whole one.
    let is_too_long = expires_at - now > LIFETIME_MAX + LEEWAY
        || issued_at.is_some_and(|issued_at| expires_at - issued_at > LIFETIME_MAX);
    if is_too_long {
        return Err(JwtError::LifetimeTooLong);
    }
    Ok(())
}

fn service(
    claims: &Claims,
    entry: &IssuerEntry,
    permissions: &ServicePermissions,
    subject: &str,
) -> Result<Caller, JwtError> {
    // The subject becomes a name in logs and keys.
    let is_valid = (1..=SUBJECT_BYTES_MAX).contains(&subject.len())
        && subject.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_valid {
        return Err(JwtError::Subject);
    }
    let mut scopes = match words(claims, "scope")?.or(words(claims, "scp")?) {
        None => permissions.default_scopes.clone(),
        Some(claimed) => {
            let scopes = permissions.scopes.iter().copied();
            scopes
                .filter(|scope| claimed.contains(scope.as_str()))
                .collect()
        }
    };
    scopes.sort_unstable();
    scopes.dedup();
    let access = organizations(claims, permissions)?;
    Ok(Caller::service(&entry.name, subject, scopes, access))
}

/// The organizations of the claim that the issuer may have. A token without the claim has none.
fn organizations(claims: &Claims, permissions: &ServicePermissions) -> Result<Access, JwtError> {
    let Some(claim) = &permissions.organizations_claim else {
        return Ok(permissions.organizations.clone());
    };
    let listed = match claims.get(claim) {
        None | Some(Value::Null) => BTreeSet::new(),
        Some(Value::String(one)) => BTreeSet::from([one.clone()]),
        Some(Value::Array(many)) => strings(many)?,
        Some(_) => return Err(JwtError::Claim),
    };
    let allowed = listed
        .into_iter()
        .filter(|id| permissions.organizations.allows(id));
    Ok(Access::Only(allowed.collect()))
}

fn user(claims: &Claims, subject: &str) -> Result<SignedInUser, JwtError> {
    let id = UserId::parse(subject).ok_or(JwtError::Subject)?;
    // Only the boolean counts. Some issuers and proxies send "true" or 1 for addresses that are not verified.
    let is_verified = claims.get("email_verified") == Some(&Value::Bool(true));
    let email = text(claims, "email")?.filter(|_| is_verified);
    let name = text(claims, "name")?.unwrap_or_default();
    Ok(SignedInUser {
        id,
        email: email.and_then(|email| EmailAddress::parse(email).ok()),
        // A name that emails may not show does not refuse the user.
        name: display_name::parse(name).unwrap_or_default(),
    })
}

fn text<'a>(claims: &'a Claims, name: &str) -> Result<Option<&'a str>, JwtError> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(JwtError::Claim),
    }
}

/// An optional claim that is a list of words: a string with spaces (RFC 8693 §4.2), or an array as some issuers send.
fn words(claims: &Claims, name: &str) -> Result<Option<BTreeSet<String>>, JwtError> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.split(' ').map(str::to_owned).collect())),
        Some(Value::Array(many)) => strings(many).map(Some),
        Some(_) => Err(JwtError::Claim),
    }
}

fn strings(values: &[Value]) -> Result<BTreeSet<String>, JwtError> {
    let string = |value: &Value| value.as_str().map(str::to_owned).ok_or(JwtError::Claim);
    values.iter().map(string).collect()
}

/// An optional claim that is a time (`NumericDate`, RFC 7519 §2), in whole seconds.
fn time(claims: &Claims, name: &str) -> Result<Option<OffsetDateTime>, JwtError> {
    let number = match claims.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number,
        Some(_) => return Err(JwtError::Claim),
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a number that does not fit saturates, and there is no such time"
    )]
    let seconds = number
        .as_i64()
        .or_else(|| number.as_f64().map(|seconds| seconds as i64))
        .ok_or(JwtError::Claim)?;
    OffsetDateTime::from_unix_timestamp(seconds)
        .map(Some)
        .map_err(|_| JwtError::Claim)
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
