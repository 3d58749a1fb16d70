//! How results are printed: tables, names of protocol values, escaped text and replaced files.

mod escape;
mod file_replacement;
mod protocol_names;
mod table;

pub(crate) use escape::escaped;

pub(crate) use file_replacement::{replace_file, with_suffix};

pub(crate) use protocol_names::{delivery_state_name, reason_name, short_name, time_text};

pub(crate) use table::{OutputFormat, Table};
