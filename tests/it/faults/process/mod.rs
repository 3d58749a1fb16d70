//! Processes of the service that crash, shut down or pause.

mod crash_provider;
mod crash_smtp;
mod crash_stream;
mod leases;
mod shutdown;
