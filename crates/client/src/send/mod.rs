//! Sends a list of people: by `BulkCreateStream` for a list of any length, or by one atomic `BulkCreate`.
//!
//! `list_source` reads rows in a thread. `stream_sender` sends them; `send_window` has the rows that are not answered yet.
//! `result_collector` and `sent_list` take the results. `session` and `resume_file` resume an interrupted command.
//! `delivery_tracker` and `delivery_wait` follow the emails. The server alone decides about each row.

pub(crate) mod atomic;
pub(crate) mod delivery_tracker;
pub(crate) mod delivery_wait;
pub(crate) mod list_source;
pub(crate) mod progress;
pub(crate) mod result_collector;
pub(crate) mod resume_file;
pub(crate) mod send_args;
pub(crate) mod send_window;
pub(crate) mod sent_list;
pub(crate) mod session;
pub(crate) mod stream_sender;
