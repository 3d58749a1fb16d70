//! `InvitationService`.

mod api;
mod bulk;
mod by_id;
mod by_link;
mod chunks;
mod create_stream;
mod service;
mod watch;

pub(in crate::grpc) use api::InvitationApi;
