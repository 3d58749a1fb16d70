//! The command line.

use clap::{Parser, ValueEnum};

/// Measures the service beside references that do the same work without it, and prints one table.
#[derive(Parser)]
#[command(name = "bench")]
pub(crate) struct Arguments {
    /// What to measure; by default everything
    operations: Vec<Operation>,
    /// Run few rounds with small sizes, which takes some minutes; the figures mean little
    #[arg(long)]
    pub(crate) quick: bool,
    /// Skip the references, so that a profile shows the service alone
    #[arg(long)]
    pub(crate) alone: bool,
    /// `cargo bench` adds this option
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Operation {
    /// Messages a second from a full queue, to a near and a distant relay; claims from a long queue
    Delivery,
    /// BulkCreate
    BulkCreate,
    /// BulkCreateStream
    BulkCreateStream,
    /// Accept
    Accept,
    /// Get, Preview, GetBatch and List
    Reads,
    /// BulkCreate on two and four server processes
    Replicas,
}

impl Arguments {
    /// The selected operations, in the order of the table.
    pub(crate) fn operations(&self) -> impl Iterator<Item = Operation> {
        Operation::value_variants()
            .iter()
            .copied()
            .filter(|operation| self.operations.is_empty() || self.operations.contains(operation))
    }

    /// Selects one of two sizes.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}
