//! Tests of the rules for replies, as tables.

use std::time::Duration;

use super::*;
use crate::mail::send_error::Suspicion;

#[test]
fn stage_and_code_of_a_reply_decide_the_action() {
    use FailureAction::{Discard, PauseLane, Retry};
    let cases = [
        (SendStage::Greeting, 554, "no", PauseLane),
        (SendStage::Auth, 535, "5.7.8 bad credentials", PauseLane),
        (SendStage::MailFrom, 550, "5.7.1 no", PauseLane),
        (SendStage::MailFrom, 451, "4.3.0 later", PauseLane),
        (SendStage::RcptTo, 421, "4.7.0 closing", PauseLane),
        (SendStage::FinalReply, 421, "closing", PauseLane),
        (SendStage::RcptTo, 450, "4.2.0 greylisted", Retry),
        (SendStage::RcptTo, 452, "4.5.3 too many", Retry),
        (SendStage::RcptTo, 550, "5.1.1 no such user", Discard),
        (SendStage::RcptTo, 552, "5.2.2 full", Retry),
        (SendStage::RcptTo, 552, "full", Retry),
        (SendStage::FinalReply, 554, "5.2.2 full", Retry),
        (SendStage::FinalReply, 552, "5.3.4 too big", Discard),
        (SendStage::Data, 503, "bad sequence", Discard),
        (SendStage::FinalReply, 554, "5.7.1 spam", Discard),
        (SendStage::FinalReply, 451, "4.7.1 later", Retry),
    ];
    for (stage, code, text, action) in cases {
        let error = SendError::reply(stage, code, text);
        assert_eq!(error.action, action, "{stage:?} {code} {text}");
        assert!(!error.is_ambiguous());
    }
}

#[test]
fn a_missing_reply_is_ambiguous_only_after_the_final_dot() {
    let before = SendError::broken(SendStage::Body, "gone");
    let after = SendError::broken(SendStage::FinalReply, "gone");
    assert_eq!(
        (before.action, before.is_ambiguous()),
        (FailureAction::PauseLane, false)
    );
    assert_eq!(
        (after.action, after.is_ambiguous()),
        (FailureAction::Retry, true)
    );
    let odd = SendError::out_of_sync(SendStage::FinalReply, 354, "go on");
    assert_eq!(
        (odd.action, odd.is_ambiguous()),
        (FailureAction::Retry, true)
    );
    let silent = SendError::timed_out(SendStage::RcptTo);
    assert_eq!(
        (silent.action, silent.is_ambiguous()),
        (FailureAction::Retry, false)
    );
}

#[test]
fn throttling_differs_from_other_refusals() {
    let is_throttle = |code, text| SendError::reply(SendStage::RcptTo, code, text).is_throttle();
    assert!(!is_throttle(421, "4.7.0 too much mail"));
    assert!(!is_throttle(421, "bye"));
    assert!(is_throttle(450, "4.7.28 rate"));
    assert!(is_throttle(452, "4.5.3 too many recipients"));
    assert!(!is_throttle(450, "4.2.0 greylisted"));
    assert!(!is_throttle(450, "4.7.1 Greylisted, try again later"));
    assert!(!is_throttle(550, "5.7.1 policy"));
}

#[test]
fn temporary_failures_concern_the_server_or_the_recipient() {
    use Suspicion::{Server, Unclear};
    let rcpt = SendStage::RcptTo;
    let cases = [
        (rcpt, 450, "4.3.2 not accepting messages", Some(Server)),
        (rcpt, 452, "4.3.1 no space", Some(Server)),
        (rcpt, 451, "4.3.0 try again in 5 minutes", Some(Server)),
        (SendStage::FinalReply, 451, "4.3.0 queue", Some(Server)),
        (SendStage::Data, 451, "local error", Some(Server)),
        (rcpt, 452, "no space", Some(Server)),
        (rcpt, 450, "4.7.1 too much mail", Some(Server)),
        (rcpt, 452, "4.3.4 too big", Some(Unclear)),
        (rcpt, 450, "busy", Some(Unclear)),
        (rcpt, 450, "4.2.0 busy", Some(Unclear)),
        (rcpt, 451, "4.4.1 no answer from the host", Some(Unclear)),
        // The server judged the email.
        (rcpt, 450, "4.2.0 greylisted", None),
        (rcpt, 451, "Greylisted", None),
        (rcpt, 450, "4.2.1 try again in 5 minutes", None),
        (rcpt, 550, "5.1.1 unknown", None),
        (rcpt, 552, "5.2.2 full", None),
        (rcpt, 550, "5.7.1 no", None),
    ];
    for (stage, code, text, suspicion) in cases {
        let error = SendError::reply(stage, code, text);
        assert_eq!(error.suspicion(), suspicion, "{code} {text}");
        let is_counted = suspicion != Some(Server) || error.is_throttle();
        assert_eq!(!error.is_server_failure(), is_counted, "{code} {text}");
    }
    for silent in [
        SendError::timed_out(rcpt),
        SendError::broken(SendStage::FinalReply, "gone"),
    ] {
        assert_eq!(silent.suspicion(), Some(Server));
        assert!(!silent.is_server_failure(), "the email may be the cause");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn only_an_explicit_code_marks_an_address_as_bad() {
    use RefusalReason::{MailboxDisabled, MailboxFull, NoSuchAddress, None, Other, Policy};
    let rcpt = SendStage::RcptTo;
    let dot = SendStage::FinalReply;
    let cases = [
        (rcpt, 550, "5.1.1 unknown", NoSuchAddress),
        (dot, 550, "5.1.1 unknown", NoSuchAddress),
        (rcpt, 550, "5.1.0 address rejected", NoSuchAddress),
        (rcpt, 550, "5.1.2 bad system", NoSuchAddress),
        (rcpt, 553, "5.1.3 bad syntax", NoSuchAddress),
        (rcpt, 551, "5.1.6 moved", NoSuchAddress),
        (
            rcpt,
            550,
            "5.1.10 RESOLVER.ADR.RecipientNotFound; not found",
            NoSuchAddress,
        ),
        (rcpt, 556, "5.1.10 null MX", NoSuchAddress),
        // Too early in the conversation, or a code with another meaning.
        (SendStage::MailFrom, 550, "5.1.1 unknown", None),
        (SendStage::Data, 550, "5.1.1 unknown", Other),
        (rcpt, 450, "4.1.1 unknown", None),
        (rcpt, 450, "5.1.1 unknown", None),
        (rcpt, 550, "No such user here", Policy),
        (rcpt, 551, "not local", Policy),
        (rcpt, 553, "sorry", Policy),
        (rcpt, 554, "5.1.1 unknown", Other),
        (rcpt, 550, "5.1.4 ambiguous", Other),
        // Postfix refuses an unknown sender at RCPT.
        (
            rcpt,
            550,
            "5.1.0 <x@y.zz>: Sender address rejected: User unknown in local recipient table",
            Policy,
        ),
        (rcpt, 450, "4.1.8 Sender address rejected: not found", None),
        (
            rcpt,
            550,
            "5.1.8 Sender address rejected: not found",
            Policy,
        ),
        (rcpt, 550, "5.1.7 bad sender", Policy),
        (rcpt, 550, "5.2.1 disabled", MailboxDisabled),
        (dot, 554, "5.2.1 disabled", MailboxDisabled),
        (
            rcpt,
            550,
            "5.2.1 The user is receiving mail at a rate that prevents more",
            Policy,
        ),
        (rcpt, 552, "5.2.2 full", MailboxFull),
        (dot, 554, "5.2.2 full", MailboxFull),
        (rcpt, 552, "full", MailboxFull),
        (rcpt, 452, "4.2.2 full", None),
        (rcpt, 550, "5.7.1 blocked", Policy),
        (dot, 554, "5.7.1 spam", Policy),
        (dot, 554, "looks like spam", Policy),
        (dot, 554, "5.6.0 rejected by a filter", Policy),
        (rcpt, 554, "no", Other),
        (dot, 552, "5.3.4 too big", Other),
        (dot, 554, "5.3.4 too big", Other),
        (SendStage::Data, 503, "bad sequence", Other),
        (SendStage::Auth, 535, "5.7.8 wrong", None),
        (dot, 421, "4.7.0 closing", None),
    ];
    for (stage, code, text, reason) in cases {
        let error = SendError::reply(stage, code, text);
        assert_eq!(error.refusal_reason, reason, "{stage:?} {code} {text}");
        if reason == MailboxFull {
            assert_eq!(
                error.action,
                FailureAction::Retry,
                "{stage:?} {code} {text}"
            );
        } else if reason != None {
            assert_eq!(
                error.action,
                FailureAction::Discard,
                "{stage:?} {code} {text}"
            );
        }
    }
    let silent = [
        SendError::timed_out(rcpt),
        SendError::garbled(dot),
        SendError::out_of_sync(dot, 550, "5.1.1 odd"),
    ];
    assert!(silent.iter().all(|error| error.refusal_reason == None));
}

#[test]
fn a_misconfiguration_differs_from_a_temporary_failure() {
    let is_misconfiguration =
        |stage, code, text| SendError::reply(stage, code, text).is_misconfiguration;
    for code in [530, 534, 535, 538] {
        assert!(is_misconfiguration(SendStage::Auth, code, "5.7.8 no"));
    }
    assert!(is_misconfiguration(
        SendStage::MailFrom,
        530,
        "5.7.0 authenticate"
    ));
    assert!(!is_misconfiguration(SendStage::Auth, 454, "4.7.0 later"));
    assert!(!is_misconfiguration(SendStage::RcptTo, 530, "5.7.0 odd"));
    assert!(!is_misconfiguration(SendStage::Greeting, 554, "5.7.1 no"));
    assert!(!SendError::timed_out(SendStage::Auth).is_misconfiguration);
    let certificate = SendError::misconfigured(SendStage::Tls, "expired");
    assert!(certificate.is_misconfiguration && certificate.action == FailureAction::PauseLane);
}

#[test]
fn a_requested_wait_is_read_from_the_uncut_text() {
    let long = format!("4.7.1 {} try again in 5 minutes", "x ".repeat(400));
    let cases = [
        (450, "4.2.0 Greylisted, try again in 5 minutes", Some(300)),
        (450, &long, Some(300)),
        (421, "4.7.0 closing, retry in 1 hour", Some(3_600)),
        (450, "4.7.1 Try again later", None),
        // A permanent refusal is not retried.
        (550, "5.7.1 try again in 5 minutes", None),
    ];
    for (code, text, seconds) in cases {
        let error = SendError::reply(SendStage::RcptTo, code, text);
        assert_eq!(error.retry_after, seconds.map(Duration::from_secs));
    }
}
