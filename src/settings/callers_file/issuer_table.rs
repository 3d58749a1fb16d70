//! The `[[issuer]]` tables of the callers file.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::Deserialize;
use url::Url;

use super::caller_table::{check_name, check_organizations, check_scopes};
use crate::domain::actor::Access;
use crate::domain::public_url::is_secure;
use crate::identity::{IssuerEntry, IssuerKind, KeyLocation, ServicePermissions};
use crate::settings::problems::{Problems, TableProblems};

/// Longest `issuer`, `audience` and name of a claim, in bytes.
const TEXT_BYTES_MAX: usize = 255;

/// Required fields are optional here, so that several missing ones are reported together.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerTable {
    name: Option<String>,
    issuer: Option<String>,
    audience: Option<String>,
    jwks_url: Option<String>,
    jwks_file: Option<PathBuf>,
    roots_file: Option<PathBuf>,
    kind: Option<String>,
    scopes: Option<Vec<String>>,
    default_scopes: Option<Vec<String>>,
    organizations: Option<Vec<String>>,
    organizations_claim: Option<String>,
}

pub(super) fn check_issuers(tables: Vec<IssuerTable>, problems: &mut Problems) -> Vec<IssuerEntry> {
    let mut names = HashMap::new();
    let mut tokens = HashMap::new();
    let mut entries = Vec::with_capacity(tables.len());
    for (number, table) in (1..).zip(tables) {
        let name = table.name.clone().unwrap_or_default();
        let place = format!("issuer {number} ({name:?})");
        let mut table_problems = TableProblems::new(place, problems);
        if table.name.is_some()
            && let Some(first) = names.insert(name, number)
        {
            table_problems.add(format_args!("has the same name as issuer {first}"));
        }
        if let (Some(issuer), Some(audience)) = (&table.issuer, &table.audience)
            && let Some(first) = tokens.insert((issuer.clone(), audience.clone()), number)
        {
            table_problems.add(format_args!(
                "has the same issuer and audience as issuer {first}, so a token would match both"
            ));
        }
        let entry = table.check(&mut table_problems);
        entries.extend(table_problems.into_option(entry).flatten());
    }
    entries
}

impl IssuerTable {
    fn check(self, problems: &mut TableProblems<'_>) -> Option<IssuerEntry> {
        let name = self.name.clone().unwrap_or_default();
        check_name(&name, problems);
        let issuer = check_text("issuer", self.issuer.as_deref(), problems);
        let audience = check_text("audience", self.audience.as_deref(), problems);
        let keys = problems.check(self.keys());
        let kind = match self.kind.as_deref() {
            Some("service") => Some(IssuerKind::Service(self.permissions(problems))),
            Some("user") => {
                self.check_user(problems);
                Some(IssuerKind::User)
            }
            _ => problems.check(Err("kind must be \"service\" or \"user\"".to_owned())),
        };
        Some(IssuerEntry {
            name,
            issuer,
            audience,
            keys: keys?,
            roots_file: self.roots_file,
            kind: kind?,
        })
    }

    fn keys(&self) -> Result<KeyLocation, String> {
        match (&self.jwks_url, &self.jwks_file) {
            (Some(url), None) => Url::parse(url)
                .ok()
                .filter(is_key_url)
                .map(KeyLocation::Url)
                .ok_or_else(|| {
                    "jwks_url must be https, or http to this machine, without user, password and fragment"
                        .to_owned()
                }),
            (None, Some(_)) if self.roots_file.is_some() => {
                Err("roots_file is only for a jwks_url".to_owned())
            }
            (None, Some(file)) => Ok(KeyLocation::File(file.clone())),
            _ => Err("needs either jwks_url or jwks_file".to_owned()),
        }
    }

    fn permissions(&self, problems: &mut TableProblems<'_>) -> ServicePermissions {
        let scopes = self.scopes.as_deref().unwrap_or_default();
        let is_empty = scopes.is_empty();
        let scopes = check_scopes("scopes", scopes, problems);
        if is_empty {
            problems.add("scopes is missing or empty, so its tokens could do nothing");
        }
        let default_scopes = self.default_scopes.as_deref().unwrap_or_default();
        let default_scopes = check_scopes("default_scopes", default_scopes, problems);
        if default_scopes.iter().any(|scope| !scopes.contains(scope)) {
            problems.add("default_scopes contains a scope that is not in scopes");
        }
        check_organizations(self.organizations.as_deref(), problems);
        let claim = self.organizations_claim.as_deref();
        let organizations_claim =
            claim.map(|claim| check_text("organizations_claim", Some(claim), problems));
        ServicePermissions {
            scopes,
            default_scopes,
            organizations: match &self.organizations {
                None => Access::Every,
                Some(organizations) => Access::Only(organizations.iter().cloned().collect()),
            },
            organizations_claim,
        }
    }

    /// Memberships decide what a user may do, so the table must not seem to restrict it.
    fn check_user(&self, problems: &mut TableProblems<'_>) {
        for (field, is_set) in [
            ("scopes", self.scopes.is_some()),
            ("default_scopes", self.default_scopes.is_some()),
            ("organizations", self.organizations.is_some()),
            ("organizations_claim", self.organizations_claim.is_some()),
        ] {
            if is_set {
                problems.add(format_args!("{field} is only for services"));
            }
        }
    }
}

fn check_text(field: &str, input: Option<&str>, problems: &mut TableProblems<'_>) -> String {
    let input = input.unwrap_or_default();
    let is_visible = input.bytes().all(|byte| byte.is_ascii_graphic());
    if input.is_empty() || input.len() > TEXT_BYTES_MAX || !is_visible {
        problems.add(format_args!(
            "{field} must be 1 to {TEXT_BYTES_MAX} visible ASCII characters"
        ));
    }
    input.to_owned()
}

fn is_key_url(url: &Url) -> bool {
    is_secure(url)
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_url_is_https_or_on_this_machine() {
        let is_url = |text: &str| is_key_url(&Url::parse(text).unwrap());
        for url in [
            "https://issuer.example.com/jwks?v=1",
            "http://127.0.0.1:8080/jwks",
            "http://[::1]/jwks",
            "http://localhost/jwks",
        ] {
            assert!(is_url(url), "{url}");
        }
        for url in [
            "http://issuer.example.com/jwks",
            "http://localhost.example.com/jwks",
            "https://u@issuer.example.com/",
            "https://issuer.example.com/#x",
            "file:///etc/passwd",
        ] {
            assert!(!is_url(url), "{url}");
        }
    }
}
