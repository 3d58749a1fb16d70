//! The generated protocol. It knows nothing of the rest but reasons, and nothing but `grpc` and `cli` knows it.

#![expect(
    clippy::all,
    clippy::allow_attributes,
    clippy::pedantic,
    reason = "generated code"
)]

pub mod codec;

tonic::include_proto!("invitation.v1");

/// The encoded descriptors of every served file, options and comments included, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
