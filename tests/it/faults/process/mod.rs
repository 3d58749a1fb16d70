//! Processes of the service that crash, shut down, pause or have a wrong clock.

mod clocks;
mod crash_provider;
mod crash_smtp;
mod crash_stream;
mod leases;
mod shutdown;
