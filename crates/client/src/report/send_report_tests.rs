//! The report on stdout for a few rows and for a long list.

use super::*;
use crate::proto::DeliveryState;

const WAITED: ReportOptions = ReportOptions {
    is_dry_run: false,
    has_waited: true,
    shows_all: false,
};

fn accepted(line: u64, email: &str, outcome: RowOutcome, state: DeliveryState) -> RowResult {
    RowResult {
        line,
        email: email.to_owned(),
        outcome,
        invitation_id: format!("id-{line}"),
        batch_id: "batch".to_owned(),
        delivery: Some(RowDelivery {
            state,
            last_error: String::new(),
        }),
    }
}

fn refused(line: u64, email: &str, reason: &str, message: &str) -> RowResult {
    RowResult::refused(
        line,
        email.to_owned(),
        reason.to_owned(),
        message.to_owned(),
    )
}

fn rows() -> Vec<RowResult> {
    let mut bounced = accepted(4, "gone@b.co", RowOutcome::Created, DeliveryState::Failed);
    bounced.delivery.as_mut().unwrap().last_error = "550 no such user".to_owned();
    vec![
        accepted(2, "a@b.co", RowOutcome::Created, DeliveryState::Sent),
        refused(3, "plain\t", "EMAIL_INVALID", "is not an address"),
        bounced,
        refused(5, "a@b.co", "DUPLICATE_IN_REQUEST", "the same as line 2"),
        refused(6, "", "EMAIL_INVALID", "is not an address"),
        accepted(7, "c@d.co", RowOutcome::Resent, DeliveryState::Deferred),
    ]
}

fn report(rows: Vec<RowResult>) -> SendReport {
    let (mut report, mut deliveries) = (SendReport::default(), DeliveryCounts::default());
    for row in rows {
        if let Some(delivery) = &row.delivery {
            deliveries.add(delivery.state, 1);
        }
        report.add(row);
    }
    report.deliveries = deliveries;
    report
}

fn text(rows: Vec<RowResult>, options: ReportOptions) -> String {
    let mut out = Vec::new();
    report(rows).write(options, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_report_has_counts_and_the_rows_that_need_attention() {
    let expected = " Rows
─
    2   created   a new invitation
    1   resent    invited before, email sent again
    3   refused   2 EMAIL_INVALID, 1 DUPLICATE_IN_REQUEST

 Emails
─
      1   sent       accepted by the mail server
      1   deferred   the server retries later
      1   failed     not delivered

 Line   Address     Outcome                Email      Explanation
─
    3   plain\\t     EMAIL_INVALID          -          is not an address
    4   gone@b.co   created                failed     550 no such user
    5   a@b.co      DUPLICATE_IN_REQUEST   -          the same as line 2
    6   (empty)     EMAIL_INVALID          -          is not an address
    7   c@d.co      resent                 deferred

invited 3 of 6: 2 created, 0 existing, 1 resent, 0 replaced, 3 refused; emails: 1 sent, 1 deferred, 1 failed, 0 waiting, 0 canceled
";
    // The rules below headers are as wide as their tables.
    let trim = |text: &str| {
        let lines = text.lines().map(|line| line.trim_end().trim_matches('─'));
        lines.collect::<Vec<_>>().join("\n")
    };
    let report = text(rows(), WAITED);
    assert_eq!(trim(&report), trim(expected), "\n{report}");
}

#[test]
fn all_rows_are_shown_on_request() {
    let options = ReportOptions {
        shows_all: true,
        ..WAITED
    };
    assert!(text(rows(), options).contains("id-2"));
    assert!(!text(rows(), WAITED).contains("id-2"));
}

#[test]
fn the_last_line_says_when_no_email_was_sent() {
    let dry_run = ReportOptions {
        is_dry_run: true,
        has_waited: false,
        shows_all: false,
    };
    let last_line = |options| text(rows(), options).lines().last().unwrap().to_owned();
    let line = last_line(dry_run);
    assert!(line.starts_with("would invite 3 of 6: "), "{line}");
    assert!(line.ends_with("; emails: none in a dry run"), "{line}");
    let not_waited = ReportOptions {
        is_dry_run: false,
        ..dry_run
    };
    let line = last_line(not_waited);
    assert!(line.ends_with("; emails: 3 queued"), "{line}");
}

#[test]
fn a_refused_row_or_a_failed_email_makes_the_exit_status_partial() {
    let exit = |from, to| report(rows()[from..to].to_vec()).exit();
    assert_eq!(exit(0, 1), Exit::Done);
    assert_eq!(exit(5, 6), Exit::Done, "a deferred email has not failed");
    assert_eq!(exit(0, 2), Exit::Partial);
    assert_eq!(exit(2, 3), Exit::Partial);
}

#[test]
fn a_long_list_is_counted_but_not_kept() {
    let mut report = SendReport::default();
    for line in 0..30_000 {
        report.add(accepted(
            line,
            "a@b.co",
            RowOutcome::Created,
            DeliveryState::Queued,
        ));
        report.add(refused(line, "plain", "EMAIL_INVALID", "is not an address"));
    }
    assert_eq!(report.rows.len(), ROWS_KEPT_MAX + REFUSED_KEPT_MAX);
    report.deliveries = DeliveryCounts::default();
    report.deliveries.add(DeliveryState::Failed, 7);
    let mut out = Vec::new();
    report.write(WAITED, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("invited 30000 of 60000: "), "{out}");
    assert!(
        out.contains("24007 more rows are not shown; --report"),
        "{out}"
    );
}
