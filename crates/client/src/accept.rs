//! `accept`: a link or token, and a user, to a membership.
//!
//! It takes the caller's word for who the user is and what addresses they own, as every caller of `Accept` does.

use std::io::{self, BufRead, Write};

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use url::{Url, form_urlencoded};

use super::connection::ConnectionArgs;
use super::metadata;
use super::retry::retrying;
use super::status::refused;
use super::table;
use super::visible::visible;
use crate::proto::{AcceptRequest, AcceptResponse};
use invitations_command::error::{CommandError, Exit};

/// The key of the token in a link's fragment.
const FRAGMENT_KEY: &str = "token";
/// The key of the token in the query of a redirect URL.
const QUERY_KEY: &str = "invitation_token";

/// Accept an invitation for a user and show the membership
///
/// Accepting again for the same user shows the same membership.
#[derive(Clone, clap::Args)]
#[command(
    after_help = "Example:\n  invitations accept --link 'https://app.example.com/join#token=inv1_...' \\\n      \
                        --user-id u-2 --user-email ada@example.com"
)]
pub struct AcceptArgs {
    #[command(flatten)]
    source: TokenSource,
    /// Who accepts
    #[arg(long, value_name = "USER_ID")]
    user_id: String,
    /// Address that the user has proven to own; may be given several times
    #[arg(long = "user-email", value_name = "EMAIL")]
    user_emails: Vec<String>,
    /// Name of a user whom the directory does not know yet
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    user_name: String,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Clone, clap::Args)]
#[group(required = true, multiple = false)]
struct TokenSource {
    /// The link from the mail
    #[arg(long, value_name = "URL")]
    link: Option<SecretString>,
    /// Read the token or the link from the first line of stdin, where nobody else can see it
    #[arg(long)]
    token_stdin: bool,
    /// The token from the link
    #[arg(long, value_name = "TOKEN")]
    invitation_token: Option<SecretString>,
}

/// Runs the command.
pub async fn run(args: &AcceptArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let request = AcceptRequest {
        token: args.source.token()?,
        user_id: args.user_id.clone(),
        user_emails: args.user_emails.clone(),
        user_name: args.user_name.clone(),
    };
    let mut client = args.connection.invitations().await?;
    let response = retrying("Accept", async || client.accept(request.clone()).await)
        .await
        .map_err(|status| refused("Accept", args.connection.server(), &status))?;
    if args.json {
        writeln!(out, "{:#}", to_json(response))?;
    } else {
        write_table(response, out)?;
    }
    Ok(Exit::Done)
}

impl TokenSource {
    fn token(&self) -> Result<String, CommandError> {
        if let Some(token) = &self.invitation_token {
            return Ok(token.expose_secret().to_owned());
        }
        let line = if let Some(link) = &self.link {
            link.expose_secret().to_owned()
        } else {
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line)?;
            line
        };
        let line = line.trim();
        if self.link.is_none() && !line.contains("://") {
            return Ok(line.to_owned());
        }
        token_of_link(line).map_err(CommandError::Usage)
    }
}

/// Takes the token out of a link, from its fragment or its query.
///
/// # Errors
///
/// A sentence that does not repeat the link, which is a secret.
pub fn token_of_link(link: &str) -> Result<String, String> {
    // Mail programs and people put these around a link.
    let link = link.trim().trim_start_matches('<').trim_end_matches('>');
    let url = Url::parse(link).map_err(|error| format!("the link is no URL: {error}"))?;
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
                "the link has neither #{FRAGMENT_KEY}= nor {QUERY_KEY}=: is it whole? a shell cuts it at & unless it \
                 is quoted"
            )
        })
}

fn write_table(response: AcceptResponse, out: &mut dyn Write) -> io::Result<()> {
    let invitation = response.invitation.unwrap_or_default();
    let membership = response.membership.unwrap_or_default();
    let organization = if invitation.organization_name.is_empty() {
        membership.organization_id.clone()
    } else {
        format!(
            "{} ({})",
            invitation.organization_name, membership.organization_id
        )
    };
    let mut facts = vec![
        ("organization", visible(&organization)),
        ("user", visible(&membership.user_id)),
        ("role", visible(&membership.role)),
        ("invited as", visible(&invitation.email)),
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
        facts.push(("goes on to", visible(&invitation.redirect_url)));
    }
    let headline = if response.already_member {
        "was a member before"
    } else {
        "is a member now"
    };
    writeln!(out, "{} {headline}\n", visible(&membership.user_id))?;
    writeln!(out, "{}", table::of_facts(facts).trim_fmt())
}

fn to_json(response: AcceptResponse) -> serde_json::Value {
    let invitation = response.invitation.unwrap_or_default();
    let membership = response.membership.unwrap_or_default();
    json!({
        "already_member": response.already_member,
        "membership": {
            "organization_id": membership.organization_id,
            "user_id": membership.user_id,
            "role": membership.role,
            "public_metadata": membership.public_metadata.map(metadata::to_json),
            "private_metadata": membership.private_metadata.map(metadata::to_json),
            "invitation_id": membership.invitation_id,
            "create_time": membership.create_time.map(|time| time.to_string()),
            "update_time": membership.update_time.map(|time| time.to_string()),
        },
        "invitation": {
            "id": invitation.id,
            "organization_id": invitation.organization_id,
            "organization_name": invitation.organization_name,
            "email": invitation.email,
            "role": invitation.role,
            "inviter_user_id": invitation.inviter_user_id,
            "redirect_url": invitation.redirect_url,
            "batch_id": invitation.batch_id,
            "create_time": invitation.create_time.map(|time| time.to_string()),
            "expire_time": invitation.expire_time.map(|time| time.to_string()),
            "accept_time": invitation.accept_time.map(|time| time.to_string()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Invitation, Membership};

    #[test]
    fn the_token_is_found_in_a_link() {
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
    fn a_bad_link_is_not_repeated() {
        let message = token_of_link("https://app.example.com/#secret=inv1_x").unwrap_err();
        assert!(!message.contains("inv1_x"), "{message}");
    }

    #[test]
    fn the_membership_is_shown() {
        let metadata = serde_json::Map::from_iter([("plan".to_owned(), json!("pro"))]);
        let response = AcceptResponse {
            membership: Some(Membership {
                organization_id: "acme".to_owned(),
                user_id: "u-2".to_owned(),
                role: "member".to_owned(),
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
        let shown = String::from_utf8(out).unwrap();
        for part in [
            "u-2 is a member now",
            "Acme (acme)",
            "ada@example.com",
            "{\"plan\":\"pro\"}",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        assert_eq!(
            to_json(response)["membership"]["public_metadata"],
            json!({"plan": "pro"})
        );
    }
}
