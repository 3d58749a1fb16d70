//! `caller`: makes a bearer token, and the entry that lets the server know it; or the entry of a caller that shows a
//! client certificate, without a token.
//!
//! The token exists once: on stdout or in its file. The server gets its SHA-256 hash alone.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use sha2::{Digest, Sha256};

use crate::domain::certificate_identity::CertificateIdentity;
use crate::domain::scope::Scope;
use crate::entropy::random_bytes;
use crate::settings::callers_file::{
    CallerCredential, CallerEntry, CallersFile, is_caller_name, is_organization_id,
};
use invitations_command::error::{CommandError, Exit};
use invitations_command::secret_file;

/// Makes a leaked token easy to find, for people and for scanners.
const TOKEN_PREFIX: &str = "invc_";

const AFTER_HELP: &str = "\
The token is shown once: on stdout, or written to --token-file. It cannot be read back from the
callers file, which holds its SHA-256 hash. The server reads the callers file when it starts.
With --certificate there is no token: the caller is whoever shows a client certificate of that
SPIFFE id (URI) or DNS name, letter by letter, and none of its other names count.

Scopes:
  invitations:write   make, end, resend and accept invitations
  invitations:read    read invitations, as send does while it waits for mails
  invitations:link    be given the links of new invitations, which are secrets
  directory:write     tell of organizations, users and memberships
  directory:read      read memberships, and learn who has an account
  suppressions:write  read and change the list of addresses that get no mail, and report bounces
  audit:read          read what callers did

Example:
  invitations caller new onboarding --organization acme \\
      --scope invitations:write,invitations:read \\
      --callers-file callers.toml --token-file onboarding.token
  invitations caller new web --scope invitations:read --callers-file callers.toml \\
      --certificate spiffe://example.org/ns/prod/sa/web";

/// What can be done with callers.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum CallerCommand {
    /// Make a token and the entry of its caller
    #[command(after_help = AFTER_HELP)]
    New(CallerNewArgs),
}

/// The arguments of `caller new`.
#[derive(Debug, Clone, clap::Args)]
pub struct CallerNewArgs {
    /// Name of the caller, which logs show: 1 to 64 of A-Z, a-z, 0-9, ".", "_" and "-"
    name: String,
    /// What it may do; may be given several times, or separated by commas
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        required = true,
        value_delimiter = ',',
        value_parser = scope_parser(),
        hide_possible_values = true
    )]
    scopes: Vec<Scope>,
    /// Organization that it may act for; may be given several times [default: every one]
    #[arg(long = "organization", value_name = "ID")]
    organizations: Vec<String>,
    /// What its client certificate names, in place of a token: `spiffe://trust-domain/path` or `dns:name`
    #[arg(long, value_name = "NAME", conflicts_with_all = ["token_file", "force"])]
    certificate: Option<CertificateIdentity>,
    /// Add the entry to this file, which is made if it is not there; without it, print the entry
    #[arg(long, value_name = "FILE")]
    callers_file: Option<PathBuf>,
    /// Write the token to this file, readable by its owner alone; without it, print the token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Replace a token file that is there already
    #[arg(long, requires = "token_file")]
    force: bool,
}

fn scope_parser() -> impl TypedValueParser<Value = Scope> {
    PossibleValuesParser::new(Scope::ALL.map(Scope::as_str)).try_map(|scope| scope.parse::<Scope>())
}

/// Runs a caller command.
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
        check_free(path, &entry)?;
    }
    // The token first: an entry whose token is lost is of no use and would have to be removed by hand.
    match (&token, &args.token_file) {
        (Some(token), Some(path)) => write_token(path, token, args.force)?,
        (Some(token), None) => writeln!(out, "{token}")?,
        (None, _) => {}
    }
    if let Some(path) = &args.callers_file {
        let content = secret_file::read_or_empty(path)?;
        let separator = if content.is_empty() { "" } else { "\n" };
        secret_file::append(path, &format!("{separator}{}", entry.to_toml()))?;
        eprintln!("added caller {} to {}", entry.name, path.display());
    } else {
        if token.is_some() && args.token_file.is_none() {
            writeln!(out)?;
        }
        write!(out, "{}", entry.to_toml())?;
        eprintln!("paste the [[caller]] table into the server's callers file");
    }
    Ok(Exit::Done)
}

fn write_token(path: &Path, token: &str, force: bool) -> Result<(), CommandError> {
    if !force && path.exists() {
        let message = format!(
            "{} is there already: choose another file, or --force to replace it",
            path.display()
        );
        return Err(CommandError::Usage(message));
    }
    secret_file::create(path, &format!("{token}\n"), force)?;
    eprintln!("wrote the token to {}", path.display());
    Ok(())
}

/// Checks that the file is a good one, and that nobody of that name or certificate is in it.
fn check_free(path: &Path, entry: &CallerEntry) -> Result<(), CommandError> {
    let content = secret_file::read_or_empty(path)?;
    let file = CallersFile::parse(&content).map_err(|error| {
        let problems = error.problems.join("\n  ");
        CommandError::Usage(format!(
            "nothing was added, {} has problems:\n  {problems}",
            path.display()
        ))
    })?;
    let (path, name) = (path.display(), &entry.name);
    if file.callers.iter().any(|caller| caller.name == *name) {
        let message =
            format!("{path} has a caller {name} already: choose another name, or remove it there");
        return Err(CommandError::Usage(message));
    }
    let has_credential = |caller: &&CallerEntry| caller.credential == entry.credential;
    if let Some(caller) = file.callers.iter().find(has_credential) {
        let message = format!(
            "{path} knows caller {} by that certificate already: one certificate is one caller",
            caller.name
        );
        return Err(CommandError::Usage(message));
    }
    Ok(())
}

impl CallerNewArgs {
    fn entry(&self, credential: CallerCredential) -> Result<CallerEntry, CommandError> {
        if !is_caller_name(&self.name) {
            let message = "NAME must be 1 to 64 of A-Z, a-z, 0-9, \".\", \"_\" and \"-\"";
            return Err(CommandError::Usage(message.to_owned()));
        }
        if let Some(id) = self.organizations.iter().find(|id| !is_organization_id(id)) {
            let message =
                format!("--organization {id:?} is no id: 1 to 64 visible ASCII characters");
            return Err(CommandError::Usage(message));
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
    fn without_files_the_token_and_its_entry_are_printed() {
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
            "the token file is there"
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
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("knows caller web")
        );
    }

    #[test]
    fn a_broken_callers_file_is_left_alone() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("callers.toml");
        fs::write(&path, "[[caller]]\nname = 3\n").unwrap();
        let args = CallerNewArgs {
            callers_file: Some(path.clone()),
            ..args("demo")
        };
        let (result, out) = outcome(args);
        assert!(result.is_err());
        assert_eq!(out, "", "no token that nobody knows");
        assert_eq!(fs::read_to_string(&path).unwrap(), "[[caller]]\nname = 3\n");
    }
}
