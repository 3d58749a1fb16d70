//! The command line client of the invitation service.
//!
//! | module | content |
//! |---|---|
//! | `command_line` | the arguments of the program, and which command runs |
//! | `commands` | one module per command |
//! | `send` | sending a list: streaming, resuming, waiting for emails |
//! | `list` | reading a list of people from CSV or NDJSON |
//! | `report` | results of rows, counts, the report and the report file |
//! | `connection` | credentials, clients of the services, retries, texts for rejected calls |
//! | `output` | tables, escaped text, names of protocol values |
//! | `enum_parser`, `metadata`, `clock`, `proto` | arguments of protocol enums, JSON metadata, the clock, the protocol |

mod clock;
mod command_line;
mod commands;
mod connection;
mod enum_parser;
mod list;
mod metadata;
mod output;
mod proto;
mod report;
mod send;
#[cfg(test)]
mod tests;

pub use command_line::{CommandLine, run};
