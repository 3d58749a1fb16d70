//! `invitations caller`: creates callers of the API.
//!
//! It creates a token and the entry with which the server recognizes it, or the entry of a caller with a client
//! certificate. The token is printed or written once; the entry contains only its SHA-256 hash.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use sha2::{Digest, Sha256};

use crate::domain::certificate_identity::CertificateIdentity;
use crate::domain::ids::OrganizationId;
use crate::domain::ids::{PLAIN_NAME_RULE, is_plain_name};
use crate::domain::scope::Scope;
use crate::entropy::random_bytes;
use crate::identity::{CallerCredential, CallerEntry};
use crate::settings::callers_file::{CallersFile, to_toml};
use invitations_command::error::{CommandError, Exit};
use invitations_command::secret_file;

/// Allows people and scanners to find a leaked token.
const TOKEN_PREFIX: &str = "invc_";

const AFTER_HELP: &str = "\
The token is printed once, or written to --token-file. It cannot be recovered from the callers
file, which contains its SHA-256 hash. The server reads the callers file when it starts.
With --certificate there is no token: the caller authenticates by a client certificate with
exactly this SPIFFE id (URI) or DNS name.

Scopes:
  invitations:write   create, revoke, resend and accept invitations
  invitations:read    read invitations, as `invitectl send` does while it waits for emails
  invitations:link    receive the links of new invitations, which are secrets
  directory:write     write organizations, users and memberships
  directory:read      read organizations, users and memberships, and learn who has an account
  directory:admin     delete and suspend organizations, delete users and memberships, erase
                      addresses
  suppressions:write  add addresses to the suppression list, and lift entries
  suppressions:read   read the suppression list
  feedback:write      report bounces, as a mail server with `invitectl bounce` does
  audit:read          read the audit log

Examples:
  invitations caller new onboarding --organization acme \\
      --scope invitations:write,invitations:read \\
      --callers-file callers.toml --token-file onboarding.token
  invitations caller new web --scope invitations:read --callers-file callers.toml \\
      --certificate spiffe://example.org/ns/prod/sa/web";

#[derive(Debug, Clone, clap::Subcommand)]
pub enum CallerCommand {
    /// Create a token and the entry of its caller
    #[command(after_help = AFTER_HELP)]
    New(CallerNewArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub struct CallerNewArgs {
    /// Name of the caller in logs: 1 to 64 of A-Z, a-z, 0-9, ".", "_" and "-"
    name: String,
    /// What the caller may do; may be repeated, or separated by commas
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        required = true,
        value_delimiter = ',',
        value_parser = scope_parser(),
        hide_possible_values = true
    )]
    scopes: Vec<Scope>,
    /// Organization for which the caller may act; may be repeated [default: every organization]
    #[arg(long = "organization", value_name = "ID")]
    organizations: Vec<String>,
    /// Name in the caller's client certificate, instead of a token: `spiffe://trust-domain/path` or `dns:name`
    #[arg(long, value_name = "NAME", conflicts_with_all = ["token_file", "force"])]
    certificate: Option<CertificateIdentity>,
    /// Add the entry to this file, which is created if it does not exist; by default print the entry
    #[arg(long, value_name = "FILE")]
    callers_file: Option<PathBuf>,
    /// Write the token to this file, readable only by its owner; by default print the token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Replace an existing token file
    #[arg(long, requires = "token_file")]
    force: bool,
}

fn scope_parser() -> impl TypedValueParser<Value = Scope> {
    PossibleValuesParser::new(Scope::ALL.map(Scope::as_str))
        .try_map(|scope| Scope::from_name(&scope).ok_or("not a scope"))
}

pub fn run(command: &CallerCommand, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let CallerCommand::New(args) = command;
    let (token, credential) = if let Some(identity) = &args.certificate {
        (None, CallerCredential::Certificate(identity.clone()))
    } else {
        let secret = URL_SAFE_NO_PAD.encode(random_bytes::<32>());
        let token = format!("{TOKEN_PREFIX}{secret}");
        let hash = Sha256::digest(&token).into();
        (Some(token), CallerCredential::TokenSha256(hash))
    };
    let entry = args.entry(credential)?;
    if let Some(path) = &args.callers_file {
        check_unique(path, &entry)?;
    }
    // The token is written first. An entry without its token would be useless and would have to be removed by hand.
    match (&token, &args.token_file) {
        (Some(token), Some(path)) => write_token(path, token, args.force)?,
        (Some(token), None) => writeln!(out, "{token}")?,
        (None, _) => {}
    }
    if let Some(path) = &args.callers_file {
        let content = secret_file::read_or_empty(path)?;
        let separator = if content.is_empty() { "" } else { "\n" };
        secret_file::append(path, &format!("{separator}{}", to_toml(&entry)))?;
        eprintln!("added caller {} to {}", entry.name, path.display());
    } else {
        if token.is_some() && args.token_file.is_none() {
            writeln!(out)?;
        }
        write!(out, "{}", to_toml(&entry))?;
        eprintln!("append the [[caller]] table to the callers file of the server");
    }
    Ok(Exit::Done)
}

fn write_token(path: &Path, token: &str, force: bool) -> Result<(), CommandError> {
    let shown = path.display();
    if !force && path.exists() {
        return Err(CommandError::Usage(format!(
            "{shown} already exists: choose another file, or use --force to replace it"
        )));
    }
    secret_file::create(path, &format!("{token}\n"), force)?;
    eprintln!("wrote the token to {shown}");
    Ok(())
}

/// Checks that the file is valid and has no caller with the same name or credential.
fn check_unique(path: &Path, entry: &CallerEntry) -> Result<(), CommandError> {
    let content = secret_file::read_or_empty(path)?;
    let (path, name) = (path.display(), &entry.name);
    let file = CallersFile::parse(&content).map_err(|error| {
        let problems = error.problems.join("\n  ");
        CommandError::Usage(format!(
            "nothing was added, because {path} has problems:\n  {problems}"
        ))
    })?;
    let mut callers = file.callers.iter();
    let message = if callers.clone().any(|caller| caller.name == *name) {
        format!(
            "{path} already has a caller {name}: choose another name, or remove the existing caller"
        )
    } else if let Some(other) = callers.find(|caller| caller.credential == entry.credential) {
        format!(
            "{path} already has this certificate for caller {}: a certificate identifies one caller",
            other.name
        )
    } else {
        return Ok(());
    };
    Err(CommandError::Usage(message))
}

impl CallerNewArgs {
    fn entry(&self, credential: CallerCredential) -> Result<CallerEntry, CommandError> {
        if !is_plain_name(&self.name) {
            return Err(CommandError::Usage(format!("NAME {PLAIN_NAME_RULE}")));
        }
        let is_invalid = |id: &&String| OrganizationId::parse(id).is_none();
        if let Some(id) = self.organizations.iter().find(is_invalid) {
            return Err(CommandError::Usage(format!(
                "--organization {id:?} must have 1 to 64 visible ASCII characters"
            )));
        }
        let mut scopes = self.scopes.clone();
        scopes.sort_unstable();
        scopes.dedup();
        Ok(CallerEntry {
            name: self.name.clone(),
            credential,
            scopes,
            organizations: (!self.organizations.is_empty()).then(|| self.organizations.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    fn args(name: &str) -> CallerNewArgs {
        CallerNewArgs {
            name: name.to_owned(),
            scopes: vec![
                Scope::InvitationsRead,
                Scope::InvitationsWrite,
                Scope::InvitationsRead,
            ],
            organizations: vec!["acme".to_owned()],
            certificate: None,
            callers_file: None,
            token_file: None,
            force: false,
        }
    }

    fn outcome(args: CallerNewArgs) -> (Result<Exit, CommandError>, String) {
        let mut out = Vec::new();
        let result = run(&CallerCommand::New(args), &mut out);
        (result, String::from_utf8(out).unwrap())
    }

    #[test]
    fn without_files_the_token_and_the_entry_are_printed() {
        let (result, out) = outcome(args("demo"));
        assert_eq!(result.unwrap(), Exit::Done);
        let (token, table) = out.split_once("\n\n").unwrap();
        assert_eq!((token.len(), &token[..5]), (5 + 43, "invc_"));
        let file = CallersFile::parse(table).unwrap();
        let hash = CallerCredential::TokenSha256(Sha256::digest(token).into());
        assert_eq!(file.callers[0].credential, hash);
        assert_eq!(
            file.callers[0].scopes,
            [Scope::InvitationsWrite, Scope::InvitationsRead]
        );
    }

    #[test]
    fn with_files_nothing_is_printed_and_names_are_unique() {
        let folder = TempDir::new().unwrap();
        let (callers_file, token_file) = (
            folder.path().join("callers.toml"),
            folder.path().join("token"),
        );
        let with_files = |name| CallerNewArgs {
            callers_file: Some(callers_file.clone()),
            token_file: Some(token_file.clone()),
            ..args(name)
        };
        let (result, out) = outcome(with_files("demo"));
        assert_eq!((result.unwrap(), out.as_str()), (Exit::Done, ""));
        let token = fs::read_to_string(&token_file).unwrap();
        let hash = CallerCredential::TokenSha256(Sha256::digest(token.trim_end()).into());
        let parse = || CallersFile::parse(&fs::read_to_string(&callers_file).unwrap()).unwrap();
        assert_eq!(parse().callers[0].credential, hash);

        assert!(
            outcome(with_files("other")).0.is_err(),
            "the token file exists"
        );
        let forced = |name| CallerNewArgs {
            force: true,
            ..with_files(name)
        };
        assert!(outcome(forced("demo")).0.is_err(), "the name is taken");
        assert_eq!(fs::read_to_string(&token_file).unwrap(), token);
        assert_eq!(parse().callers.len(), 1);
        outcome(forced("other")).0.unwrap();
        assert_eq!(parse().callers.len(), 2);
    }

    #[test]
    fn a_caller_with_a_certificate_needs_no_token() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("callers.toml");
        let with_certificate = |name, callers_file| CallerNewArgs {
            certificate: Some("spiffe://a.example/web".parse().unwrap()),
            callers_file,
            ..args(name)
        };
        let (result, table) = outcome(with_certificate("web", None));
        assert_eq!(result.unwrap(), Exit::Done);
        let callers = CallersFile::parse(&table).unwrap().callers;
        let identity = "spiffe://a.example/web".parse().unwrap();
        assert_eq!(
            callers[0].credential,
            CallerCredential::Certificate(identity)
        );

        let (result, out) = outcome(with_certificate("web", Some(path.clone())));
        assert_eq!((result.unwrap(), out.as_str()), (Exit::Done, ""));
        assert_eq!(fs::read_to_string(&path).unwrap(), table);
        let refused = outcome(with_certificate("other", Some(path.clone()))).0;
        assert!(refused.unwrap_err().to_string().contains("for caller web"));
    }

    #[test]
    fn an_invalid_callers_file_is_not_changed() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("callers.toml");
        fs::write(&path, "[[caller]]\nname = 3\n").unwrap();
        let args = CallerNewArgs {
            callers_file: Some(path.clone()),
            ..args("demo")
        };
        let (result, out) = outcome(args);
        assert!(result.is_err());
        assert_eq!(out, "", "no token without an entry");
        assert_eq!(fs::read_to_string(&path).unwrap(), "[[caller]]\nname = 3\n");
    }
}
