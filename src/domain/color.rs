//! Colors of emails, and the contrast between two colors.

use std::fmt;

/// An opaque color. It is always written as `#rrggbb` in lower case, which needs no escaping in HTML and CSS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Color {
    channels: [u8; 3],
}

impl Color {
    pub const fn new(red: u8, green: u8, blue: u8) -> Self {
        Self {
            channels: [red, green, blue],
        }
    }

    /// Parses `#rrggbb` in either case. CSS names, short forms and functions are refused, because mail clients
    /// disagree about them.
    pub fn parse(input: &str) -> Option<Self> {
        let digits = input.strip_prefix('#')?;
        let is_hexadecimal =
            digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hexadecimal {
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
        let [red, green, blue] = self.channels.map(linear);
        0.2126f64.mul_add(red, 0.7152f64.mul_add(green, 0.0722 * blue))
    }
}

impl fmt::Display for Color {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.channels;
        write!(formatter, "#{red:02x}{green:02x}{blue:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
