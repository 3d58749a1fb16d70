//! A comparison of the service with its reference, and the result.
//!
//! In each round both do the same work once, in alternating order, so that other load on the machine affects both. The
//! ratio of a round compares measurements that are seconds apart.

use anyhow::ensure;

use crate::load::Sample;
use crate::resources::ResourceUsage;

/// Describes one row of the table.
#[derive(Clone, Copy)]
pub(crate) struct Comparison {
    pub(crate) operation: &'static str,
    pub(crate) reference: &'static str,
    /// Items in one call.
    pub(crate) size: usize,
    /// Callers, or connections, at the same time.
    pub(crate) callers: usize,
    pub(crate) metric: Metric,
    /// Tables into which both sides insert the same number of rows. Empty for an operation that inserts nothing.
    pub(crate) inserts_into: &'static [&'static str],
    /// Rounds before the measurement, which open connections, fill caches and make plans. The first one compares the
    /// inserted rows.
    pub(crate) warm_up_rounds: usize,
    pub(crate) rounds: usize,
    /// The process whose memory and processor time are measured.
    pub(crate) process: Option<u32>,
}

/// The measured value from which the ratio is computed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    /// Items a second.
    Rate,
    /// The median latency of a round.
    MedianLatency,
}

pub(crate) struct ComparisonResult {
    pub(crate) comparison: Comparison,
    pub(crate) service: Vec<Sample>,
    pub(crate) reference: Vec<Sample>,
    /// One for each round: 1 is as fast as the reference, less is slower.
    pub(crate) ratios: Vec<f64>,
    /// The sum over all rounds of the service.
    pub(crate) usage: ResourceUsage,
    /// Rows in all tables that the service inserted for one item.
    pub(crate) rows_per_item: Option<f64>,
    pub(crate) memory_peak_kib: Option<u64>,
    pub(crate) load_average: Option<f64>,
}

impl ComparisonResult {
    pub(crate) fn new(comparison: Comparison) -> Self {
        Self {
            comparison,
            service: Vec::new(),
            reference: Vec::new(),
            ratios: Vec::new(),
            usage: ResourceUsage::default(),
            rows_per_item: None,
            memory_peak_kib: None,
            load_average: None,
        }
    }

    /// Adds one round. Without references there is no ratio.
    pub(crate) fn add(&mut self, service: Sample, reference: Option<Sample>) -> anyhow::Result<()> {
        if let Some(reference) = reference {
            ensure!(
                service.items == reference.items,
                "the service did {} items, the reference {}",
                service.items,
                reference.items
            );
            self.ratios.push(match self.comparison.metric {
                Metric::Rate => service.rate() / reference.rate(),
                Metric::MedianLatency => reference.median_latency() / service.median_latency(),
            });
            self.reference.push(reference);
        }
        self.service.push(service);
        Ok(())
    }
}
