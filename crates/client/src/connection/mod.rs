//! The connection to the server: credentials, clients of its services, retries, and texts for rejected calls.

mod chunks;
mod connection_args;
mod retry;
mod status_text;

pub(crate) use chunks::{CALL_BYTES_MAX, CALL_ITEMS_MAX, PAGE_SIZE_MAX};
pub(crate) use chunks::{framed_bytes, read_pages, split_into_calls};
pub(crate) use chunks::{new_request_id, request_id_of_call};
pub(crate) use connection_args::{Connection, ConnectionArgs, InvitationClient, without_deadline};
pub(crate) use retry::{RETRIES_MAX, RetryCounter, as_lost_connection, is_retryable, with_retries};
pub(crate) use status_text::summary;
