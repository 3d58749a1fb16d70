//! Generated messages and clients of the protocol.

#![expect(
    clippy::all,
    clippy::allow_attributes,
    clippy::pedantic,
    unreachable_pub,
    reason = "generated code"
)]

tonic::include_proto!("invitation.v1");
