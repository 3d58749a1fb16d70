//! The option `--acting-user` of commands that change something.

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ActingUserArgs {
    /// User who asked for the change, for the audit log
    #[arg(long, value_name = "USER_ID")]
    acting_user: Option<String>,
}

impl ActingUserArgs {
    /// The id of the user, or an empty text.
    pub(crate) fn id(&self) -> String {
        self.acting_user.clone().unwrap_or_default()
    }
}
