//! What happens when the database, the network, a relay, a peer or the process itself fails.

mod cancellation;
mod crash;
mod database_network;
mod floods;
mod outages;
mod overload;
mod process;
mod provider_mail;
mod smtp;
mod stages;
mod stream_ends;
