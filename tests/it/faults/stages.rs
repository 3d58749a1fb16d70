//! Every way to answer badly, at every stage, by a relay with PIPELINING and one without: what becomes of the mail is
//! the same, and no reply is ever taken for another's.

use invitations::mail::outcome::{Fate, Stage};

use crate::support::relay::{RelayAction, SmtpStep};
use crate::support::smtp_session::{
    PIPELINING, deliver, message, plain_session, recipients, send_error,
    session_with_short_timeouts, start_relay,
};

use Fate::{Discard, LaneDown, Retry};

/// Stages at which a mail is judged, and what an answer there is filed under.
const STAGES: [(SmtpStep, Stage); 4] = [
    (SmtpStep::Mail, Stage::MailFrom),
    (SmtpStep::Rcpt, Stage::RcptTo),
    (SmtpStep::Data, Stage::Data),
    (SmtpStep::Message, Stage::FinalReply),
];

fn say(reply: &str) -> RelayAction {
    RelayAction::Reply(reply.to_owned())
}

/// Answers, and the fates they mean at each of the four stages.
fn answers() -> Vec<(RelayAction, [Fate; 4])> {
    let pieces = |pieces: &[&str]| {
        RelayAction::ReplyInPieces(
            pieces
                .iter()
                .map(|piece| piece.as_bytes().to_vec())
                .collect(),
        )
    };
    let refused = [LaneDown, Discard, Discard, Discard];
    let put_off = [LaneDown, Retry, Retry, Retry];
    let broken = [LaneDown, LaneDown, LaneDown, Retry];
    vec![
        (say("451 4.3.0 later"), put_off),
        (say("550 5.7.1 no"), refused),
        (
            RelayAction::ReplyAndClose("421 4.3.2 closing".to_owned()),
            [LaneDown; 4],
        ),
        (say("421 4.3.2 closing"), [LaneDown; 4]),
        (RelayAction::Close, broken),
        (RelayAction::Reset, broken),
        (RelayAction::Silence, put_off),
        // Mangled, and still a reply.
        (
            say("550-5.7.1 no\r\n550-5.7.1 and\r\n550 5.7.1 again no"),
            refused,
        ),
        (pieces(&["55", "0 5.7.1 n", "o\r", "\n"]), refused),
        (pieces(&["450-4.2.0 not\r\n", "450 4.2.0 now\r\n"]), put_off),
        // Mangled, and none.
        (
            RelayAction::ReplyBytes(b"550 \xe4\xff\r\n".to_vec()),
            put_off,
        ),
        (
            RelayAction::ReplyBytes(b"\x00\x01\x02\r\n".to_vec()),
            broken,
        ),
        (RelayAction::ReplyBytes(b"\r\n".to_vec()), broken),
        (
            RelayAction::ReplyBytes([vec![b'2'; 5_000], b"\r\n".to_vec()].concat()),
            broken,
        ),
        (say("550-5.7.1 no\r\n250 2.0.0 yes"), broken),
        (pieces(&["HTTP/1.1 400 Bad", " Request\r\n"]), broken),
        (say("199 early"), broken),
        (say("600 odd"), broken),
    ]
}

fn is_slow(act: &RelayAction) -> bool {
    matches!(act, RelayAction::Silence)
}

#[tokio::test]
async fn both_kinds_of_relay_are_judged_alike_at_every_stage() {
    for (act, fates) in answers() {
        for ((on, stage), fate) in STAGES.into_iter().zip(fates) {
            let mut judgements = Vec::new();
            for is_pipelining in PIPELINING {
                let relay = start_relay(is_pipelining).await;
                relay.act_once(on, act.clone());
                let mut session = if is_slow(&act) {
                    session_with_short_timeouts(&relay)
                } else {
                    plain_session(&relay)
                };
                let error = send_error(&mut session, &message(1)).await;
                assert_eq!((error.fate, error.stage), (fate, stage), "{on:?} {act:?}");
                deliver(&mut session, 2).await;
                // A message that was refused had been received all the same.
                let second = recipients(&relay).pop();
                assert_eq!(second.as_deref(), Some("RCPT TO:<reader2@example.com>"));
                judgements.push(error);
            }
            assert_eq!(judgements[0], judgements[1], "{on:?} {act:?}");
        }
    }
}

#[tokio::test]
async fn two_replies_at_once_never_accept_a_mail() {
    for is_pipelining in PIPELINING {
        for on in [SmtpStep::Mail, SmtpStep::Rcpt, SmtpStep::Data] {
            for reply in [
                "250 2.0.0 ok\r\n250 2.0.0 ok",
                "354 go on\r\n250 2.0.0 ok",
                "250 2.0.0 ok\r\n354 go on",
            ] {
                let relay = start_relay(is_pipelining).await;
                relay.reply_once(on, reply);
                let mut session = plain_session(&relay);
                let error = send_error(&mut session, &message(1)).await;
                // Where the stray reply is the one that DATA waits for, the message may be on its way: then it is
                // ambiguous, as it has to be.
                assert!(
                    error.fate == LaneDown || error.is_ambiguous(),
                    "{on:?} {reply}: {error}"
                );
                deliver(&mut session, 2).await;
                assert_eq!(relay.connections().len(), 2, "{on:?} {reply}");
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_with_another_reply_behind_it_costs_the_connection() {
    for is_pipelining in PIPELINING {
        for behind in ["250 2.0.0 ok", "550 5.7.1 no", "354 go on"] {
            let relay = start_relay(is_pipelining).await;
            relay.reply_once(SmtpStep::Rcpt, &format!("550 5.1.1 unknown\r\n{behind}"));
            let mut session = plain_session(&relay);
            let error = send_error(&mut session, &message(1)).await;
            assert_eq!((error.fate, error.stage), (Discard, Stage::RcptTo));
            // Whether the next mail is told of the confusion depends on what has arrived when it begins.
            let _ = session.send(&message(2)).await;
            deliver(&mut session, 3).await;
            assert!(relay.connections().len() > 1, "{behind}");
        }
    }
}
