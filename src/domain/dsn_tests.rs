use proptest::prelude::*;

use super::*;

const POSTFIX: &str = include_str!("../../tests/fixtures/dsn/postfix.eml");

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../tests/fixtures/dsn/", $name, ".eml"))
    };
}

/// A report with these fields about its recipients.
fn report(recipients: &str) -> String {
    format!(
        "Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n\
         Reporting-MTA: dns; mx\n\n{recipients}\n--b--\n"
    )
}

#[test]
fn reports_of_common_mail_servers_are_parsed() {
    use DsnAction::{Delayed, Failed, Relayed};
    use DsnVerdict::{Bounced, Delayed as Late, Fine, Hard};
    let cases = [
        (fixture!("postfix"), Failed, "5.1.1", Some(550), Hard),
        (fixture!("exim"), Failed, "5.1.1", Some(550), Hard),
        (fixture!("gmail"), Failed, "5.1.1", Some(550), Hard),
        (
            fixture!("exchange-online"),
            Failed,
            "5.1.10",
            Some(550),
            Hard,
        ),
        (
            fixture!("exchange-policy"),
            Failed,
            "5.7.1",
            Some(550),
            Bounced,
        ),
        (fixture!("exim-full"), Failed, "5.2.2", Some(552), Bounced),
        (fixture!("postfix-delayed"), Delayed, "4.4.1", None, Late),
        (fixture!("postfix-relayed"), Relayed, "2.0.0", None, Fine),
    ];
    for (text, action, status, reply_code, verdict) in cases {
        for text in [text.to_owned(), text.replace('\n', "\r\n")] {
            let dsn = Dsn::parse(text.as_bytes()).unwrap();
            let read = (dsn.action, dsn.status.to_string(), dsn.reply_code);
            assert_eq!(read, (action, status.to_owned(), reply_code), "{text}");
            assert_eq!(dsn.verdict(), verdict, "{text}");
            assert!(!dsn.diagnostic.contains('@'), "{}", dsn.diagnostic);
        }
    }
    let dsn = Dsn::parse(POSTFIX.as_bytes()).unwrap();
    assert_eq!(
        dsn.diagnostic,
        "550 5.1.1 <[address]>: Recipient address rejected: User unknown in virtual mailbox table"
    );
}

#[test]
fn other_emails_are_not_reports() {
    let forwarded = format!("Content-Type: message/rfc822\n\n{POSTFIX}");
    let plain = POSTFIX.replace("multipart/report", "text/plain");
    let without_fields = report("X-Nothing: here\n");
    let odd_action = report("Action: exploded\nStatus: 5.1.1\n");
    for text in [
        fixture!("qmail"),
        fixture!("vacation"),
        &forwarded,
        &plain,
        &without_fields,
        &odd_action,
        "",
        "\n",
        "Subject: x",
    ] {
        assert_eq!(Dsn::parse(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn a_report_inside_the_returned_email_is_ignored() {
    let inner = report("Action: failed\nStatus: 5.1.1\n");
    let outer = format!(
        "Content-Type: multipart/report; boundary=o\n\n--o\nContent-Type: message/rfc822\n\n{inner}\n--o--\n"
    );
    assert_eq!(Dsn::parse(outer.as_bytes()), None);
}

#[test]
fn of_several_recipients_the_best_result_counts() {
    let hard = "Final-Recipient: rfc822; a@b.co\nAction: failed\nStatus: 5.1.1\n\n";
    let full = "Final-Recipient: rfc822; c@b.co\nAction: failed\nStatus: 5.2.2\n\n";
    let fine = "Final-Recipient: rfc822; d@b.co\nAction: delivered\nStatus: 2.0.0\n\n";
    for (recipients, verdict) in [
        (hard.to_owned(), DsnVerdict::Hard),
        (format!("{hard}{full}"), DsnVerdict::Bounced),
        (format!("{full}{hard}{fine}"), DsnVerdict::Fine),
    ] {
        let dsn = Dsn::parse(report(&recipients).as_bytes()).unwrap();
        assert_eq!(dsn.verdict(), verdict, "{recipients}");
    }
}

#[test]
fn a_missing_or_vague_status_is_taken_from_the_diagnostic() {
    for (fields, status) in [
        ("Action: failed\n", "5.0.0"),
        ("Action: delayed\n", "4.0.0"),
        (
            "Action: failed\nDiagnostic-Code: smtp; 550 5.1.1 x\n",
            "5.1.1",
        ),
        (
            "Action: failed\nStatus: 5.0.0 (why)\nDiagnostic-Code: smtp; 550 5.1.1 x\n",
            "5.1.1",
        ),
        (
            "Action: failed\nStatus: 5.7.1\nDiagnostic-Code: smtp; 550 5.1.1 x\n",
            "5.7.1",
        ),
        (
            "Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 450 4.1.1 x\n",
            "5.0.0",
        ),
        ("Action: failed\nStatus: nonsense\n", "5.0.0"),
    ] {
        let dsn = Dsn::parse(report(fields).as_bytes()).unwrap();
        assert_eq!(dsn.status.to_string(), status, "{fields}");
    }
}

#[test]
fn a_truncated_report_is_parsed_as_far_as_possible() {
    let at = POSTFIX.find("Content-Description: Undelivered").unwrap();
    let dsn = Dsn::parse(&POSTFIX.as_bytes()[..at]).unwrap();
    assert_eq!(dsn.verdict(), DsnVerdict::Hard);
    let long = format!("{POSTFIX}{}", "x".repeat(MESSAGE_BYTES_MAX));
    assert_eq!(Dsn::parse(long.as_bytes()).unwrap(), dsn);
}

#[test]
fn deeply_nested_emails_do_not_exhaust_the_stack() {
    for level in [
        "Content-Type: message/rfc822\n\n",
        "Content-Type: multipart/digest; boundary=b\n\n--b\n\n",
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n",
    ] {
        let deep = level.repeat(MESSAGE_BYTES_MAX / level.len());
        assert_eq!(Dsn::parse(deep.as_bytes()), None);
        assert_eq!(envelope_recipients(deep.as_bytes()), [""; 0]);
    }
}

#[test]
fn the_recipients_of_an_email_are_read_from_its_headers() {
    let text =
        "X-Original-To: <b@x.co>\nTo: \"A\" <c@x.co>, d@x.co\nDelivered-To: a@x.co\n\nTo: e@x.co\n";
    let found = envelope_recipients(text.as_bytes());
    assert_eq!(found, ["a@x.co", "b@x.co", "c@x.co", "d@x.co"]);
    let exim = envelope_recipients(fixture!("exim").as_bytes());
    assert_eq!(exim, ["bounces+envelope@mail.example.com"; 2]);
}

#[test]
fn an_email_of_many_lines_is_not_parsed() {
    let email = |lines| format!("To: a@x.co\n{}\n", "b:\n".repeat(lines));
    assert_eq!(envelope_recipients(email(10).as_bytes()), ["a@x.co"]);
    assert!(envelope_recipients(email(LINES_MAX).as_bytes()).is_empty());
    let report = format!("{POSTFIX}{}", "\n".repeat(LINES_MAX));
    assert_eq!(Dsn::parse(report.as_bytes()), None);
}

proptest! {
    #[test]
    fn parsing_arbitrary_bytes_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = Dsn::parse(&bytes);
        let _ = envelope_recipients(&bytes);
    }

    #[test]
    fn parsing_a_damaged_report_does_not_panic(
        at in 0..POSTFIX.len(),
        cut in 0..200_usize,
        bytes in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        let mut damaged = POSTFIX.as_bytes().to_vec();
        damaged.splice(at..(at + cut).min(POSTFIX.len()), bytes);
        if let Some(dsn) = Dsn::parse(&damaged) {
            prop_assert!(!dsn.diagnostic.contains('@'));
        }
        let _ = envelope_recipients(&damaged);
    }
}
