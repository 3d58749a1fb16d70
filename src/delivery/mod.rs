//! Delivery: claims due emails from the outbox, sends them and settles the results.
//!
//! An email is attempted by one worker at a time, under a lease with a fencing token. If a worker crashes, its leases
//! expire and the reaper queues the emails again. No transaction is open while a relay or provider is called.
//!
//! In reading order:
//!
//! * The `worker` claims emails (`claims`), buffers them and hands them to lanes.
//! * A `lane` has a `circuit_breaker`, an `adaptive_rate` (`slow_start`) and a `domain_limit`, shared by every task that
//!   sends over it. The `lane_set` chooses the lane of the next email.
//! * The `job_reader` reads the content of a `send_job`, which is one claimed email. The `message_builder` builds its
//!   message, or decides that the email must not be sent.
//! * The `smtp_sender` sends one email, the `provider_batch_sender` many in one call (`stored_batches`).
//! * `send_outcome` and `retry_schedule` decide what a result means; the `settler` writes it to the outbox.

mod adaptive_rate;
mod circuit_breaker;
mod claims;
mod delivery_config;
mod delivery_context;
mod domain_limit;
mod job_reader;
mod lane;
mod lane_set;
mod message_builder;
mod provider_batch_sender;
mod reaper;
mod retry_schedule;
mod send_job;
mod send_outcome;
mod settler;
mod slow_start;
mod smtp_sender;
mod stored_batches;
mod worker;

pub use delivery_config::{AmbiguousPolicy, DeliveryConfig, DomainCaps, LaneConfig, LaneTransport};
pub use message_builder::MessageBuilder;
pub use reaper::Reaper;
pub use worker::Worker;
