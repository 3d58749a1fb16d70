//! Sends a list of people: by `BulkCreateStream` for a list of any length, or by one atomic `BulkCreate`.
//!
//! `list_source` reads rows in a thread. `stream_sender` sends them; `send_window` has the rows that are not answered yet.
//! `sent_list` takes the results. `session` resumes an interrupted command. `delivery_tracker` follows the emails. The
//! server alone decides about each row.

pub(crate) mod delivery_tracker;
pub(crate) mod list_source;
pub(crate) mod progress;
pub(crate) mod send_args;
pub(crate) mod send_window;
pub(crate) mod sent_list;
pub(crate) mod session;
pub(crate) mod stream_sender;
