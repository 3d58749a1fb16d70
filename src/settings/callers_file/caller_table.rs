//! The `[[caller]]` tables of the callers file, and the checks that they share with issuers.

use std::collections::HashMap;
use std::fmt::Write as _;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::Deserialize;

use crate::domain::ids::{OrganizationId, PLAIN_NAME_RULE, is_plain_name};
use crate::domain::scope::Scope;
use crate::identity::{CallerCredential, CallerEntry};
use crate::settings::problems::{Problems, TableProblems};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallerTable {
    name: String,
    token_sha256: Option<String>,
    certificate: Option<String>,
    scopes: Vec<String>,
    organizations: Option<Vec<String>>,
}

pub(super) fn check_callers(tables: Vec<CallerTable>, problems: &mut Problems) -> Vec<CallerEntry> {
    let mut names = HashMap::new();
    let mut credentials = HashMap::new();
    let mut entries = Vec::with_capacity(tables.len());
    for (number, table) in (1..).zip(tables) {
        let place = format!("caller {number} ({:?})", table.name);
        let mut table_problems = TableProblems::new(place, problems);
        if let Some(first) = names.insert(table.name.clone(), number) {
            table_problems.add(format_args!("has the same name as caller {first}"));
        }
        check_name(&table.name, &mut table_problems);
        let credential = table_problems.check(table.credential());
        if let Some(credential) = &credential
            && let Some(first) = credentials.insert(credential.clone(), number)
        {
            let what = match credential {
                CallerCredential::TokenSha256(_) => "token",
                CallerCredential::Certificate(_) => "certificate",
            };
            table_problems.add(format_args!("has the same {what} as caller {first}"));
        }
        let scopes = check_scopes("scopes", &table.scopes, &mut table_problems);
        if table.scopes.is_empty() {
            table_problems.add("scopes is empty, so the caller could do nothing");
        }
        check_organizations(table.organizations.as_deref(), &mut table_problems);
        let entry = credential.map(|credential| CallerEntry {
            name: table.name,
            credential,
            scopes,
            organizations: table.organizations,
        });
        entries.extend(table_problems.into_option(entry).flatten());
    }
    entries
}

impl CallerTable {
    fn credential(&self) -> Result<CallerCredential, String> {
        match (&self.token_sha256, &self.certificate) {
            (Some(digits), None) => HEXLOWER_PERMISSIVE
                .decode(digits.as_bytes())
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .map(CallerCredential::TokenSha256)
                .ok_or_else(|| "token_sha256 must be 64 hexadecimal digits".to_owned()),
            (None, Some(identity)) => identity
                .parse()
                .map(CallerCredential::Certificate)
                .map_err(|error| format!("certificate: {error}")),
            _ => Err("needs either token_sha256 or certificate".to_owned()),
        }
    }
}

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
        match Scope::from_name(name) {
            Some(scope) => scopes.push(scope),
            None => problems.add(format_args!(
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

/// Writes an entry as a TOML table that can be appended to a callers file.
pub fn to_toml(entry: &CallerEntry) -> String {
    let scopes = entry.scopes.iter().map(|scope| scope.as_str());
    let credential = match &entry.credential {
        CallerCredential::TokenSha256(hash) => {
            format!("token_sha256 = \"{}\"", HEXLOWER.encode(hash))
        }
        CallerCredential::Certificate(identity) => {
            format!("certificate = {}", quoted(&identity.to_string()))
        }
    };
    let mut table = format!(
        "[[caller]]\nname = {}\n{credential}\nscopes = {}\n",
        quoted(&entry.name),
        array(scopes),
    );
    if let Some(organizations) = &entry.organizations {
        let organizations = array(organizations.iter().map(String::as_str));
        let _ = writeln!(table, "organizations = {organizations}");
    }
    table
}

/// A TOML basic string. The text is visible ASCII, so only backslashes and quotation marks need escaping.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn array<'text>(items: impl Iterator<Item = &'text str>) -> String {
    format!("[{}]", items.map(quoted).collect::<Vec<_>>().join(", "))
}
