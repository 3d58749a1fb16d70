//! The colors of one mail, chosen so that an organization's own color cannot make it unreadable.
//!
//! The numbers are contrast ratios of WCAG 2.2. What the layout says of surfaces is repeated here, because contrast is
//! contrast to something.

use minijinja::{Value, context};

use crate::domain::color::Color;

/// The card, in light and in dark clients.
const CARD: Color = Color::new(0xff, 0xff, 0xff);
const CARD_DARK: Color = Color::new(0x16, 0x1c, 0x26);
/// What a button's words may be written in: black is a little lighter than it could be,
/// and still one of the two has a contrast of 4.5 to any color at all.
const WHITE: Color = Color::new(0xff, 0xff, 0xff);
const NEARLY_BLACK: Color = Color::new(0x05, 0x05, 0x05);
/// The edge of a button that would be lost on the card.
const EDGE: Color = Color::new(0x9c, 0xa3, 0xaf);
const EDGE_DARK: Color = Color::new(0x6b, 0x76, 0x87);
/// The colors of a mail without a brand.
const BLUE: Color = Color::new(0x25, 0x63, 0xeb);
const BLUE_ACCENT_DARK: Color = Color::new(0x5b, 0x8d, 0xef);
const BLUE_LINK: Color = Color::new(0x1d, 0x4e, 0xd8);
const BLUE_LINK_DARK: Color = Color::new(0x8d, 0xb4, 0xff);

/// Least contrast of words (success criterion 1.4.3).
const WORDS_CONTRAST_MIN: f64 = 4.5;
/// Least contrast of a button's face that needs no edge; what is read are its words.
const FACE_CONTRAST_MIN: f64 = 1.2;

/// The colors of one mail.
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
    /// The colors for an organization's own, or the service's.
    pub(super) fn new(brand: Option<Color>) -> Self {
        let Some(brand) = brand else {
            return Self {
                button: BLUE,
                button_text: WHITE,
                button_edge: BLUE,
                button_edge_dark: BLUE,
                accent: BLUE,
                accent_dark: BLUE_ACCENT_DARK,
                link: BLUE_LINK,
                link_dark: BLUE_LINK_DARK,
            };
        };
        let edge = visible_on(CARD, brand, EDGE);
        let edge_dark = visible_on(CARD_DARK, brand, EDGE_DARK);
        Self {
            button: brand,
            button_text: words_on(brand),
            button_edge: edge,
            button_edge_dark: edge_dark,
            accent: edge,
            accent_dark: edge_dark,
            link: readable_on(CARD, brand, BLUE_LINK),
            link_dark: readable_on(CARD_DARK, brand, BLUE_LINK_DARK),
        }
    }

    /// The colors as templates name them.
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

/// White or nearly black, whichever reads better.
fn words_on(face: Color) -> Color {
    if WHITE.contrast(face) >= NEARLY_BLACK.contrast(face) {
        WHITE
    } else {
        NEARLY_BLACK
    }
}

fn readable_on(card: Color, wanted: Color, otherwise: Color) -> Color {
    if wanted.contrast(card) >= WORDS_CONTRAST_MIN {
        wanted
    } else {
        otherwise
    }
}

fn visible_on(card: Color, wanted: Color, otherwise: Color) -> Color {
    if wanted.contrast(card) >= FACE_CONTRAST_MIN {
        wanted
    } else {
        otherwise
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
    fn a_buttons_words_are_those_that_read_better() {
        for (face, words) in [
            ("#000000", WHITE),
            ("#0f766e", WHITE),
            ("#2563eb", WHITE),
            ("#d50000", WHITE),
            ("#ff6f00", NEARLY_BLACK),
            ("#ffd60a", NEARLY_BLACK),
            ("#ffffff", NEARLY_BLACK),
        ] {
            assert_eq!(words_on(color(face)), words, "{face}");
        }
    }

    #[test]
    fn links_are_in_the_brands_color_only_where_it_can_be_read() {
        let dark_green = Palette::new(Some(color("#0f766e")));
        assert_eq!(dark_green.link, color("#0f766e"));
        assert_eq!(dark_green.link_dark, BLUE_LINK_DARK);
        let yellow = Palette::new(Some(color("#ffd60a")));
        assert_eq!(yellow.link, BLUE_LINK);
        assert_eq!(yellow.link_dark, color("#ffd60a"));
    }

    #[test]
    fn a_button_in_the_color_of_the_card_gets_an_edge() {
        let white = Palette::new(Some(WHITE));
        assert_eq!(white.button_edge, EDGE);
        assert_eq!(white.button_edge_dark, WHITE);
        let black = Palette::new(Some(color("#161c26")));
        assert_eq!(black.button_edge, black.button);
        assert_eq!(black.button_edge_dark, EDGE_DARK);
    }

    proptest! {
        #[test]
        fn whatever_the_color_words_can_be_read(red: u8, green: u8, blue: u8) {
            let palette = Palette::new(Some(Color::new(red, green, blue)));
            prop_assert!(palette.button_text.contrast(palette.button) >= WORDS_CONTRAST_MIN);
            prop_assert!(palette.link.contrast(CARD) >= WORDS_CONTRAST_MIN);
            prop_assert!(palette.link_dark.contrast(CARD_DARK) >= WORDS_CONTRAST_MIN);
            prop_assert!(palette.button_edge.contrast(CARD) >= FACE_CONTRAST_MIN);
            prop_assert!(palette.button_edge_dark.contrast(CARD_DARK) >= FACE_CONTRAST_MIN);
        }
    }
}
