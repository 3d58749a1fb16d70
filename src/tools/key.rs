//! `key`: makes master keys for invitation links.
//!
//! It only writes lines; reading a ring of keys is the server's business.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::entropy::random_bytes;
use invitations_command::error::{CommandError, Exit};
use invitations_command::secret_file;

const AFTER_HELP: &str = "\
A keys file holds one key in a line, \"KID BASE64URL\"; lines that begin with # are comments.
The FIRST key signs new links, all of them verify. So a key is replaced in three steps, and no
link breaks:
  1. add the new key as the last line on every server, and restart them: they verify it
  2. move it to the first line everywhere, and restart them: they sign with it
  3. remove the old key when no pending invitation was signed with it any more; until then
     a server without it refuses to start

Whoever has a key and the database can make links: keep the file as safe as a password.

Example:
  invitations key new --keys-file keys";

/// What can be done with keys.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum KeyCommand {
    /// Make a master key of 256 bits
    #[command(after_help = AFTER_HELP)]
    New(KeyNewArgs),
}

/// The arguments of `key new`.
#[derive(Debug, Clone, clap::Args)]
pub struct KeyNewArgs {
    /// Number of the key, 0 to 255, which links carry [default: one above the highest in the file, or 1]
    #[arg(long, value_name = "N")]
    kid: Option<u8>,
    /// Add the key as the last line of this file, which is made if it is not there; without it, print the line
    #[arg(long, value_name = "FILE")]
    keys_file: Option<PathBuf>,
}

/// Runs a key command.
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
    let use_of_it = if kids.is_empty() {
        "it is the first, so it signs"
    } else {
        "it verifies; move it to the first line, once every server has it, to sign with it"
    };
    writeln!(out, "added key {kid} to {}: {use_of_it}", path.display())?;
    Ok(Exit::Done)
}

fn new_line(kid: u8) -> String {
    format!("{kid} {}", URL_SAFE_NO_PAD.encode(random_bytes::<32>()))
}

fn choose_kid(wanted: Option<u8>, kids: &BTreeSet<u8>, path: &Path) -> Result<u8, CommandError> {
    let path = path.display();
    match (wanted, kids.last()) {
        (Some(kid), _) if kids.contains(&kid) => Err(CommandError::Usage(format!(
            "{path} has a key {kid} already"
        ))),
        (Some(kid), _) => Ok(kid),
        (None, None) => Ok(1),
        (None, Some(highest)) => highest.checked_add(1).ok_or_else(|| {
            CommandError::Usage(format!(
                "{path} has a key {highest}, the highest there is: choose a free one with --kid"
            ))
        }),
    }
}

/// The numbers of the keys of a file; checks no more than that each line has one.
fn read_kids(content: &str) -> Result<BTreeSet<u8>, String> {
    let mut kids = BTreeSet::new();
    for (index, line) in content.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let kid = line
            .split_ascii_whitespace()
            .next()
            .and_then(|kid| kid.parse().ok());
        let Some(kid) = kid else {
            return Err(format!(
                "line {} does not begin with the number of a key",
                index + 1
            ));
        };
        if !kids.insert(kid) {
            return Err(format!(
                "line {} has the number of an earlier key",
                index + 1
            ));
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
    fn keys_are_numbered_upwards_and_added_at_the_end() {
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
    fn a_file_of_something_else_is_left_alone() {
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
