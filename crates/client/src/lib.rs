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
//! | `selection`, `acting_user`, `confirmation` | options that several commands share |
//! | `enum_parser`, `state_names`, `time_argument` | arguments of protocol enums and of times |
//! | `invitation_json`, `metadata`, `clock`, `proto` | invitations and metadata as JSON, the clock, the protocol |

mod acting_user;
mod clock;
mod command_line;
mod commands;
mod confirmation;
mod connection;
mod enum_parser;
mod invitation_json;
mod list;
mod metadata;
mod output;
mod proto;
mod report;
mod selection;
mod send;
mod state_names;
#[cfg(test)]
mod tests;
mod time_argument;

pub use command_line::{CommandLine, run};
