//! Checks that callers and issuers share: their names, scopes and organizations.

use crate::domain::ids::OrganizationId;
use crate::domain::plain_name::{PLAIN_NAME_RULE, is_plain_name};
use crate::domain::scope::Scope;
use crate::settings::problems::TableProblems;

pub(super) fn check_name(name: &str, problems: &mut TableProblems<'_>) {
    if !is_plain_name(name) {
        problems.add(format_args!("name {PLAIN_NAME_RULE}"));
    }
}

pub(super) fn check_scopes(
    field: &str,
    names: &[String],
    problems: &mut TableProblems<'_>,
) -> Vec<Scope> {
    let mut scopes = Vec::with_capacity(names.len());
    for name in names {
        match name.parse() {
            Ok(scope) => scopes.push(scope),
            Err(_) => problems.add(format_args!(
                "{field}: unknown scope {name:?}; the scopes are {}",
                Scope::ALL.map(Scope::as_str).join(", ")
            )),
        }
    }
    scopes
}

pub(super) fn check_organizations(ids: Option<&[String]>, problems: &mut TableProblems<'_>) {
    for id in ids.unwrap_or_default() {
        if OrganizationId::parse(id).is_none() {
            problems.add(format_args!("{id:?} is not an organization id"));
        }
    }
    if ids.is_some_and(<[String]>::is_empty) {
        problems.add("organizations is empty; leave it out for every organization");
    }
}
