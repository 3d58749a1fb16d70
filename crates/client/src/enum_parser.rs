//! Command line values that stand for values of a protocol enum.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// A value of the protocol, its name on the command line, and its help.
pub(crate) type EnumValue<T> = (T, &'static str, &'static str);

pub(crate) fn enum_parser<T>(
    values: &'static [EnumValue<T>],
) -> impl TypedValueParser<Value = T> + use<T>
where
    T: Copy + Send + Sync + 'static,
{
    let names = values
        .iter()
        .map(|(_, name, help)| PossibleValue::new(*name).help(*help));
    PossibleValuesParser::new(names).map(|given| {
        let known = values.iter().find(|(_, name, _)| *name == given);
        known.expect("clap accepts only these names").0
    })
}
