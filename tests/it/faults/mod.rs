//! Failures, grouped by what fails: the database, the network to it, a mail relay or provider, a peer that calls, or the
//! process itself.

mod database;
mod network;
mod peer;
mod process;
mod relay;
