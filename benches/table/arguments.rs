//! What is asked for on the command line.

use clap::{Parser, ValueEnum};

use crate::contest::Rounds;

/// Measures the service beside what the machine can do without it, and prints one table.
#[derive(Parser)]
#[command(name = "bench")]
pub(crate) struct Arguments {
    /// What to measure; by default everything
    operations: Vec<Operation>,
    /// A smoke run of some minutes: few rounds, small sizes, and figures that say little
    #[arg(long)]
    pub(crate) quick: bool,
    /// Leaves the references out, so that a profile shows the service alone
    #[arg(long)]
    pub(crate) alone: bool,
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
    /// BulkCreate over two and four processes
    Replicas,
}

impl Arguments {
    /// Those asked for, in the order of the table.
    pub(crate) fn operations(&self) -> impl Iterator<Item = Operation> {
        Operation::value_variants()
            .iter()
            .copied()
            .filter(|operation| self.operations.is_empty() || self.operations.contains(operation))
    }

    /// Rounds: so many before it counts, and one of two numbers that do.
    pub(crate) fn rounds(&self, warm_up: usize, full: usize, quick: usize) -> Rounds {
        Rounds {
            warm_up,
            timed: if self.quick { quick.min(full) } else { full },
            is_alone: self.alone,
        }
    }

    /// How many write in a round.
    pub(crate) fn sides(&self) -> usize {
        if self.alone { 1 } else { 2 }
    }
}
