//! The colors of one email, chosen so that an organization's color cannot make it unreadable.
//!
//! The numbers are contrast ratios of WCAG 2.2. The background colors of the layout are repeated here, because contrast
//! is measured against them.

use minijinja::{Value, context};

use crate::domain::brand::Color;

/// The background of the content, in light and in dark mode.
const BACKGROUND: Color = Color::new(0xff, 0xff, 0xff);
const BACKGROUND_DARK: Color = Color::new(0x16, 0x1c, 0x26);
/// The text colors of a button. One of the two has a contrast of at least 4.5 to any color.
const WHITE: Color = Color::new(0xff, 0xff, 0xff);
const NEARLY_BLACK: Color = Color::new(0x05, 0x05, 0x05);
/// The border of a button that has nearly the color of the background.
const BORDER: Color = Color::new(0x9c, 0xa3, 0xaf);
const BORDER_DARK: Color = Color::new(0x6b, 0x76, 0x87);
/// The colors of an email without a brand color.
const BLUE: Color = Color::new(0x25, 0x63, 0xeb);
const BLUE_ACCENT_DARK: Color = Color::new(0x5b, 0x8d, 0xef);
const BLUE_LINK: Color = Color::new(0x1d, 0x4e, 0xd8);
const BLUE_LINK_DARK: Color = Color::new(0x8d, 0xb4, 0xff);

/// For text (success criterion 1.4.3).
const TEXT_CONTRAST_MIN: f64 = 4.5;
/// A button with less contrast to the background gets a border.
const BUTTON_CONTRAST_MIN: f64 = 1.2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Palette {
    button: Color,
    button_text: Color,
    button_edge: Color,
    button_edge_dark: Color,
    accent: Color,
    accent_dark: Color,
    link: Color,
    link_dark: Color,
}

impl Palette {
    /// The colors that fit an organization's color, or the default colors.
    pub(super) fn new(brand: Option<Color>) -> Self {
        let Some(brand) = brand else {
            return Self {
                accent_dark: BLUE_ACCENT_DARK,
                link: BLUE_LINK,
                link_dark: BLUE_LINK_DARK,
                ..Self::new(Some(BLUE))
            };
        };
        let brand_on = |background: Color, contrast_min, otherwise| {
            let is_enough = brand.contrast(background) >= contrast_min;
            if is_enough { brand } else { otherwise }
        };
        let border = brand_on(BACKGROUND, BUTTON_CONTRAST_MIN, BORDER);
        let border_dark = brand_on(BACKGROUND_DARK, BUTTON_CONTRAST_MIN, BORDER_DARK);
        Self {
            button: brand,
            button_text: text_on(brand),
            button_edge: border,
            button_edge_dark: border_dark,
            accent: border,
            accent_dark: border_dark,
            link: brand_on(BACKGROUND, TEXT_CONTRAST_MIN, BLUE_LINK),
            link_dark: brand_on(BACKGROUND_DARK, TEXT_CONTRAST_MIN, BLUE_LINK_DARK),
        }
    }

    /// The values of `colors` in templates.
    pub(super) fn values(self) -> Value {
        context! {
            button => self.button.to_string(),
            button_text => self.button_text.to_string(),
            button_edge => self.button_edge.to_string(),
            button_edge_dark => self.button_edge_dark.to_string(),
            accent => self.accent.to_string(),
            accent_dark => self.accent_dark.to_string(),
            link => self.link.to_string(),
            link_dark => self.link_dark.to_string(),
        }
    }
}

/// White or nearly black, whichever has more contrast.
fn text_on(button: Color) -> Color {
    if WHITE.contrast(button) >= NEARLY_BLACK.contrast(button) {
        WHITE
    } else {
        NEARLY_BLACK
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn color(text: &str) -> Color {
        Color::parse(text).unwrap()
    }

    #[test]
    fn the_text_of_a_button_has_the_color_with_more_contrast() {
        for (button, text) in [
            ("#000000", WHITE),
            ("#0f766e", WHITE),
            ("#2563eb", WHITE),
            ("#d50000", WHITE),
            ("#ff6f00", NEARLY_BLACK),
            ("#ffd60a", NEARLY_BLACK),
            ("#ffffff", NEARLY_BLACK),
        ] {
            assert_eq!(text_on(color(button)), text, "{button}");
        }
    }

    #[test]
    fn links_have_the_brand_color_only_if_it_is_readable() {
        let dark_green = Palette::new(Some(color("#0f766e")));
        assert_eq!(dark_green.link, color("#0f766e"));
        assert_eq!(dark_green.link_dark, BLUE_LINK_DARK);
        let yellow = Palette::new(Some(color("#ffd60a")));
        assert_eq!(yellow.link, BLUE_LINK);
        assert_eq!(yellow.link_dark, color("#ffd60a"));
    }

    #[test]
    fn a_button_in_the_color_of_the_background_gets_a_border() {
        let white = Palette::new(Some(WHITE));
        assert_eq!(white.button_edge, BORDER);
        assert_eq!(white.button_edge_dark, WHITE);
        let black = Palette::new(Some(color("#161c26")));
        assert_eq!(black.button_edge, black.button);
        assert_eq!(black.button_edge_dark, BORDER_DARK);
    }

    proptest! {
        #[test]
        fn text_is_readable_with_every_brand_color(red: u8, green: u8, blue: u8) {
            let palette = Palette::new(Some(Color::new(red, green, blue)));
            prop_assert!(palette.button_text.contrast(palette.button) >= TEXT_CONTRAST_MIN);
            prop_assert!(palette.link.contrast(BACKGROUND) >= TEXT_CONTRAST_MIN);
            prop_assert!(palette.link_dark.contrast(BACKGROUND_DARK) >= TEXT_CONTRAST_MIN);
            prop_assert!(palette.button_edge.contrast(BACKGROUND) >= BUTTON_CONTRAST_MIN);
            prop_assert!(palette.button_edge_dark.contrast(BACKGROUND_DARK) >= BUTTON_CONTRAST_MIN);
        }
    }
}
