//! The memory that requests and responses use: estimated while a message arrives, and reserved before it is decoded.

pub(crate) mod message_scan;
pub(crate) mod message_shapes;
pub(crate) mod metered_request;
pub(crate) mod metered_response;
