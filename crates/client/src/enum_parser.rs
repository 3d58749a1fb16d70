//! Command line values that stand for values of a protocol enum.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// The name of a value on the command line, and its help. `None` for a value that cannot be given.
pub(crate) type ArgumentText = Option<(&'static str, &'static str)>;

pub(crate) fn enum_parser<T>(text: fn(T) -> ArgumentText) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + TryFrom<i32> + 'static,
{
    let values = || (0..).map_while(|number| T::try_from(number).ok());
    let texts = values().filter_map(text);
    let names = texts.map(|(name, help)| PossibleValue::new(name).help(help));
    PossibleValuesParser::new(names).map(move |given| {
        let known = values().find(|value| text(*value).is_some_and(|(name, _)| name == given));
        known.expect("clap accepts only these names")
    })
}
