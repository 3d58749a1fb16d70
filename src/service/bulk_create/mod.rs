//! `BulkCreate` and `BulkCreateStream`: many invitations into one organization, with one result for each item.
//!
//! The number of statements is the same for one item and for ten thousand. [`plan`] checks the items in memory, after
//! [`lookup`] has read what the database knows about inviters and addresses. [`mod@write`] writes everything with one
//! statement for each kind of outcome, and [`response`] builds the results. [`new_batch`] runs these for a call and for
//! a chunk of a stream.

mod batch_terms;
mod call;
mod lookup;
mod new_batch;
mod plan;
mod quota;
mod response;
mod stream;
mod write;

pub use batch_terms::{BatchTerms, OnExisting};
pub use call::BulkCreate;
pub use response::CreatedBatch;
pub use stream::{Chunk, CreateChunk, ITEM_HASH_BYTES, OpenBatch, OpenStream, StreamHeader};
