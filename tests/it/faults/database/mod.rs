//! Failures of the database.

mod canceled_calls;
mod clock_jump;
mod failover;
mod health;
mod outage_while_sending;
mod outages;
