//! Renders one email: subject, HTML part and text part.

use minijinja::{HtmlEscape, Value, context};
use secrecy::ExposeSecret;
use time::{OffsetDateTime, UtcOffset};
use url::form_urlencoded::byte_serialize;

use super::compiled_templates::Templates;
use super::locale_file::Locale;
use super::palette::Palette;
use super::template_error::TemplateError;
use crate::domain::email_address::EmailAddress;
use crate::domain::masking::truncate;
use crate::mail::clean_text::{clean_line, clean_lines};
use crate::mail::invitation_email::{EmailKind, InvitationEmail};

/// RFC 5322 §2.1.1 recommends lines of at most 78 characters.
pub(super) const SUBJECT_CHARS_MAX: usize = 78;
/// Line width of the text part: 78 without a quote mark and a margin for clients that count columns differently.
const TEXT_COLUMNS_MAX: usize = 74;

pub(crate) struct RenderedParts {
    pub(crate) subject: String,
    pub(crate) html: String,
    pub(crate) text: String,
}

impl Templates {
    /// Renders one email in the locale that fits best. The caller has checked the links.
    pub(crate) fn render(
        &self,
        email: &InvitationEmail,
        sender: &str,
    ) -> Result<RenderedParts, TemplateError> {
        let locale = self.locale(&email.locale);
        let organization = clean_line(&email.organization_name);
        let inviter = email.inviter_name.as_deref().map(clean_line);
        let inviter = inviter.filter(|name| !name.is_empty());
        let address = email.to.mailbox();
        let link = email.link.expose_secret();
        let unsubscribe_url = email.unsubscribe_url();
        let brand = &email.brand;
        let text_values = context! {
            is_reminder => email.kind == EmailKind::Reminder,
            organization => &organization,
            inviter => &inviter,
            role => clean_line(&email.role),
            note_lines => clean_lines(email.note.as_deref().unwrap_or_default()),
            address,
            link,
            unsubscribe_url,
            support_email => brand.support_email.as_ref().map(EmailAddress::mailbox),
            logo_url => &brand.logo_url,
            logo_alt => &organization,
            colors => Palette::new(brand.color).values(),
            expires => self.render_date(locale, "date", email.expires_at)?,
            expires_day => self.render_date(locale, "date_short", email.expires_at)?,
            sender,
        };
        let html_values = context! {
            organization => isolated(&organization),
            inviter => inviter.as_deref().map(isolated),
            address => isolated(address),
            link => encoded_url(link),
            unsubscribe_url => unsubscribe_url.map(encoded_url),
            support_email => brand.support_email.as_ref().map(mail_link),
            logo_url => brand.logo_url.as_deref().map(encoded_url),
            ..text_values.clone()
        };
        // Cut to the length limit, so that the subject keeps its other words.
        let words = self.render_subject(locale, email, "")?;
        let room = SUBJECT_CHARS_MAX.saturating_sub(words.chars().count());
        let text = self.render_part(locale, "txt", text_values)?;
        let urls: Vec<&str> = [link].into_iter().chain(unsubscribe_url).collect();
        Ok(RenderedParts {
            subject: self.render_subject(locale, email, &truncate(&organization, room))?,
            html: self.render_part(locale, "html", html_values)?,
            text: wrap(&text, &urls),
        })
    }

    pub(super) fn render_subject(
        &self,
        locale: &Locale,
        email: &InvitationEmail,
        organization: &str,
    ) -> Result<String, TemplateError> {
        let part = match email.kind {
            EmailKind::Invitation => "subject",
            EmailKind::Reminder => "subject_reminder",
        };
        let expires_day = self.render_date(locale, "date_short", email.expires_at)?;
        self.render_part(locale, part, context! { organization, expires_day })
    }

    fn render_date(
        &self,
        locale: &Locale,
        part: &str,
        at: OffsetDateTime,
    ) -> Result<String, TemplateError> {
        let at = at.to_offset(UtcOffset::UTC);
        let weekday = usize::from(at.weekday().number_days_from_monday());
        let month = usize::from(u8::from(at.month())) - 1;
        let values = context! {
            weekday => &locale.weekdays[weekday],
            month => &locale.months[month],
            day => at.day(),
            year => at.year(),
            time => format!("{:02}:{:02}", at.hour(), at.minute()),
        };
        self.render_part(locale, part, values)
    }
}

/// Isolates a name (UAX #9), so that a name written from right to left leaves the order of the sentence unchanged.
fn isolated(name: &str) -> Value {
    Value::from_safe_string(format!("<bdi>{}</bdi>", HtmlEscape(name)))
}

/// A URL in HTML. It is percent-encoded already (the composer and the domain check that), so that only the ampersand
/// needs an entity.
fn encoded_url(url: &str) -> Value {
    Value::from_safe_string(url.replace('&', "&amp;"))
}

/// A `mailto` link (RFC 6068), in the color of other links.
fn mail_link(address: &EmailAddress) -> Value {
    let mailbox = address.mailbox();
    let (local, domain) = mailbox.split_once('@').unwrap_or_default();
    let local: String = byte_serialize(local.as_bytes()).collect();
    let text = HtmlEscape(mailbox);
    Value::from_safe_string(format!(
        "<a href=\"mailto:{local}@{domain}\" dir=\"ltr\">{text}</a>"
    ))
}

/// Wraps every line except URLs, which can only be clicked in one piece. Wrapped quotes stay quotes.
pub(super) fn wrap(text: &str, urls: &[&str]) -> String {
    let mut wrapped = String::with_capacity(text.len() + 64);
    for line in text.lines() {
        if urls.contains(&line) {
            wrapped.push_str(line);
        } else {
            let indent = if line.starts_with("> ") { "> " } else { "" };
            let options = textwrap::Options::new(TEXT_COLUMNS_MAX).subsequent_indent(indent);
            wrapped.push_str(&textwrap::fill(line, options));
        }
        wrapped.push('\n');
    }
    wrapped
}
