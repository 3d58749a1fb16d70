//! Lists of people to invite, read row by row from CSV or NDJSON. Memory use does not depend on the length of a list.
//!
//! A row that cannot be read is reported as an entry of its own and does not stop the others. Values are sent exactly as
//! the list has them, white space included, because only the server decides what a valid address is. Only values that
//! the protocol does not carry as text are parsed here: durations, times, booleans and metadata.

mod csv_rows;
mod list_reader;
mod list_row;
mod ndjson_rows;
mod utf8;

pub(crate) use csv_rows::delimiter_of;
#[cfg(test)]
pub(crate) use list_reader::tests::read_csv;
pub(crate) use list_reader::{ListFormat, ListReader};
pub(crate) use list_row::{Invitee, ListEntry, ListError, RowDefaults};
pub(crate) use utf8::Utf8Checker;
