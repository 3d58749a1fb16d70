//! The command line. For now the inbox alone.

pub mod inbox;
