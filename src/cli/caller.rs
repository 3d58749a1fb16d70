//! `caller`: makes a bearer token, and the entry that lets the server know it.
//!
//! The token exists once: on stdout or in its file. The server gets its SHA-256 hash alone.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use sha2::{Digest, Sha256};

use super::failure::{Exit, Failure};
use super::secret_file;
use crate::callers_file::{CallerEntry, CallersFile, is_caller_name, is_organization_id};
use crate::domain::scope::Scope;
use crate::entropy::random_bytes;

/// Makes a leaked token easy to find, for people and for scanners.
const TOKEN_PREFIX: &str = "invc_";

const AFTER_HELP: &str = "\
The token is shown once: on stdout, or written to --token-file. It cannot be read back from the
callers file, which holds its SHA-256 hash. The server reads the callers file when it starts.

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
      --callers-file callers.toml --token-file onboarding.token";

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
pub fn run(command: &CallerCommand, out: &mut dyn Write) -> Result<Exit, Failure> {
    let CallerCommand::New(args) = command;
    let token = format!(
        "{TOKEN_PREFIX}{}",
        URL_SAFE_NO_PAD.encode(random_bytes::<32>())
    );
    let entry = args.entry(&token)?;
    if let Some(path) = &args.callers_file {
        check_free(path, &entry.name)?;
    }
    // The token first: an entry whose token is lost is of no use and would have to be removed by hand.
    match &args.token_file {
        Some(path) => write_token(path, &token, args.force)?,
        None => writeln!(out, "{token}")?,
    }
    if let Some(path) = &args.callers_file {
        let content = secret_file::read_or_empty(path)?;
        let separator = if content.is_empty() { "" } else { "\n" };
        secret_file::append(path, &format!("{separator}{}", entry.to_toml()))?;
        eprintln!("added caller {} to {}", entry.name, path.display());
    } else {
        if args.token_file.is_none() {
            writeln!(out)?;
        }
        write!(out, "{}", entry.to_toml())?;
        eprintln!("paste the [[caller]] table into the server's callers file");
    }
    Ok(Exit::Done)
}

fn write_token(path: &Path, token: &str, force: bool) -> Result<(), Failure> {
    if !force && path.exists() {
        let message = format!(
            "{} is there already: choose another file, or --force to replace it",
            path.display()
        );
        return Err(Failure::Usage(message));
    }
    secret_file::create(path, &format!("{token}\n"), force)?;
    eprintln!("wrote the token to {}", path.display());
    Ok(())
}

/// Checks that the file is a good one, and that nobody of that name is in it.
fn check_free(path: &Path, name: &str) -> Result<(), Failure> {
    let content = secret_file::read_or_empty(path)?;
    let file = CallersFile::parse(&content).map_err(|error| {
        let problems = error.problems.join("\n  ");
        Failure::Usage(format!(
            "nothing was added, {} has problems:\n  {problems}",
            path.display()
        ))
    })?;
    if file.callers.iter().any(|caller| caller.name == name) {
        let message = format!(
            "{} has a caller {name} already: choose another name, or remove it there",
            path.display()
        );
        return Err(Failure::Usage(message));
    }
    Ok(())
}

impl CallerNewArgs {
    fn entry(&self, token: &str) -> Result<CallerEntry, Failure> {
        if !is_caller_name(&self.name) {
            let message = "NAME must be 1 to 64 of A-Z, a-z, 0-9, \".\", \"_\" and \"-\"";
            return Err(Failure::Usage(message.to_owned()));
        }
        if let Some(id) = self.organizations.iter().find(|id| !is_organization_id(id)) {
            let message =
                format!("--organization {id:?} is no id: 1 to 64 visible ASCII characters");
            return Err(Failure::Usage(message));
        }
        let mut scopes = self.scopes.clone();
        scopes.sort_unstable();
        scopes.dedup();
        Ok(CallerEntry {
            name: self.name.clone(),
            token_sha256: Sha256::digest(token).into(),
            scopes,
            organizations: (!self.organizations.is_empty()).then(|| self.organizations.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::secret_file::tests::Folder;
    use std::fs;

    fn args(name: &str) -> CallerNewArgs {
        CallerNewArgs {
            name: name.to_owned(),
            scopes: vec![
                Scope::InvitationsRead,
                Scope::InvitationsWrite,
                Scope::InvitationsRead,
            ],
            organizations: vec!["acme".to_owned()],
            callers_file: None,
            token_file: None,
            force: false,
        }
    }

    fn outcome(args: CallerNewArgs) -> (Result<Exit, Failure>, String) {
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
        let hash: [u8; 32] = Sha256::digest(token).into();
        assert_eq!(file.callers[0].token_sha256, hash);
        assert_eq!(
            file.callers[0].scopes,
            [Scope::InvitationsWrite, Scope::InvitationsRead]
        );
    }

    #[test]
    fn with_files_nothing_is_printed_and_names_are_unique() {
        let folder = Folder::new();
        let (callers_file, token_file) = (folder.file("callers.toml"), folder.file("token"));
        let with_files = |name| CallerNewArgs {
            callers_file: Some(callers_file.clone()),
            token_file: Some(token_file.clone()),
            ..args(name)
        };
        let (result, out) = outcome(with_files("demo"));
        assert_eq!((result.unwrap(), out.as_str()), (Exit::Done, ""));
        let token = fs::read_to_string(&token_file).unwrap();
        let hash: [u8; 32] = Sha256::digest(token.trim_end()).into();
        let parse = || CallersFile::parse(&fs::read_to_string(&callers_file).unwrap()).unwrap();
        assert_eq!(parse().callers[0].token_sha256, hash);

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
    fn a_broken_callers_file_is_left_alone() {
        let folder = Folder::new();
        let path = folder.file("callers.toml");
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
