//! Results of a command: one row per person or invitation, counts, the report on stdout, and the report file.

mod counts;
mod item_report;
mod report_file;
mod row_result;
mod send_report;

pub(crate) use counts::{DeliveryCounts, OutcomeCounts};
pub(crate) use item_report::ItemReport;
pub(crate) use report_file::ReportFile;
pub(crate) use row_result::{RowDelivery, RowOutcome, RowResult};
pub(crate) use row_result::{match_response, with_line_numbers};
pub(crate) use send_report::{ReportOptions, SendReport};
