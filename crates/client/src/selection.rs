//! Which invitations a command is about: a list of ids, a filter, or all.

use clap::builder::NonEmptyStringValueParser;
use invitations_command::error::CommandError;
use uuid::Uuid;

use crate::connection::CALL_ITEMS_MAX;
use crate::proto::{DeliveryState, InvitationFilter, InvitationState};

/// An empty value would select everything, for example if a shell variable is not set. So it is refused.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "filter", multiple = true)]
pub(crate) struct FilterArgs {
    /// Select the invitations of this batch
    #[arg(long, value_name = "BATCH_ID", value_parser = NonEmptyStringValueParser::new())]
    batch: Option<String>,
    /// Select the invitations of this inviter
    #[arg(long, value_name = "USER_ID", value_parser = NonEmptyStringValueParser::new())]
    inviter: Option<String>,
    /// Select the invitations for this address
    #[arg(long, value_name = "EMAIL", value_parser = NonEmptyStringValueParser::new())]
    email: Option<String>,
}

/// A command that selects by states too puts its options into the group "filter".
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SelectionArgs {
    /// Select this invitation; can be repeated
    #[arg(long = "id", value_name = "ID", conflicts_with_all = ["filter", "all"])]
    ids: Vec<Uuid>,
    /// Select every pending invitation of the organization
    #[arg(long, conflicts_with = "filter")]
    all: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

/// What one call selects.
#[derive(Clone, Default)]
pub(crate) struct SelectedPage {
    pub(crate) invitation_ids: Vec<String>,
    pub(crate) filter: Option<InvitationFilter>,
    pub(crate) all: bool,
    pub(crate) page_token: String,
}

impl FilterArgs {
    /// `None` if no option is given, which means every invitation.
    pub(crate) fn filter(
        &self,
        states: &[InvitationState],
        delivery_states: &[DeliveryState],
    ) -> Option<InvitationFilter> {
        let filter = InvitationFilter {
            states: states.iter().map(|state| (*state).into()).collect(),
            delivery_states: delivery_states
                .iter()
                .map(|state| (*state).into())
                .collect(),
            email: self.email.clone(),
            inviter_user_id: self.inviter.clone(),
            batch_id: self.batch.clone(),
        };
        (filter != InvitationFilter::default()).then_some(filter)
    }
}

impl SelectionArgs {
    /// What the first call selects, without its ids. Fails if nothing is selected, so that a forgotten option does not select everything.
    pub(crate) fn first_page(
        &self,
        states: &[InvitationState],
        delivery_states: &[DeliveryState],
    ) -> Result<SelectedPage, CommandError> {
        let filter = self.filter.filter(states, delivery_states);
        if self.ids.is_empty() && filter.is_none() && !self.all {
            let message = "nothing was sent, because no invitation is selected: name invitations with --id, describe \
                           them with a filter such as --batch, or select every pending one with --all";
            return Err(CommandError::Usage(message.to_owned()));
        }
        Ok(SelectedPage {
            filter,
            all: self.all,
            ..Default::default()
        })
    }

    /// Makes as many calls as the selection needs. `call` returns the token of the next page, or an empty text.
    pub(crate) async fn for_each_page(
        &self,
        mut page: SelectedPage,
        mut call: impl AsyncFnMut(SelectedPage) -> Result<String, CommandError>,
    ) -> Result<(), CommandError> {
        for ids in self.ids.chunks(CALL_ITEMS_MAX) {
            page.invitation_ids = ids.iter().map(Uuid::to_string).collect();
            call(page.clone()).await?;
        }
        if !self.ids.is_empty() {
            return Ok(());
        }
        loop {
            page.page_token = call(page.clone()).await?;
            if page.page_token.is_empty() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct SelectionLine {
        #[command(flatten)]
        selection: SelectionArgs,
    }

    fn parse(options: &str) -> Result<SelectionArgs, clap::Error> {
        let words = format!("x {options}");
        SelectionLine::try_parse_from(words.split(' ').filter(|word| !word.is_empty()))
            .map(|line| line.selection)
    }

    const ID: &str = "01a204dc-9b39-7001-8c82-6b5f4d3569e3";

    #[test]
    fn ids_a_filter_and_all_exclude_each_other() {
        for (options, is_valid) in [
            (format!("--id {ID} --id {ID}"), true),
            ("--batch b --inviter u --email a@b.co".to_owned(), true),
            ("--all".to_owned(), true),
            (format!("--id {ID} --all"), false),
            (format!("--id {ID} --email a@b.co"), false),
            ("--all --batch b".to_owned(), false),
            ("--id 7".to_owned(), false),
            ("--batch=".to_owned(), false),
        ] {
            assert_eq!(parse(&options).is_ok(), is_valid, "{options}");
        }
    }

    #[test]
    fn nothing_is_selected_by_mistake() {
        let selection = parse("").unwrap();
        let message = selection.first_page(&[], &[]).err().unwrap().to_string();
        assert!(message.contains("--all"), "{message}");
        let page = selection.first_page(&[], &[DeliveryState::Failed]).unwrap();
        let filter = page.filter.unwrap();
        assert_eq!(filter.delivery_states, [DeliveryState::Failed as i32]);
        let page = parse("--all").unwrap().first_page(&[], &[]).unwrap();
        assert!(page.all && page.filter.is_none());
    }

    #[tokio::test]
    async fn many_ids_take_several_calls_and_pages_follow_each_other() {
        let mut selection = parse(&format!("--id {ID}")).unwrap();
        selection.ids = vec![selection.ids[0]; CALL_ITEMS_MAX + 1];
        let mut counts = Vec::new();
        let page = selection.first_page(&[], &[]).unwrap();
        let call = async |page: SelectedPage| {
            counts.push(page.invitation_ids.len());
            Ok("ignored".to_owned())
        };
        selection.for_each_page(page, call).await.unwrap();
        assert_eq!(counts, [CALL_ITEMS_MAX, 1]);

        let selection = parse("--all").unwrap();
        let mut tokens = Vec::new();
        let page = selection.first_page(&[], &[]).unwrap();
        let call = async |page: SelectedPage| {
            let next = if page.page_token.is_empty() { "2" } else { "" };
            tokens.push(page.page_token);
            Ok(next.to_owned())
        };
        selection.for_each_page(page, call).await.unwrap();
        assert_eq!(tokens, ["", "2"]);
    }
}
