//! `InvitationService`.

mod by_link;
mod chunks;
mod create_stream;
mod of_organization;
mod service;
mod watch;
