//! The table of what a reply means, row by row.

use super::*;

#[test]
fn a_reply_is_judged_by_stage_and_code() {
    use Fate::{Discard, LaneDown, Retry};
    let cases = [
        (Stage::Greeting, 554, "no", LaneDown),
        (Stage::Auth, 535, "5.7.8 bad credentials", LaneDown),
        (Stage::MailFrom, 550, "5.7.1 no", LaneDown),
        (Stage::MailFrom, 451, "4.3.0 later", LaneDown),
        (Stage::RcptTo, 421, "4.7.0 closing", LaneDown),
        (Stage::FinalReply, 421, "closing", LaneDown),
        (Stage::RcptTo, 450, "4.2.0 greylisted", Retry),
        (Stage::RcptTo, 452, "4.5.3 too many", Retry),
        (Stage::RcptTo, 550, "5.1.1 no such user", Discard),
        (Stage::RcptTo, 552, "5.2.2 full", Retry),
        (Stage::RcptTo, 552, "full", Retry),
        (Stage::FinalReply, 554, "5.2.2 full", Retry),
        (Stage::FinalReply, 552, "5.3.4 too big", Discard),
        (Stage::Data, 503, "bad sequence", Discard),
        (Stage::FinalReply, 554, "5.7.1 spam", Discard),
        (Stage::FinalReply, 451, "4.7.1 later", Retry),
    ];
    for (stage, code, text, fate) in cases {
        let error = SendError::reply(stage, code, text);
        assert_eq!(error.fate, fate, "{stage:?} {code} {text}");
        assert!(!error.is_ambiguous());
    }
}

#[test]
fn silence_is_ambiguous_only_after_the_final_dot() {
    let before = SendError::broken(Stage::Body, "gone");
    let after = SendError::broken(Stage::FinalReply, "gone");
    assert_eq!(
        (before.fate, before.is_ambiguous()),
        (Fate::LaneDown, false)
    );
    assert_eq!((after.fate, after.is_ambiguous()), (Fate::Retry, true));
    let odd = SendError::out_of_step(Stage::FinalReply, 354, "go on");
    assert_eq!((odd.fate, odd.is_ambiguous()), (Fate::Retry, true));
    let silent = SendError::timed_out(Stage::RcptTo);
    assert_eq!((silent.fate, silent.is_ambiguous()), (Fate::Retry, false));
}

#[test]
fn throttling_is_told_from_other_refusals() {
    let is_throttle = |code, text| SendError::reply(Stage::RcptTo, code, text).is_throttle();
    assert!(is_throttle(421, "bye"));
    assert!(is_throttle(450, "4.7.28 rate"));
    assert!(is_throttle(452, "4.5.3 too many recipients"));
    assert!(!is_throttle(450, "4.2.0 greylisted"));
    assert!(!is_throttle(450, "4.7.1 Greylisted, try again later"));
    assert!(!is_throttle(550, "5.7.1 policy"));
}

#[test]
fn an_address_is_called_bad_only_by_a_code_that_says_so() {
    use Verdict::{MailboxDisabled, MailboxFull, NoSuchAddress, None, Other, Policy};
    let rcpt = Stage::RcptTo;
    let dot = Stage::FinalReply;
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
        // Not there yet, or not a code that says so.
        (Stage::MailFrom, 550, "5.1.1 unknown", None),
        (Stage::Data, 550, "5.1.1 unknown", Other),
        (rcpt, 450, "4.1.1 unknown", None),
        (rcpt, 450, "5.1.1 unknown", None),
        (rcpt, 550, "No such user here", Policy),
        (rcpt, 551, "not local", Policy),
        (rcpt, 553, "sorry", Policy),
        (rcpt, 554, "5.1.1 unknown", Other),
        (rcpt, 550, "5.1.4 ambiguous", Other),
        // Postfix says so at RCPT when it does not like the sender.
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
        (Stage::Data, 503, "bad sequence", Other),
        (Stage::Auth, 535, "5.7.8 wrong", None),
        (dot, 421, "4.7.0 closing", None),
    ];
    for (stage, code, text, verdict) in cases {
        let error = SendError::reply(stage, code, text);
        assert_eq!(error.verdict(), verdict, "{stage:?} {code} {text}");
        if verdict == MailboxFull {
            assert_eq!(error.fate, Fate::Retry, "{stage:?} {code} {text}");
        } else if verdict != None {
            assert_eq!(error.fate, Fate::Discard, "{stage:?} {code} {text}");
        }
    }
    let silent = [
        SendError::timed_out(rcpt),
        SendError::garbled(dot),
        SendError::out_of_step(dot, 550, "5.1.1 odd"),
    ];
    assert!(silent.iter().all(|error| error.verdict() == None));
}

#[test]
fn what_waiting_cannot_mend_is_told_from_what_it_can() {
    let is_misconfiguration =
        |stage, code, text| SendError::reply(stage, code, text).is_misconfiguration();
    for code in [530, 534, 535, 538] {
        assert!(is_misconfiguration(Stage::Auth, code, "5.7.8 no"));
    }
    assert!(is_misconfiguration(
        Stage::MailFrom,
        530,
        "5.7.0 authenticate"
    ));
    assert!(!is_misconfiguration(Stage::Auth, 454, "4.7.0 later"));
    assert!(!is_misconfiguration(Stage::RcptTo, 530, "5.7.0 odd"));
    assert!(!is_misconfiguration(Stage::Greeting, 554, "5.7.1 no"));
    assert!(!SendError::timed_out(Stage::Auth).is_misconfiguration());
    let certificate = SendError::misconfigured(Stage::Tls, "expired");
    assert!(certificate.is_misconfiguration() && certificate.fate == Fate::LaneDown);
}

#[test]
fn a_wish_to_wait_is_read_even_where_the_text_is_cut() {
    let long = format!("4.7.1 {} try again in 5 minutes", "x ".repeat(400));
    let cases = [
        (450, "4.2.0 Greylisted, try again in 5 minutes", Some(300)),
        (450, &long, Some(300)),
        (421, "4.7.0 closing, retry in 1 hour", Some(3_600)),
        (450, "4.7.1 Try again later", None),
        // Nothing to try again.
        (550, "5.7.1 try again in 5 minutes", None),
    ];
    for (code, text, seconds) in cases {
        let error = SendError::reply(Stage::RcptTo, code, text);
        assert_eq!(error.retry_after, seconds.map(Duration::from_secs));
    }
}
