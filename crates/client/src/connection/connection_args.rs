//! Command line options that all commands with a call share: the server and the credentials of the caller.

use std::fs;
use std::path::PathBuf;

use invitations_command::error::CommandError;
use invitations_command::server::ServerArgs;
use secrecy::SecretString;

use crate::connection::credentials::Credentials;
use crate::connection::service_clients::Connection;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// File with the bearer token; required unless --token or a client certificate is given
    #[arg(
        long,
        env = "INVITATIONS_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "token"
    )]
    token_file: Option<PathBuf>,
    /// Bearer token; a file is safer, because other users of this machine can see the arguments of a process
    #[arg(
        long,
        env = "INVITATIONS_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    token: Option<SecretString>,
}

impl ConnectionArgs {
    pub(crate) const fn server(&self) -> &ServerArgs {
        &self.server
    }

    pub(crate) async fn connect(&self) -> Result<Connection, CommandError> {
        let credentials = self.credentials()?;
        let channel = self.server.connect().await?;
        Ok(Connection::new(channel, credentials, self.server.clone()))
    }

    fn credentials(&self) -> Result<Credentials, CommandError> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(path)) => {
                let text = fs::read_to_string(path)
                    .map_err(|source| CommandError::file("read", path, source))?;
                Some(text.into())
            }
            (None, None) if self.server.has_client_certificate() => None,
            (None, None) => {
                let message = "no token is given: use --token-file (INVITATIONS_TOKEN_FILE) or --token \
                               (INVITATIONS_TOKEN); `invitations caller new` creates a token";
                return Err(CommandError::Usage(message.to_owned()));
            }
        };
        Credentials::new(token.as_ref(), self.server.timeout())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(token: Option<&str>) -> ConnectionArgs {
        ConnectionArgs {
            server: ServerArgs::at("http://127.0.0.1:1"),
            token_file: None,
            token: token.map(SecretString::from),
        }
    }

    #[test]
    fn a_token_is_required_without_a_certificate() {
        assert!(args(Some("invc_abc")).credentials().is_ok());
        assert!(args(None).credentials().is_err());
    }

    #[test]
    fn the_token_is_not_in_debug_output() {
        let text = format!("{:?}", args(Some("invc_abc")));
        assert!(!text.contains("invc_abc"), "{text}");
    }

    #[tokio::test]
    async fn an_unreachable_server_is_named() {
        let failure = args(Some("x")).connect().await.err().unwrap();
        assert_eq!(failure.to_string(), "cannot connect to http://127.0.0.1:1");
        assert!(failure.advice().is_some());
        let failure = ServerArgs::at("ftp://x").connect().await;
        let failure = failure.unwrap_err().to_string();
        assert!(failure.contains("must be an address"), "{failure}");
    }
}
