//! Web pages and a JSON API that show the messages.

mod host_check;
pub(crate) mod pages;
