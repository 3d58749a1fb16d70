//! Brands: how the emails of an organization look, with the contrast of their colors.

use std::fmt;

use super::email_address::EmailAddress;
use super::logo_url;
use super::reason::{Reason, Violation, Violations};

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
        let parse_color = |color: &str| Color::parse(color).ok_or(Reason::FieldInvalid);
        let brand = Self {
            logo_url: violations.check_optional("logo_url", logo_url, logo_url::parse),
            color: violations.check_optional("brand_color", color, parse_color),
            support_email: violations.check_optional(
                "support_email",
                support_email,
                EmailAddress::parse,
            ),
        };
        violations.into_result(Some(brand))
    }

    /// Rebuilds a brand from the database. A field that today's rules refuse is left out, so that the email is sent
    /// without a logo instead of not at all.
    pub fn from_stored(logo_url: &str, color: &str, support_email: &str) -> Self {
        Self {
            logo_url: logo_url::parse(logo_url).ok(),
            color: Color::parse(color),
            support_email: EmailAddress::parse(support_email).ok(),
        }
    }
}

/// An opaque color. It is always written as `#rrggbb` in lower case, which needs no escaping in HTML and CSS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Color([u8; 3]);

impl Color {
    pub const fn new(red: u8, green: u8, blue: u8) -> Self {
        Self([red, green, blue])
    }

    /// Parses `#rrggbb` in either case. CSS names, short forms and functions are refused, because mail clients
    /// disagree about them.
    pub fn parse(input: &str) -> Option<Self> {
        let digits = input.strip_prefix('#')?;
        if digits.len() != 6 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let [_, red, green, blue] = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
        Some(Self::new(red, green, blue))
    }

    /// The contrast ratio of WCAG 2.2, from 1 (equal colors) to 21 (black and white).
    pub fn contrast(self, other: Self) -> f64 {
        let (one, two) = (self.luminance(), other.luminance());
        (one.max(two) + 0.05) / (one.min(two) + 0.05)
    }

    /// The relative luminance of WCAG 2.2, from 0 to 1.
    fn luminance(self) -> f64 {
        let linear = |channel: u8| {
            let share = f64::from(channel) / 255.0;
            if share <= 0.040_45 {
                share / 12.92
            } else {
                ((share + 0.055) / 1.055).powf(2.4)
            }
        };
        let [red, green, blue] = self.0.map(linear);
        0.2126f64.mul_add(red, 0.7152f64.mul_add(green, 0.0722 * blue))
    }
}

impl fmt::Display for Color {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(formatter, "#{red:02x}{green:02x}{blue:02x}")
    }
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

    const BLACK: Color = Color::new(0, 0, 0);
    const WHITE: Color = Color::new(255, 255, 255);

    #[test]
    fn only_six_hexadecimal_digits_are_a_color() {
        let color = Color::parse("#0A7cFf").unwrap();
        assert_eq!(color, Color::new(10, 124, 255));
        assert_eq!(color.to_string(), "#0a7cff");
        for bad in [
            "",
            "#",
            "0a7cff",
            "#0a7cf",
            "#0a7cff0",
            "#fff",
            "#+a7cff",
            "#0a7cf ",
            "#0a7cfg",
            "red",
            "rgb(1,2,3)",
            "#fff;}*{x",
            "#ａaaaa",
        ] {
            assert_eq!(Color::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn contrast_is_that_of_wcag() {
        let is_near = |one: f64, two: f64| (one - two).abs() < 0.01;
        assert!(is_near(BLACK.contrast(WHITE), 21.0));
        assert!(is_near(WHITE.contrast(BLACK), 21.0));
        assert!(is_near(WHITE.contrast(WHITE), 1.0));
        // The lightest gray that WCAG accepts on white, with a ratio of at least 4.5.
        let gray = Color::parse("#767676").unwrap();
        assert!(is_near(gray.contrast(WHITE), 4.54));
    }
}
