//! The command `accept`. The caller vouches for the user and for the addresses of the user.

use std::io::{self, BufRead, Write};

use invitations_command::error::{CommandError, CommandResult, Exit};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use url::{Url, form_urlencoded};
use uuid::Uuid;

use crate::connection::ConnectionArgs;
use crate::invitation_json::invitation_to_json;
use crate::metadata;
use crate::output::{Table, escaped};
use crate::proto::accept_request::Target;
use crate::proto::{AcceptRequest, AcceptResponse};

/// The key of the token in the fragment of a link.
const FRAGMENT_KEY: &str = "token";
/// The key of the token in the query of a redirect URL.
const QUERY_KEY: &str = "invitation_token";

const AFTER_HELP: &str = "\
If the user has already accepted, the command shows the existing membership. With --invitation-id instead of a link, one \
of the user's verified addresses must be the invited one.

Examples:
  invitectl accept --link 'https://app.example.com/join#token=inv1_...' \\
      --user-id u-2 --user-email ada@example.com
  invitectl accept --invitation-id 01a204dc-9b39-7001-8c82-6b5f4d3569e3 --user-id u-2";

/// Accept an invitation for a user, and show the membership
#[derive(Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct AcceptArgs {
    #[command(flatten)]
    source: TargetArgs,
    /// User who accepts
    #[arg(long, value_name = "USER_ID")]
    user_id: String,
    /// Verified address of the user; can be repeated
    #[arg(long = "user-email", value_name = "EMAIL")]
    verified_emails: Vec<String>,
    /// Name of the user, if the directory does not have the user yet
    #[arg(long, value_name = "NAME")]
    user_name: Option<String>,
    /// Print the response as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Clone, clap::Args)]
#[group(required = true, multiple = false)]
struct TargetArgs {
    /// Link in the email
    #[arg(long, value_name = "URL")]
    link: Option<SecretString>,
    /// Read the token or the link from the first line of stdin, which other users of this machine cannot see
    #[arg(long)]
    token_stdin: bool,
    /// Token in the link
    #[arg(long, value_name = "TOKEN")]
    invitation_token: Option<SecretString>,
    /// Invitation, for a user who sees it in the application
    #[arg(long, value_name = "ID")]
    invitation_id: Option<Uuid>,
}

pub(crate) async fn run(args: &AcceptArgs, out: &mut dyn Write) -> CommandResult {
    let request = AcceptRequest {
        target: Some(args.source.target()?),
        user_id: args.user_id.clone(),
        verified_emails: args.verified_emails.clone(),
        user_name: args.user_name.clone().unwrap_or_default(),
        ..Default::default()
    };
    let connection = args.connection.connect().await?;
    let mut client = connection.invitations();
    let call = async || client.accept(request.clone()).await;
    let response = connection.call("Accept", call).await?;
    if args.json {
        writeln!(out, "{:#}", to_json(response))?;
    } else {
        write_table(response, out)?;
    }
    Ok(Exit::Done)
}

impl TargetArgs {
    fn target(&self) -> Result<Target, CommandError> {
        match self.invitation_id {
            Some(id) => Ok(Target::InvitationId(id.to_string())),
            None => self.token().map(Target::Token),
        }
    }

    fn token(&self) -> Result<String, CommandError> {
        if let Some(token) = &self.invitation_token {
            return Ok(token.expose_secret().to_owned());
        }
        let mut line = String::new();
        let link = if let Some(link) = &self.link {
            link.expose_secret()
        } else {
            io::stdin().lock().read_line(&mut line)?;
            line.trim()
        };
        if self.link.is_none() && !link.contains("://") {
            return Ok(link.to_owned());
        }
        token_of_link(link).map_err(CommandError::Usage)
    }
}

/// The token in the fragment or in the query of a link. An error does not contain the link, because the link is a secret.
fn token_of_link(link: &str) -> Result<String, String> {
    // Mail programs put angle brackets around a link.
    let link = link.trim().trim_start_matches('<').trim_end_matches('>');
    let url = Url::parse(link).map_err(|error| format!("the link is not a URL: {error}"))?;
    let value_of = |pairs: &str, wanted: &str| {
        form_urlencoded::parse(pairs.as_bytes())
            .find(|(key, value)| key == wanted && !value.is_empty())
            .map(|(_, value)| value.into_owned())
    };
    url.fragment()
        .and_then(|fragment| value_of(fragment, FRAGMENT_KEY))
        .or_else(|| value_of(url.query().unwrap_or_default(), QUERY_KEY))
        .ok_or_else(|| {
            format!(
                "the link has neither #{FRAGMENT_KEY}= nor {QUERY_KEY}=; put it in quotes, because a shell cuts it at &"
            )
        })
}

fn write_table(response: AcceptResponse, out: &mut dyn Write) -> io::Result<()> {
    let invitation = response.invitation.unwrap_or_default();
    let membership = response.membership.unwrap_or_default();
    let organization = match invitation.organization_name.as_str() {
        "" => membership.organization_id.clone(),
        name => format!("{name} ({})", membership.organization_id),
    };
    let mut facts = vec![
        ("organization", escaped(&organization)),
        ("user", escaped(&membership.user_id)),
        ("role", escaped(membership.role())),
        ("invited as", escaped(&invitation.email)),
        ("invitation", membership.invitation_id),
    ];
    if let Some(time) = membership.create_time {
        facts.push(("member since", time.to_string()));
    }
    for (name, metadata) in [
        ("public metadata", membership.public_metadata),
        ("private metadata", membership.private_metadata),
    ] {
        if let Some(metadata) = metadata.filter(|metadata| !metadata.fields.is_empty()) {
            facts.push((name, metadata::to_json(metadata).to_string()));
        }
    }
    if !invitation.redirect_url.is_empty() {
        facts.push(("redirect URL", escaped(&invitation.redirect_url)));
    }
    let headline = if response.already_member {
        "was already a member"
    } else {
        "is now a member"
    };
    writeln!(out, "{} {headline}\n", escaped(&membership.user_id))?;
    Table::of_facts(facts).write(out)
}

fn to_json(response: AcceptResponse) -> serde_json::Value {
    let invitation = response.invitation.unwrap_or_default();
    let membership = response.membership.unwrap_or_default();
    json!({
        "already_member": response.already_member,
        "membership": {
            "organization_id": membership.organization_id,
            "user_id": membership.user_id,
            "role": membership.role.as_deref().unwrap_or_default(),
            "public_metadata": membership.public_metadata.map(metadata::to_json),
            "private_metadata": membership.private_metadata.map(metadata::to_json),
            "invitation_id": membership.invitation_id,
            "create_time": membership.create_time.map(|it| it.to_string()),
            "update_time": membership.update_time.map(|it| it.to_string()),
        },
        "invitation": invitation_to_json(invitation),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Invitation, Membership};

    #[test]
    fn the_token_is_read_from_a_link() {
        for (link, token) in [
            (
                "https://app.example.com/join#token=inv1_a-b_c",
                Some("inv1_a-b_c"),
            ),
            (
                " <https://app.example.com/join#token=inv1_x>\n",
                Some("inv1_x"),
            ),
            (
                "http://127.0.0.1:8025/#lang=de&token=inv1_x",
                Some("inv1_x"),
            ),
            (
                "https://app.example.com/join?a=b&invitation_token=inv1_x",
                Some("inv1_x"),
            ),
            (
                "https://app.example.com/join?invitation_token=inv1_x#top",
                Some("inv1_x"),
            ),
            (
                "https://app.example.com/join#token=inv1%5Fx",
                Some("inv1_x"),
            ),
            ("https://app.example.com/join?token=inv1_x", None),
            ("https://app.example.com/join#token=", None),
            ("https://app.example.com/join", None),
            ("inv1_x", None),
            ("", None),
        ] {
            assert_eq!(token_of_link(link).ok().as_deref(), token, "{link}");
        }
    }

    #[test]
    fn an_invalid_link_is_not_in_the_message() {
        let message = token_of_link("https://app.example.com/#secret=inv1_x").unwrap_err();
        assert!(!message.contains("inv1_x"), "{message}");
    }

    #[test]
    fn the_membership_is_printed() {
        let metadata = serde_json::Map::from_iter([("plan".to_owned(), json!("pro"))]);
        let response = AcceptResponse {
            membership: Some(Membership {
                organization_id: "acme".to_owned(),
                user_id: "u-2".to_owned(),
                role: Some("member".to_owned()),
                public_metadata: Some(metadata::to_struct(metadata).unwrap()),
                ..Default::default()
            }),
            invitation: Some(Invitation {
                organization_name: "Acme".to_owned(),
                email: "ada@example.com".to_owned(),
                ..Default::default()
            }),
            already_member: false,
        };
        let mut out = Vec::new();
        write_table(response.clone(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in [
            "u-2 is now a member",
            "Acme (acme)",
            "ada@example.com",
            "{\"plan\":\"pro\"}",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(
            to_json(response)["membership"]["public_metadata"],
            json!({"plan": "pro"})
        );
    }
}
