//! What is asked for on the command line.

use clap::{Parser, ValueEnum};

/// Measures the service beside what the machine can do without it, and prints one table.
#[derive(Parser)]
#[command(name = "bench")]
pub(crate) struct Arguments {
    /// What to measure; by default everything
    operations: Vec<Operation>,
    /// A smoke run of about two minutes: few rounds, small sizes, and figures that say little
    #[arg(long)]
    pub(crate) quick: bool,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Operation {
    /// Mails a second, near and far, and claims
    Delivery,
    /// BulkCreate
    BulkCreate,
    /// BulkCreateStream
    BulkCreateStream,
    /// Accept
    Accept,
    /// Get, List, Preview and GetBatch
    Reads,
}

impl Arguments {
    /// Those asked for, in the order of the table.
    pub(crate) fn operations(&self) -> impl Iterator<Item = Operation> {
        Operation::value_variants()
            .iter()
            .copied()
            .filter(|operation| self.operations.is_empty() || self.operations.contains(operation))
    }

    /// One of two numbers of rounds.
    pub(crate) fn rounds(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick.min(full) } else { full }
    }
}
