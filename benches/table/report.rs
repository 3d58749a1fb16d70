//! Prints results.

use std::time::Duration;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::comparison::ComparisonResult;
use crate::load::{Sample, quantile};

const HEADER: &str = "operation,size,callers,items/s,p50 ms,p99 ms,reference,reference/s,p50 ms,p99 ms,ratio,\
                      quartiles,rounds,load,rows,WAL B,MiB,CPU s,Postgres s";

/// The result as one line of text, without the header.
pub(crate) fn line(result: &ComparisonResult) -> String {
    row(result).join(" | ")
}

/// The results as a Markdown table. Rows and write-ahead log are for one item, processor time is for 1,000 items.
pub(crate) fn table(results: &[ComparisonResult]) -> String {
    let mut table = Table::new();
    table
        .load_style(ASCII_MARKDOWN)
        .set_header(HEADER.split(','));
    for result in results {
        table.add_row(row(result));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn row(result: &ComparisonResult) -> Vec<String> {
    let comparison = &result.comparison;
    let items: usize = result.service.iter().map(|sample| sample.items).sum();
    let items = items as f64;
    let ratio = |fraction| number(quantile(result.ratios.iter().copied(), fraction), 2);
    let per_thousand = |time: Duration| positive(time.as_secs_f64() / items * 1_000.0, 3);
    let wal = if comparison.inserts_into.is_empty() {
        f64::NAN
    } else {
        result.usage.wal_bytes as f64 / items
    };
    let memory = result
        .memory_peak_kib
        .map_or(f64::NAN, |kib| kib as f64 / 1_024.0);
    vec![
        comparison.operation.to_owned(),
        comparison.size.to_string(),
        comparison.callers.to_string(),
        number(median_rate(&result.service), 0),
        number(latency_ms(&result.service, 0.5), 2),
        number(latency_ms(&result.service, 0.99), 2),
        comparison.reference.to_owned(),
        number(median_rate(&result.reference), 0),
        number(latency_ms(&result.reference, 0.5), 2),
        number(latency_ms(&result.reference, 0.99), 2),
        ratio(0.5),
        format!("{} to {}", ratio(0.25), ratio(0.75)),
        result.ratios.len().to_string(),
        number(result.load_average.unwrap_or(f64::NAN), 1),
        number(result.rows_per_item.unwrap_or(f64::NAN), 3),
        number(wal, 0),
        number(memory, 0),
        per_thousand(result.usage.process),
        per_thousand(result.usage.postgres),
    ]
}

/// The rate of the median round.
fn median_rate(samples: &[Sample]) -> f64 {
    quantile(samples.iter().map(Sample::rate), 0.5)
}

/// A quantile of the latencies of all rounds.
fn latency_ms(samples: &[Sample], fraction: f64) -> f64 {
    let latencies = samples.iter().flat_map(|sample| &sample.latencies);
    quantile(latencies.map(Duration::as_secs_f64), fraction) * 1_000.0
}

/// Processor time that could not be read is zero.
fn positive(value: f64, digits: usize) -> String {
    number(if value > 0.0 { value } else { f64::NAN }, digits)
}

fn number(value: f64, digits: usize) -> String {
    if value.is_finite() {
        format!("{value:.digits$}")
    } else {
        "-".to_owned()
    }
}
