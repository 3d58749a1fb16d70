//! A brand: what an organization shows of itself in its mails besides its name.

use super::color::Color;
use super::email_address::EmailAddress;
use super::logo_url;
use super::reason::{Reason, Violation};

/// What an organization shows of itself. All of it may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brand {
    /// An https URL of a picture for the head of its mails.
    pub logo_url: Option<String>,
    /// The color of buttons and links.
    pub color: Option<Color>,
    /// Where readers may write to.
    pub support_email: Option<EmailAddress>,
}

impl Brand {
    /// Checks the three fields, of which each may be empty, and reports every violation at once.
    pub fn parse(logo_url: &str, color: &str, support_email: &str) -> Result<Self, Vec<Violation>> {
        let mut violations = Vec::new();
        let mut refuse = |field: &str, reason| violations.push(Violation::new(field, reason));
        let logo_url = filled(logo_url).map(logo_url::parse).transpose();
        let logo_url = logo_url.inspect_err(|reason| refuse("logo_url", *reason));
        let color = filled(color).map(|color| Color::parse(color).ok_or(Reason::FieldInvalid));
        let color = color.transpose();
        let color = color.inspect_err(|reason| refuse("brand_color", *reason));
        let support_email = filled(support_email).map(EmailAddress::parse).transpose();
        let support_email =
            support_email.inspect_err(|error| refuse("support_email", (*error).into()));
        match (logo_url, color, support_email) {
            (Ok(logo_url), Ok(color), Ok(support_email)) => Ok(Self {
                logo_url,
                color,
                support_email,
            }),
            _ => Err(violations),
        }
    }

    /// Takes back what the store keeps. A field that the rules of today refuse is left out: a mail without a logo is
    /// better than none.
    #[must_use]
    pub fn from_stored(logo_url: &str, color: &str, support_email: &str) -> Self {
        Self {
            logo_url: logo_url::parse(logo_url).ok(),
            color: Color::parse(color),
            support_email: EmailAddress::from_stored(support_email),
        }
    }
}

fn filled(input: &str) -> Option<&str> {
    (!input.is_empty()).then_some(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_may_be_left_out() {
        assert_eq!(Brand::parse("", "", ""), Ok(Brand::default()));
        assert_eq!(Brand::from_stored("", "", ""), Brand::default());
    }

    #[test]
    fn every_violation_is_reported_at_once() {
        let expected = [
            Violation::new("logo_url", Reason::FieldInvalid),
            Violation::new("brand_color", Reason::FieldInvalid),
            Violation::new("support_email", Reason::EmailInvalid),
        ];
        let violations = Brand::parse("http://e.example/l.png", "blue", "support").unwrap_err();
        assert_eq!(violations, expected);
        let violations = Brand::parse("", "#123456", "hilfe@b.co,x@b.co").unwrap_err();
        assert_eq!(violations, expected[2..]);
        let violations = Brand::parse("", "", "hülfe@b.co").unwrap_err();
        assert_eq!(violations[0].reason, Reason::EmailUnsupported);
    }

    #[test]
    fn what_was_stored_and_is_refused_now_is_left_out() {
        let brand = Brand::from_stored("http://e.example/l.png", "#ABCDEF", "help@b.co");
        assert_eq!(brand.logo_url, None);
        assert_eq!(brand.color, Color::parse("#abcdef"));
        assert!(brand.support_email.is_some());
    }
}
