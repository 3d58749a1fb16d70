//! The `[[issuer]]` tables of the callers file: whose JWTs count, and for what.
//!
//! ```toml
//! [[issuer]]
//! name = "platform"
//! issuer = "https://issuer.example.com/"      # `iss` of its tokens, byte for byte
//! audience = "invitations"                    # must be in their `aud`
//! jwks_url = "https://issuer.example.com/jwks.json"
//! kind = "service"
//! scopes = ["invitations:write", "invitations:read"]  # the most its tokens may have
//! organizations = ["acme"]                    # left out: every organization
//!
//! [[issuer]]
//! name = "accounts"
//! issuer = "https://accounts.example.com/"
//! audience = "invitations"
//! jwks_file = "/etc/invitations/accounts.jwks.json"
//! kind = "user"
//! ```

use std::collections::HashMap;
use std::path::PathBuf;

use serde::Deserialize;
use url::{Host, Url};

use crate::domain::access::Access;
use crate::domain::scope::Scope;
use crate::settings::callers_file::{CALLER_NAME_CHARS_MAX, is_caller_name, is_organization_id};

/// Longest `issuer`, `audience` and name of a claim, in bytes.
const TEXT_BYTES_MAX: usize = 255;

/// One table, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerEntry {
    /// What logs, quotas and the names of its callers call it; as the name of a caller.
    pub name: String,
    /// The `iss` of its tokens.
    pub issuer: String,
    /// What their `aud` must hold.
    pub audience: String,
    /// Where its keys are.
    pub keys: KeysAt,
    /// Certificates in PEM to trust besides the system's, for a URL.
    pub roots_file: Option<PathBuf>,
    /// Whom its tokens name.
    pub kind: IssuerKind,
}

/// Where the keys of an issuer are, as a JWK Set (RFC 7517 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysAt {
    /// Behind a URL: https, or http to this machine.
    Url(Url),
    /// In a file.
    File(PathBuf),
}

/// Whom the tokens of an issuer name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerKind {
    /// Services.
    Service(ServiceTerms),
    /// Users.
    User,
}

/// What the services of an issuer may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceTerms {
    /// The most scopes a token may have.
    pub scopes: Vec<Scope>,
    /// Those of a token that has no claim of scopes.
    pub default_scopes: Vec<Scope>,
    /// The most organizations a token may have.
    pub organizations: Access,
    /// The claim that lists a token's organizations, if there is one.
    pub organizations_claim: Option<String>,
}

/// One table as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawIssuer {
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

/// Collects what is wrong with one table.
struct Table<'a> {
    place: String,
    problems: &'a mut Vec<String>,
}

impl Table<'_> {
    fn problem(&mut self, text: impl std::fmt::Display) {
        self.problems.push(format!("{}: {text}", self.place));
    }
}

/// Checks the tables of a file and adds everything that is wrong to `problems`.
pub fn check_issuers(raw: Vec<RawIssuer>, problems: &mut Vec<String>) -> Vec<IssuerEntry> {
    let mut names = HashMap::new();
    let mut tokens = HashMap::new();
    let mut entries = Vec::with_capacity(raw.len());
    for (index, raw) in raw.into_iter().enumerate() {
        let number = index + 1;
        let place = format!(
            "issuer {number} ({:?})",
            raw.name.as_deref().unwrap_or_default()
        );
        let mut table = Table { place, problems };
        if let Some(name) = &raw.name
            && let Some(first) = names.insert(name.clone(), number)
        {
            table.problem(format_args!("has the name of issuer {first}"));
        }
        if let (Some(issuer), Some(audience)) = (&raw.issuer, &raw.audience)
            && let Some(first) = tokens.insert((issuer.clone(), audience.clone()), number)
        {
            table.problem(format_args!(
                "has issuer and audience of issuer {first}, so nobody could tell whose a token is"
            ));
        }
        entries.extend(check(raw, &mut table));
    }
    entries
}

fn check(raw: RawIssuer, table: &mut Table<'_>) -> Option<IssuerEntry> {
    let before = table.problems.len();
    let name = raw.name.clone().unwrap_or_default();
    if !is_caller_name(&name) {
        table.problem(format_args!(
            "name must be 1 to {CALLER_NAME_CHARS_MAX} of A-Z, a-z, 0-9, \".\", \"_\" and \"-\""
        ));
    }
    let issuer = text("issuer", raw.issuer.as_deref(), table);
    let audience = text("audience", raw.audience.as_deref(), table);
    let keys = keys(&raw, table);
    let kind = match raw.kind.as_deref() {
        Some("service") => Some(IssuerKind::Service(terms(&raw, table))),
        Some("user") => {
            user_has_no_terms(&raw, table);
            Some(IssuerKind::User)
        }
        _ => {
            table.problem("kind must be \"service\" or \"user\"");
            None
        }
    };
    let entry = IssuerEntry {
        name,
        issuer,
        audience,
        keys: keys?,
        roots_file: raw.roots_file,
        kind: kind?,
    };
    (table.problems.len() == before).then_some(entry)
}

fn terms(raw: &RawIssuer, table: &mut Table<'_>) -> ServiceTerms {
    let known = scopes("scopes", raw.scopes.as_deref(), table);
    if raw.scopes.as_ref().is_none_or(Vec::is_empty) {
        table.problem("scopes is missing or empty, so its tokens could do nothing");
    }
    let default_scopes = scopes("default_scopes", raw.default_scopes.as_deref(), table);
    if default_scopes.iter().any(|scope| !known.contains(scope)) {
        table.problem("default_scopes holds a scope that is not in scopes");
    }
    for id in raw.organizations.iter().flatten() {
        if !is_organization_id(id) {
            table.problem(format_args!("{id:?} is no organization id"));
        }
    }
    if raw.organizations.as_ref().is_some_and(Vec::is_empty) {
        table.problem("organizations is empty, leave it out for every organization");
    }
    let organizations_claim = raw
        .organizations_claim
        .as_deref()
        .map(|claim| text("organizations_claim", Some(claim), table));
    ServiceTerms {
        scopes: known,
        default_scopes,
        organizations: match &raw.organizations {
            None => Access::Every,
            Some(organizations) => Access::Only(organizations.iter().cloned().collect()),
        },
        organizations_claim,
    }
}

/// What a user may do is decided by their memberships; a table that seems to say otherwise would mislead.
fn user_has_no_terms(raw: &RawIssuer, table: &mut Table<'_>) {
    let fields = [
        ("scopes", raw.scopes.is_some()),
        ("default_scopes", raw.default_scopes.is_some()),
        ("organizations", raw.organizations.is_some()),
        ("organizations_claim", raw.organizations_claim.is_some()),
    ];
    for (field, _) in fields.into_iter().filter(|(_, is_set)| *is_set) {
        table.problem(format_args!("{field} is for services alone"));
    }
}

fn scopes(field: &str, input: Option<&[String]>, table: &mut Table<'_>) -> Vec<Scope> {
    let mut scopes = Vec::new();
    for scope in input.unwrap_or_default() {
        match scope.parse() {
            Ok(scope) => scopes.push(scope),
            Err(_) => table.problem(format_args!(
                "{field}: unknown scope {scope:?}, known are {}",
                Scope::ALL.map(Scope::as_str).join(", ")
            )),
        }
    }
    scopes
}

fn text(field: &str, input: Option<&str>, table: &mut Table<'_>) -> String {
    let input = input.unwrap_or_default();
    let is_visible = input.bytes().all(|byte| byte.is_ascii_graphic());
    if input.is_empty() || input.len() > TEXT_BYTES_MAX || !is_visible {
        table.problem(format_args!(
            "{field} must be 1 to {TEXT_BYTES_MAX} visible ASCII characters"
        ));
    }
    input.to_owned()
}

fn keys(raw: &RawIssuer, table: &mut Table<'_>) -> Option<KeysAt> {
    match (&raw.jwks_url, &raw.jwks_file) {
        (Some(url), None) => {
            let url = Url::parse(url).ok().filter(is_key_url);
            if url.is_none() {
                table.problem(
                    "jwks_url must be https, or http to this machine, without user, password and fragment",
                );
            }
            url.map(KeysAt::Url)
        }
        (None, Some(file)) => {
            if raw.roots_file.is_some() {
                table.problem("roots_file is for a jwks_url alone");
            }
            Some(KeysAt::File(file.clone()))
        }
        _ => {
            table.problem("either jwks_url or jwks_file must say where the keys are");
            None
        }
    }
}

/// Keys that cross a network in the clear could be anybody's.
fn is_key_url(url: &Url) -> bool {
    let is_this_host = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_this_host);
    is_safe && url.username().is_empty() && url.password().is_none() && url.fragment().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::callers_file::CallersFile;

    const SERVICE: &str = r#"
        [[issuer]]
        name = "platform"
        issuer = "https://issuer.example.com/"
        audience = "invitations"
        jwks_url = "https://issuer.example.com/jwks.json"
        kind = "service"
        scopes = ["invitations:write", "invitations:read"]
        default_scopes = ["invitations:read"]
        organizations = ["acme"]
        organizations_claim = "orgs"
    "#;
    const USER: &str = r#"
        [[issuer]]
        name = "accounts"
        issuer = "https://issuer.example.com/"
        audience = "invitations-web"
        jwks_file = "accounts.jwks.json"
        kind = "user"
    "#;

    #[test]
    fn both_kinds_of_table_are_read() {
        let file = CallersFile::parse(&format!("{SERVICE}{USER}")).unwrap();
        let [service, user] = file.issuers.as_slice() else {
            panic!("two tables");
        };
        let terms = ServiceTerms {
            scopes: vec![Scope::InvitationsWrite, Scope::InvitationsRead],
            default_scopes: vec![Scope::InvitationsRead],
            organizations: Access::Only(["acme".to_owned()].into()),
            organizations_claim: Some("orgs".to_owned()),
        };
        assert_eq!(service.kind, IssuerKind::Service(terms));
        assert_eq!(user.kind, IssuerKind::User);
        assert_eq!(user.keys, KeysAt::File("accounts.jwks.json".into()));
    }

    #[test]
    fn every_problem_is_told_at_once_with_those_of_callers() {
        let text = format!(
            r#"
            [[caller]]
            name = "b c"
            token_sha256 = "{}"
            scopes = ["invitations:read"]
            {SERVICE}{SERVICE}
            [[issuer]]
            kind = "robot"
            jwks_url = "http://issuer.example.com/"
            [[issuer]]
            name = "users"
            issuer = "a b"
            audience = "x"
            jwks_url = "https://u:p@issuer.example.com/"
            jwks_file = "x"
            kind = "user"
            scopes = []
            organizations_claim = "x"
            [[issuer]]
            name = "services"
            issuer = "i"
            audience = "x"
            jwks_file = "x"
            roots_file = "y"
            kind = "service"
            scopes = ["root"]
            default_scopes = ["invitations:read"]
            organizations = []
            "#,
            "ab".repeat(32)
        );
        let problems = CallersFile::parse(&text).unwrap_err().problems;
        let expected = [
            "caller 1 (\"b c\"): name must be",
            "issuer 2 (\"platform\"): has the name of issuer 1",
            "issuer 2 (\"platform\"): has issuer and audience of issuer 1",
            "issuer 3 (\"\"): name must be",
            "issuer 3 (\"\"): issuer must be 1 to 255",
            "issuer 3 (\"\"): audience must be 1 to 255",
            "issuer 3 (\"\"): jwks_url must be https",
            "issuer 3 (\"\"): kind must be",
            "issuer 4 (\"users\"): issuer must be 1 to 255",
            "issuer 4 (\"users\"): either jwks_url or jwks_file",
            "issuer 4 (\"users\"): scopes is for services alone",
            "issuer 4 (\"users\"): organizations_claim is for services alone",
            "issuer 5 (\"services\"): roots_file is for a jwks_url alone",
            "issuer 5 (\"services\"): scopes: unknown scope \"root\"",
            "issuer 5 (\"services\"): default_scopes holds a scope that is not in scopes",
            "issuer 5 (\"services\"): organizations is empty",
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, start) in problems.iter().zip(expected) {
            assert!(problem.starts_with(start), "{problem}");
        }
    }

    #[test]
    fn keys_come_over_https_or_from_this_machine() {
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
