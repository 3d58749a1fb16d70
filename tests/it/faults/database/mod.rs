//! Failures of the database.

mod canceled_calls;
mod outage_while_sending;
mod outages;
