//! Failures of the database.

mod canceled_calls;
mod clock_jump;
mod outage_while_sending;
mod outages;
