//! The code that is generated from the protocol. Only `grpc` uses it, and the codec knows the reasons of `domain`.

#![expect(
    clippy::all,
    clippy::allow_attributes,
    clippy::pedantic,
    reason = "generated code"
)]

pub mod codec;

tonic::include_proto!("invitation.v1");

/// The encoded descriptors of all served files, with options and comments, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
