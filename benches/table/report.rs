//! The one table, in Markdown.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::contest::{Outcome, quantile};

const HEADER: [&str; 19] = [
    "operation",
    "size",
    "callers",
    "ours/s",
    "p50 ms",
    "p99 ms",
    "reference",
    "its/s",
    "p50 ms",
    "p99 ms",
    "ratio",
    "quartiles",
    "rounds",
    "load",
    "rows",
    "WAL B",
    "MiB",
    "CPU s",
    "Postgres s",
];
/// Where nothing is to be told.
const NONE: &str = "-";

/// The outcomes as a table. Write-ahead log and rows are for one thing, times of cores for a thousand.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(HEADER);
    for outcome in outcomes {
        table.add_row(row(outcome));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

fn row(outcome: &Outcome) -> Vec<String> {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let (items, wal) = (outcome.items as f64, outcome.spent.wal as f64);
    let of_thousand = |seconds: f64| told((seconds > 0.0).then_some(seconds / items * 1_000.0), 3);
    let (ours, reference) = (&outcome.ours, &outcome.reference);
    vec![
        outcome.name.to_owned(),
        outcome.size.to_string(),
        outcome.callers.to_string(),
        format!("{:.0}", ours.rate()),
        told(ours.millis(0.5), 2),
        told(ours.millis(0.99), 2),
        outcome.reference_name.to_owned(),
        told(Some(reference.rate()), 0),
        told(reference.millis(0.5), 2),
        told(reference.millis(0.99), 2),
        told(Some(quantile(&outcome.ratios, 0.5)), 2),
        quartiles(&outcome.ratios),
        outcome.ratios.len().to_string(),
        told(outcome.load, 1),
        told(outcome.rows, 3),
        told(outcome.writes.then_some(wal / items), 0),
        #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53")]
        told(outcome.memory_peak_kib.map(|kib| kib as f64 / 1_024.0), 0),
        of_thousand(outcome.spent.service.as_secs_f64()),
        of_thousand(outcome.spent.postgres.as_secs_f64()),
    ]
}

fn quartiles(ratios: &[f64]) -> String {
    if ratios.is_empty() {
        return NONE.to_owned();
    }
    format!(
        "{:.2} to {:.2}",
        quantile(ratios, 0.25),
        quantile(ratios, 0.75)
    )
}

fn told(value: Option<f64>, digits: usize) -> String {
    value
        .filter(|value| value.is_finite())
        .map_or_else(|| NONE.to_owned(), |value| format!("{value:.digits$}"))
}
