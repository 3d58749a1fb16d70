//! Settings of the gRPC API: where it listens, its callers, its keys and its links.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{ArgAction, Args, ValueEnum};

use super::byte_size::parse_bytes;
use super::callers_file::CallersFile;
use super::files::read;
use crate::clock::Clock;
use crate::domain::keyring::Keyring;
use crate::domain::link::{LinkMode, LinkTemplate};
use crate::identity::Callers;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProcessRole {
    /// Answer calls and send emails
    All,
    /// Only answer calls
    Api,
    /// Only send emails, and answer health checks
    Worker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LinkStyle {
    /// The base URL with the token in its fragment, which is not logged
    Fragment,
    /// The invitation's `redirect_url` with `invitation_token` in its query, if it has one
    Redirect,
}

#[derive(Debug, Clone, Args)]
pub(super) struct CallArgs {
    /// What this process does
    #[arg(long, env = "INVITATIONS_ROLE", value_enum, default_value = "all")]
    pub(super) role: ProcessRole,
    /// Address and port of the gRPC API
    #[arg(long, env = "INVITATIONS_LISTEN", default_value = "127.0.0.1:50051")]
    pub(super) listen: SocketAddr,
    /// Whether callers may read the protocol by gRPC reflection, as grpcurl does
    #[arg(long, env = "INVITATIONS_REFLECTION", default_value_t = true, action = ArgAction::Set)]
    pub(super) reflection: bool,
    /// Memory for the messages of calls and the bodies of HTTP requests, such as 128MiB. A process needs one and a half times as much, and 64 MiB (see docs/limits.md)
    #[arg(long, env = "INVITATIONS_MEMORY_BUDGET", default_value = "128MiB", value_parser = parse_bytes)]
    pub(super) memory_budget: usize,
    /// File of callers: names, token hashes, scopes, and issuers of JWTs (see docs/callers.md)
    #[arg(long, env = "INVITATIONS_CALLERS_FILE")]
    callers_file: PathBuf,
    /// File of master keys: the first key signs, all keys verify (see `invitations key new`)
    #[arg(long, env = "INVITATIONS_KEYS_FILE")]
    keys_file: PathBuf,
    /// URL of the page of your application to which invitation links lead
    #[arg(long, env = "INVITATIONS_LINK_BASE_URL")]
    link_base_url: String,
    /// Form of invitation links
    #[arg(long, env = "INVITATIONS_LINK_STYLE", default_value = "fragment")]
    link_style: LinkStyle,
}

impl CallArgs {
    pub(super) fn keyring(&self) -> Result<Keyring, String> {
        read(&self.keys_file, "keys-file", Keyring::parse)
    }

    pub(super) fn callers(&self, clock: Arc<dyn Clock>) -> Result<Callers, Vec<String>> {
        let file = read(&self.callers_file, "callers-file", CallersFile::parse)
            .map_err(|problem| vec![problem])?;
        let in_file = |problem| format!("callers-file {}: {problem}", self.callers_file.display());
        if file.callers.is_empty() && file.issuers.is_empty() {
            let problem = "holds no caller and no issuer; add one with `invitations caller new`";
            return Err(vec![in_file(problem.to_owned())]);
        }
        Callers::new(file.callers, file.issuers, clock)
            .map_err(|problems| problems.into_iter().map(in_file).collect())
    }

    pub(super) fn links(&self) -> Result<LinkTemplate, String> {
        let mode = match self.link_style {
            LinkStyle::Fragment => LinkMode::Fragment,
            LinkStyle::Redirect => LinkMode::Redirect,
        };
        LinkTemplate::new(&self.link_base_url, mode)
            .ok_or_else(|| "link-base-url: not an http or https URL without a fragment".to_owned())
    }
}
