//! The file that says who may call: named callers, the hashes of their tokens, their scopes and organizations.
//!
//! The server reads it at start, `caller new` writes it. It never holds a token, only SHA-256 hashes: a token has 256
//! bits of its own, so a slow password hash would add nothing. Nothing here opens files or compares tokens. Beside the
//! callers it may name issuers whose JWTs count; `identity::issuer_entry` says how.
//!
//! ```toml
//! [[caller]]
//! name = "demo"
//! token_sha256 = "f2ca1bb6c7e907d06dafe4687e579fce76b37e4e93b7605022da52e6ccc26fd2"
//! scopes = ["invitations:write", "invitations:read"]
//! organizations = ["acme"]  # left out: every organization
//!
//! [[caller]]
//! name = "web"
//! certificate = "spiffe://example.org/ns/prod/sa/web"  # or "dns:web.example.org"
//! scopes = ["invitations:read"]
//! ```

use std::collections::HashMap;
use std::fmt::{self, Write as _};

use serde::Deserialize;

use crate::domain::certificate_identity::CertificateIdentity;
use crate::domain::scope::Scope;
use crate::identity::{IssuerEntry, RawIssuer, check_issuers};

/// Longest name of a caller, in characters.
pub const CALLER_NAME_CHARS_MAX: usize = 64;
/// Longest organization id, in characters, as the directory has it.
const ORGANIZATION_ID_CHARS_MAX: usize = 64;

/// The callers file, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallersFile {
    /// The callers, in the order of the file, names and credentials unique.
    pub callers: Vec<CallerEntry>,
    /// The issuers whose JWTs count, in the order of the file.
    pub issuers: Vec<IssuerEntry>,
}

/// One caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerEntry {
    /// What logs and quotas call it: 1 to 64 of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`.
    pub name: String,
    /// What they are known by.
    pub credential: CallerCredential,
    /// What it may do; never empty.
    pub scopes: Vec<Scope>,
    /// The only organizations it may act for; `None` means every one, and a list is never empty.
    pub organizations: Option<Vec<String>>,
}

/// What a caller is known by: one thing, so that the loss of a second one is not forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CallerCredential {
    /// SHA-256 of the whole token string, its prefix included.
    TokenSha256([u8; 32]),
    /// A name in its client certificate.
    Certificate(CertificateIdentity),
}

/// Every problem of a callers file, so that one look at it mends them all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallersFileError {
    /// What is wrong, one sentence each.
    pub problems: Vec<String>,
}

impl fmt::Display for CallersFileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.problems.join("; "))
    }
}

impl std::error::Error for CallersFileError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default, rename = "caller")]
    callers: Vec<RawEntry>,
    #[serde(default, rename = "issuer")]
    issuers: Vec<RawIssuer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    name: String,
    token_sha256: Option<String>,
    certificate: Option<String>,
    scopes: Vec<String>,
    organizations: Option<Vec<String>>,
}

impl CallersFile {
    /// Reads the text of a callers file. An empty text is a file without callers.
    ///
    /// # Errors
    ///
    /// Every problem at once; TOML that cannot be read at all, or a field that is missing or unknown, is one problem.
    pub fn parse(text: &str) -> Result<Self, CallersFileError> {
        let raw: RawFile = toml::from_str(text).map_err(|error| CallersFileError {
            problems: vec![syntax_problem(text, &error)],
        })?;
        let mut problems = Vec::new();
        let mut names = HashMap::new();
        let mut credentials = HashMap::new();
        let mut callers = Vec::with_capacity(raw.callers.len());
        for (index, entry) in raw.callers.into_iter().enumerate() {
            let place = format!("caller {} ({:?})", index + 1, entry.name);
            if let Some(first) = names.insert(entry.name.clone(), index) {
                problems.push(format!("{place} has the name of caller {}", first + 1));
            }
            if let Some(caller) = check_entry(entry, &place, &mut problems) {
                if let Some(first) = credentials.insert(caller.credential.clone(), index) {
                    let what = match caller.credential {
                        CallerCredential::TokenSha256(_) => "token",
                        CallerCredential::Certificate(_) => "certificate",
                    };
                    problems.push(format!("{place} has the {what} of caller {}", first + 1));
                }
                callers.push(caller);
            }
        }
        let issuers = check_issuers(raw.issuers, &mut problems);
        if problems.is_empty() {
            Ok(Self { callers, issuers })
        } else {
            Err(CallersFileError { problems })
        }
    }
}

impl CallerEntry {
    /// The entry as a TOML table, ready to be appended to a callers file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let scopes = self.scopes.iter().map(|scope| scope.as_str());
        let credential = match &self.credential {
            CallerCredential::TokenSha256(hash) => format!("token_sha256 = \"{}\"", hex(hash)),
            CallerCredential::Certificate(identity) => {
                format!("certificate = {}", quoted(&identity.to_string()))
            }
        };
        let mut table = format!(
            "[[caller]]\nname = {}\n{credential}\nscopes = {}\n",
            quoted(&self.name),
            array(scopes),
        );
        if let Some(organizations) = &self.organizations {
            let organizations = array(organizations.iter().map(String::as_str));
            let _ = writeln!(table, "organizations = {organizations}");
        }
        table
    }
}

/// Whether a string can be the name of a caller: it appears in logs and metrics, so it stays plain.
#[must_use]
pub fn is_caller_name(name: &str) -> bool {
    (1..=CALLER_NAME_CHARS_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Whether a string can be the id of an organization: 1 to 64 visible ASCII characters.
#[must_use]
pub fn is_organization_id(id: &str) -> bool {
    (1..=ORGANIZATION_ID_CHARS_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_graphic())
}

fn check_entry(entry: RawEntry, place: &str, problems: &mut Vec<String>) -> Option<CallerEntry> {
    let before = problems.len();
    if !is_caller_name(&entry.name) {
        problems.push(format!(
            "{place}: name must be 1 to {CALLER_NAME_CHARS_MAX} of A-Z, a-z, 0-9, \".\", \"_\" and \"-\""
        ));
    }
    let credential = check_credential(&entry)
        .map_err(|problem| problems.push(format!("{place}: {problem}")))
        .ok();
    let mut scopes = Vec::with_capacity(entry.scopes.len());
    for scope in &entry.scopes {
        match scope.parse() {
            Ok(scope) => scopes.push(scope),
            Err(_) => problems.push(format!(
                "{place}: unknown scope {scope:?}, known are {}",
                Scope::ALL.map(Scope::as_str).join(", ")
            )),
        }
    }
    if entry.scopes.is_empty() {
        problems.push(format!("{place}: scopes is empty, so it could do nothing"));
    }
    for id in entry.organizations.iter().flatten() {
        if !is_organization_id(id) {
            problems.push(format!("{place}: {id:?} is no organization id"));
        }
    }
    if entry.organizations.as_ref().is_some_and(Vec::is_empty) {
        problems.push(format!(
            "{place}: organizations is empty, leave it out for every organization"
        ));
    }
    let credential = credential?;
    (problems.len() == before).then_some(CallerEntry {
        name: entry.name,
        credential,
        scopes,
        organizations: entry.organizations,
    })
}

fn check_credential(entry: &RawEntry) -> Result<CallerCredential, String> {
    match (&entry.token_sha256, &entry.certificate) {
        (Some(digits), None) => unhex(digits)
            .map(CallerCredential::TokenSha256)
            .ok_or_else(|| "token_sha256 must be 64 hexadecimal digits".to_owned()),
        (None, Some(identity)) => identity
            .parse()
            .map(CallerCredential::Certificate)
            .map_err(|error| format!("certificate: {error}")),
        _ => Err("needs either token_sha256 or certificate".to_owned()),
    }
}

/// One line: the parser's own message draws the offending line, which has no place in a log.
fn syntax_problem(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| {
        let before = text.as_bytes().get(..span.start).unwrap_or_default();
        before.split(|byte| *byte == b'\n').count()
    });
    let message = error.message().trim().replace('\n', " ");
    match line {
        Some(line) => format!("line {line}: {message}"),
        None => message,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

fn unhex(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// A TOML basic string; what is quoted here is visible ASCII, so these two characters are all there is to escape.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn array<'text>(items: impl Iterator<Item = &'text str>) -> String {
    format!("[{}]", items.map(quoted).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> CallerEntry {
        CallerEntry {
            name: "demo".to_owned(),
            credential: CallerCredential::TokenSha256([0xab; 32]),
            scopes: vec![Scope::InvitationsWrite, Scope::DirectoryRead],
            organizations: Some(vec!["acme".to_owned(), "o\"d\\d".to_owned()]),
        }
    }

    #[test]
    fn a_written_entry_reads_back() {
        let every = CallerEntry {
            name: "every".to_owned(),
            credential: CallerCredential::TokenSha256([1; 32]),
            organizations: None,
            ..entry()
        };
        let web = CallerEntry {
            name: "web".to_owned(),
            credential: CallerCredential::Certificate("dns:web.example.org".parse().unwrap()),
            ..entry()
        };
        let tables = [&entry(), &every, &web].map(CallerEntry::to_toml);
        let text = format!("# callers\n\n{}", tables.join("\n"));
        let callers = CallersFile::parse(&text).unwrap().callers;
        assert_eq!(callers, [entry(), every, web]);
    }

    #[test]
    fn an_empty_file_has_no_callers() {
        assert_eq!(CallersFile::parse("").unwrap(), CallersFile::default());
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let hash = "ab".repeat(32);
        let text = format!(
            "[[caller]]\nname = \"a\"\ntoken_sha256 = \"{hash}\"\nscopes = [\"invitations:write\"]\n\
             [[caller]]\nname = \"a\"\ntoken_sha256 = \"{hash}\"\nscopes = [\"invitations:read\"]\n\
             [[caller]]\nname = \"b c\"\ntoken_sha256 = \"xy\"\nscopes = [\"root\"]\norganizations = []\n\
             [[caller]]\nname = \"d\"\ntoken_sha256 = \"{}\"\nscopes = []\norganizations = [\"a b\"]\n\
             [[caller]]\nname = \"e\"\nscopes = [\"invitations:read\"]\n\
             [[caller]]\nname = \"f\"\ncertificate = \"dns:f\"\ntoken_sha256 = \"{hash}\"\nscopes = [\"invitations:read\"]\n\
             [[caller]]\nname = \"g\"\ncertificate = \"CN=g\"\nscopes = [\"invitations:read\"]\n\
             [[caller]]\nname = \"h\"\ncertificate = \"dns:h\"\nscopes = [\"invitations:read\"]\n\
             [[caller]]\nname = \"i\"\ncertificate = \"dns:h\"\nscopes = [\"invitations:read\"]\n",
            "é".repeat(32)
        );
        let problems = CallersFile::parse(&text).unwrap_err().problems;
        let expected = [
            "caller 2 (\"a\") has the name of caller 1",
            "caller 2 (\"a\") has the token of caller 1",
            "caller 3 (\"b c\"): name must be",
            "caller 3 (\"b c\"): token_sha256 must be 64 hexadecimal digits",
            "caller 3 (\"b c\"): unknown scope \"root\", known are invitations:write,",
            "caller 3 (\"b c\"): organizations is empty",
            "caller 4 (\"d\"): token_sha256 must be 64 hexadecimal digits",
            "caller 4 (\"d\"): scopes is empty",
            "caller 4 (\"d\"): \"a b\" is no organization id",
            "caller 5 (\"e\"): needs either token_sha256 or certificate",
            "caller 6 (\"f\"): needs either token_sha256 or certificate",
            "caller 7 (\"g\"): certificate: must be spiffe://trust-domain/path or dns:name",
            "caller 9 (\"i\") has the certificate of caller 8",
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, start) in problems.iter().zip(expected) {
            assert!(problem.starts_with(start), "{problem}");
        }
    }

    #[test]
    fn a_misspelled_field_is_named_with_its_line() {
        let text = "[[caller]]\nname = \"a\"\ntoken = \"x\"\n";
        let error = CallersFile::parse(text).unwrap_err().to_string();
        assert!(
            error.starts_with("line 3: unknown field `token`"),
            "{error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
}
