//! `InvitationService`.

mod by_link;
mod chunks;
mod create_stream;
mod of_organization;
pub(in crate::grpc) mod service;
mod watch;
