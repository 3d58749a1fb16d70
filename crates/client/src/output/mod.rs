//! How results are printed: tables, names of protocol values, escaped text and replaced files.

mod file_replacement;
mod table;
mod text;

pub(crate) use file_replacement::{replace_file, with_suffix};
pub(crate) use table::{OutputFormat, Table};
pub(crate) use text::{delivery_state_name, escaped, reason_name, short_name, time_text};
