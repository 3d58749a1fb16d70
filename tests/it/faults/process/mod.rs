//! Processes of the service that crash, shut down, pause or have a wrong clock.

mod clocks;
mod crash_commit;
mod crash_provider;
mod crash_smtp;
mod crash_stream;
mod crash_transaction;
mod leases;
mod memory_limit;
mod shutdown;
mod versions;
