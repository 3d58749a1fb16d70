//! The generated messages and clients of the protocol.

#![expect(
    clippy::all,
    clippy::allow_attributes,
    clippy::pedantic,
    reason = "generated code"
)]

tonic::include_proto!("invitation.v1");
