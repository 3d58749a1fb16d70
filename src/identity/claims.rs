//! What a genuine token says of who calls. Pure: the signature was checked before, and the time is told.
//!
//! A claim of the wrong type refuses the token. To read on would be to guess, and what is guessed about is who calls.

use std::collections::BTreeSet;

use serde_json::Value;
use time::{Duration, OffsetDateTime};

use super::caller::{Caller, SignedInUser};
use super::issuer_entry::{IssuerEntry, IssuerKind, ServiceTerms};
use super::jwt::{Claims, Fault};
use crate::domain::access::Access;
use crate::domain::display_name;
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::UserId;
use crate::domain::scope::Scope;

/// How far the clock of an issuer may be from ours.
pub const LEEWAY: Duration = Duration::seconds(30);
/// Longest life of a token. Nothing takes a token back before it expires, so one that lives for long is a password.
pub const LIFETIME_MAX: Duration = Duration::hours(24);
/// Longest subject of a service, in bytes: what `OpenID` Connect allows (Core 1.0 §2).
const SUBJECT_BYTES_MAX: usize = 255;

/// Whether a token says that it is of an issuer and for an audience.
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

/// The caller that a genuine token names.
pub(super) fn caller(
    claims: &Claims,
    entry: &IssuerEntry,
    now: OffsetDateTime,
) -> Result<Caller, Fault> {
    if !names(claims, entry) {
        return Err(Fault::Audience);
    }
    check_times(claims, now)?;
    let subject = text(claims, "sub")?.ok_or(Fault::Subject)?;
    match &entry.kind {
        IssuerKind::Service(terms) => service(claims, entry, terms, subject),
        IssuerKind::User => Ok(Caller::user(&entry.name, user(claims, subject)?)),
    }
}

fn check_times(claims: &Claims, now: OffsetDateTime) -> Result<(), Fault> {
    let expires_at = time(claims, "exp")?.ok_or(Fault::Expired)?;
    // The leeway is taken from our time, because theirs may be the last there is.
    if expires_at <= now - LEEWAY {
        return Err(Fault::Expired);
    }
    let begins_at = time(claims, "nbf")?;
    let issued_at = time(claims, "iat")?;
    if [begins_at, issued_at]
        .into_iter()
        .flatten()
        .any(|time| time > now + LEEWAY)
    {
        return Err(Fault::NotYetValid);
    }
    // A clock that runs ahead of ours makes the rest of its tokens' life look longer than their life.
    let is_too_long = expires_at - now > LIFETIME_MAX + LEEWAY
        || issued_at.is_some_and(|issued_at| expires_at - issued_at > LIFETIME_MAX);
    if is_too_long {
        return Err(Fault::LifetimeTooLong);
    }
    Ok(())
}

fn service(
    claims: &Claims,
    entry: &IssuerEntry,
    terms: &ServiceTerms,
    subject: &str,
) -> Result<Caller, Fault> {
    // It becomes a name in logs and keys.
    let is_fit = (1..=SUBJECT_BYTES_MAX).contains(&subject.len())
        && subject.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_fit {
        return Err(Fault::Subject);
    }
    let scopes = match words(claims, "scope")?.or(words(claims, "scp")?) {
        None => terms.default_scopes.clone(),
        Some(asked) => terms
            .scopes
            .iter()
            .copied()
            .filter(|scope| asked.contains(scope.as_str()))
            .collect(),
    };
    let access = organizations(claims, terms)?;
    Ok(Caller::service(
        &entry.name,
        subject,
        sorted(scopes),
        access,
    ))
}

fn sorted(mut scopes: Vec<Scope>) -> Vec<Scope> {
    scopes.sort_unstable();
    scopes.dedup();
    scopes
}

/// The organizations of the table, narrowed to those of the claim that the table names. A token without it has none.
fn organizations(claims: &Claims, terms: &ServiceTerms) -> Result<Access, Fault> {
    let Some(claim) = &terms.organizations_claim else {
        return Ok(terms.organizations.clone());
    };
    let listed = match claims.get(claim) {
        None | Some(Value::Null) => BTreeSet::new(),
        Some(Value::String(one)) => BTreeSet::from([one.clone()]),
        Some(Value::Array(many)) => strings(many)?,
        Some(_) => return Err(Fault::Claim),
    };
    let allowed = listed
        .into_iter()
        .filter(|id| terms.organizations.allows(id));
    Ok(Access::Only(allowed.collect()))
}

fn user(claims: &Claims, subject: &str) -> Result<SignedInUser, Fault> {
    let id = UserId::parse(subject).ok_or(Fault::Subject)?;
    // The boolean alone: "true" and 1 are what issuers and their proxies say of addresses that nobody has proven.
    let is_verified = claims.get("email_verified") == Some(&Value::Bool(true));
    let email = text(claims, "email")?.filter(|_| is_verified);
    let name = text(claims, "name")?.unwrap_or_default();
    Ok(SignedInUser {
        id,
        email: email.and_then(|email| EmailAddress::parse(email).ok()),
        // A name that could not stand in a mail is no reason to refuse somebody.
        name: display_name::parse(name).unwrap_or_default(),
    })
}

/// A claim that is a string, if it is there.
fn text<'a>(claims: &'a Claims, name: &str) -> Result<Option<&'a str>, Fault> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Fault::Claim),
    }
}

/// A claim that is a list of words: a string with spaces (RFC 8693 §4.2) or an array, as some issuers have it.
fn words(claims: &Claims, name: &str) -> Result<Option<BTreeSet<String>>, Fault> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.split(' ').map(str::to_owned).collect())),
        Some(Value::Array(many)) => strings(many).map(Some),
        Some(_) => Err(Fault::Claim),
    }
}

fn strings(values: &[Value]) -> Result<BTreeSet<String>, Fault> {
    let string = |value: &Value| value.as_str().map(str::to_owned).ok_or(Fault::Claim);
    values.iter().map(string).collect()
}

/// A claim that is a time (`NumericDate`, RFC 7519 §2), in whole seconds.
fn time(claims: &Claims, name: &str) -> Result<Option<OffsetDateTime>, Fault> {
    let number = match claims.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number,
        Some(_) => return Err(Fault::Claim),
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what does not fit saturates, and no such time exists"
    )]
    let seconds = number
        .as_i64()
        .or_else(|| number.as_f64().map(|seconds| seconds as i64))
        .ok_or(Fault::Claim)?;
    OffsetDateTime::from_unix_timestamp(seconds)
        .map(Some)
        .map_err(|_| Fault::Claim)
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
