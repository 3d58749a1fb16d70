//! The connection to the server: credentials, clients of its services, retries, and texts for rejected calls.

mod chunks;
mod connection_args;
mod credentials;
mod request_id;
mod retry;
mod service_clients;
mod status_text;

pub(crate) use chunks::{CALL_BYTES_MAX, CALL_ITEMS_MAX, PAGE_SIZE_MAX};

pub(crate) use chunks::{framed_bytes, read_pages, split_into_calls};

pub(crate) use connection_args::ConnectionArgs;

pub(crate) use credentials::without_deadline;

pub(crate) use request_id::{new_request_id, request_id_of_call};

pub(crate) use retry::{RETRIES_MAX, RetryCounter, as_lost_connection, is_retryable, with_retries};

pub(crate) use service_clients::{Connection, InvitationClient};

pub(crate) use status_text::summary;
