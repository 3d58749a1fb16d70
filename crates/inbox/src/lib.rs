//! A mail server for development. It accepts every message, delivers none, and shows all in a browser.
//!
//! | module | content |
//! |---|---|
//! | `command_line` | the arguments of the program, and the commands `link` and `count` |
//! | `server` | the two listeners |
//! | `smtp` | receives messages |
//! | `mailbox` | stores each message in a file |
//! | `message` | the parts and headers of a stored message |
//! | `web` | the pages and the JSON API |
//!
//! The server knows nothing about invitations except the form of their links. It has no passwords and no TLS, so it
//! listens on the loopback interface by default.

mod command_line;
mod mailbox;
mod message;
mod server;
mod smtp;
mod web;

pub use command_line::{InboxArgs, run};
