//! `BulkCreate` and `BulkCreateStream`: many invitations into one organization, with one result for each item.
//!
//! The number of statements is the same for one item and for ten thousand. [`plan`] checks the items in memory, after
//! [`lookup`] has read what the database knows about inviters and addresses. [`write`] writes everything with one statement
//! for each kind of outcome, and [`response`] builds the results. [`batch`] runs these for a call and for a chunk of a
//! stream.

mod batch;
mod lookup;
mod plan;
mod quota;
mod request;
mod response;
mod stream;
mod write;

pub use batch::CreatedBatch;
pub use request::{BulkCreate, OnExisting};
pub use stream::{Chunk, ITEM_HASH_BYTES, OpenStream, StreamHeader};
