//! Brands: how the emails of an organization look.

use super::color::Color;
use super::email_address::EmailAddress;
use super::logo_url;
use super::reason::{Reason, Violation, Violations};

/// The look of an organization's emails. Each part is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brand {
    /// An https URL of the picture at the top of an email.
    pub logo_url: Option<String>,
    pub color: Option<Color>,
    pub support_email: Option<EmailAddress>,
}

impl Brand {
    /// Checks the three fields and reports every violation. Each field may be empty.
    pub fn parse(logo_url: &str, color: &str, support_email: &str) -> Result<Self, Vec<Violation>> {
        let mut violations = Violations::default();
        let logo_url =
            filled(logo_url).and_then(|url| violations.check("logo_url", logo_url::parse(url)));
        let color = filled(color).and_then(|color| {
            violations.check(
                "brand_color",
                Color::parse(color).ok_or(Reason::FieldInvalid),
            )
        });
        let support_email = filled(support_email)
            .and_then(|email| violations.check("support_email", EmailAddress::parse(email)));
        if violations.is_empty() {
            Ok(Self {
                logo_url,
                color,
                support_email,
            })
        } else {
            Err(violations.into_vec())
        }
    }

    /// Rebuilds a brand from the database. A field that today's rules refuse is left out, so that the email is sent
    /// without a logo instead of not at all.
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
    fn every_field_may_be_empty() {
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
    fn a_stored_field_that_is_invalid_today_is_left_out() {
        let brand = Brand::from_stored("http://e.example/l.png", "#ABCDEF", "help@b.co");
        assert_eq!(brand.logo_url, None);
        assert_eq!(brand.color, Color::parse("#abcdef"));
        assert!(brand.support_email.is_some());
    }
}
