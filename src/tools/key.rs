//! `invitations key`: creates master keys for invitation links.
//!
//! It only writes lines. The server parses the whole keyring.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::entropy::random_bytes;
use invitations_command::error::{CommandError, Exit};
use invitations_command::secret_file;

const AFTER_HELP: &str = "\
A keys file has one key per line, \"KID BASE64URL\"; lines that begin with # are comments.
The FIRST key signs new links, and all keys verify. To replace a key without breaking links:
  1. add the new key as the last line on every server, and restart them: they verify with it
  2. move it to the first line on every server, and restart them: they sign with it
  3. remove the old key when no pending invitation was signed with it; until then a server
     without it refuses to start

Somebody with a key and access to the database can forge links: protect the file like a password.

Example:
  invitations key new --keys-file keys";

#[derive(Debug, Clone, clap::Subcommand)]
pub enum KeyCommand {
    /// Create a master key of 256 bits
    #[command(after_help = AFTER_HELP)]
    New(KeyNewArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub struct KeyNewArgs {
    /// Id of the key in links, 0 to 255 [default: one above the highest in the file, or 1]
    #[arg(long, value_name = "N")]
    kid: Option<u8>,
    /// Add the key as the last line of this file, which is created if it does not exist; by default print the line
    #[arg(long, value_name = "FILE")]
    keys_file: Option<PathBuf>,
}

pub fn run(command: &KeyCommand, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let KeyCommand::New(args) = command;
    let Some(path) = &args.keys_file else {
        writeln!(out, "{}", new_line(args.kid.unwrap_or(1)))?;
        return Ok(Exit::Done);
    };
    let content = secret_file::read_or_empty(path)?;
    let kids = read_kids(&content).map_err(|problem| {
        CommandError::Usage(format!("{}: {problem}; nothing was added", path.display()))
    })?;
    let kid = choose_kid(args.kid, &kids, path)?;
    secret_file::append(path, &format!("{}\n", new_line(kid)))?;
    let usage = if kids.is_empty() {
        "it is the first key, so it signs"
    } else {
        "it verifies; to sign with it, move it to the first line after every server has it"
    };
    writeln!(out, "added key {kid} to {}: {usage}", path.display())?;
    Ok(Exit::Done)
}

fn new_line(kid: u8) -> String {
    format!("{kid} {}", URL_SAFE_NO_PAD.encode(random_bytes::<32>()))
}

fn choose_kid(requested: Option<u8>, kids: &BTreeSet<u8>, path: &Path) -> Result<u8, CommandError> {
    let path = path.display();
    match (requested, kids.last()) {
        (Some(kid), _) if kids.contains(&kid) => Err(CommandError::Usage(format!(
            "{path} already has a key {kid}"
        ))),
        (Some(kid), _) => Ok(kid),
        (None, None) => Ok(1),
        (None, Some(highest)) => highest.checked_add(1).ok_or_else(|| {
            CommandError::Usage(format!(
                "{path} has a key {highest}, which is the highest id: choose an unused id with --kid"
            ))
        }),
    }
}

/// The ids of the keys of a file. Checks only that each line begins with an id.
fn read_kids(content: &str) -> Result<BTreeSet<u8>, String> {
    let mut kids = BTreeSet::new();
    for (number, line) in (1..).zip(content.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let first = line.split_ascii_whitespace().next();
        let kid = first.and_then(|kid| kid.parse().ok());
        let kid = kid.ok_or_else(|| format!("line {number} does not begin with a key id"))?;
        if !kids.insert(kid) {
            return Err(format!("line {number} repeats a key id"));
        }
    }
    Ok(kids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    fn add(path: &Path, kid: Option<u8>) -> Result<Exit, CommandError> {
        let args = KeyNewArgs {
            kid,
            keys_file: Some(path.to_owned()),
        };
        run(&KeyCommand::New(args), &mut Vec::new())
    }

    #[test]
    fn keys_get_ascending_ids_and_are_added_at_the_end() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("keys");
        add(&path, None).unwrap();
        add(&path, Some(7)).unwrap();
        add(&path, None).unwrap();
        assert!(add(&path, Some(7)).is_err());
        let content = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = content
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .collect();
        assert_eq!(
            lines.iter().map(|(kid, _)| *kid).collect::<Vec<_>>(),
            ["1", "7", "8"]
        );
        for (_, key) in lines {
            assert_eq!(URL_SAFE_NO_PAD.decode(key).unwrap().len(), 32);
        }
        add(&path, Some(255)).unwrap();
        assert!(add(&path, None).is_err());
    }

    #[test]
    fn a_file_that_is_not_a_keys_file_is_not_changed() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "# keys\n\n1 x\nnot a key\n").unwrap();
        let failure = add(&path, None).unwrap_err();
        assert!(failure.to_string().contains("line 4"), "{failure}");
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "# keys\n\n1 x\nnot a key\n"
        );
    }
}
