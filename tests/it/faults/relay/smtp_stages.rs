//! Every kind of bad reply at every stage of an SMTP transaction. A relay with PIPELINING and one without lead to the same
//! outcome, and no reply is attributed to another command.

use invitations::mail::send_error::{FailureAction, SendStage};

use crate::support::relay::{RelayAction, SmtpStep};
use crate::support::smtp_session::{
    PIPELINING, deliver, message, plain_session, recipients, send_error,
    session_with_short_timeouts, start_relay,
};

use FailureAction::{Discard, PauseLane, Retry};

/// The commands whose reply decides about an email, and the stage of their errors.
const STAGES: [(SmtpStep, SendStage); 4] = [
    (SmtpStep::Mail, SendStage::MailFrom),
    (SmtpStep::Rcpt, SendStage::RcptTo),
    (SmtpStep::Data, SendStage::Data),
    (SmtpStep::Message, SendStage::FinalReply),
];

fn say(reply: &str) -> RelayAction {
    RelayAction::Reply(reply.to_owned())
}

/// Replies, and the fate that each of them means at the four stages.
fn answers() -> Vec<(RelayAction, [FailureAction; 4])> {
    let pieces = |pieces: &[&str]| {
        RelayAction::ReplyInPieces(
            pieces
                .iter()
                .map(|piece| piece.as_bytes().to_vec())
                .collect(),
        )
    };
    let refused = [PauseLane, Discard, Discard, Discard];
    let put_off = [PauseLane, Retry, Retry, Retry];
    let broken = [PauseLane, PauseLane, PauseLane, Retry];
    vec![
        (say("451 4.3.0 later"), put_off),
        (say("550 5.7.1 no"), refused),
        (
            RelayAction::ReplyAndClose("421 4.3.2 closing".to_owned()),
            [PauseLane; 4],
        ),
        (say("421 4.3.2 closing"), [PauseLane; 4]),
        (RelayAction::Close, broken),
        (RelayAction::Reset, broken),
        (RelayAction::Silence, put_off),
        // Split or long, but valid.
        (
            say("550-5.7.1 no\r\n550-5.7.1 and\r\n550 5.7.1 again no"),
            refused,
        ),
        (pieces(&["55", "0 5.7.1 n", "o\r", "\n"]), refused),
        (pieces(&["450-4.2.0 not\r\n", "450 4.2.0 now\r\n"]), put_off),
        // Not a valid reply.
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
async fn relays_with_and_without_pipelining_lead_to_the_same_outcome_at_every_stage() {
    for (act, fates) in answers() {
        for ((on, stage), fate) in STAGES.into_iter().zip(fates) {
            let mut errors = Vec::new();
            for is_pipelining in PIPELINING {
                let relay = start_relay(is_pipelining).await;
                relay.act_once(on, act.clone());
                let mut session = if is_slow(&act) {
                    session_with_short_timeouts(&relay)
                } else {
                    plain_session(&relay)
                };
                let error = send_error(&mut session, &message(1)).await;
                assert_eq!((error.action, error.stage), (fate, stage), "{on:?} {act:?}");
                deliver(&mut session, 2).await;
                // The relay may have received the refused message too.
                let second = recipients(&relay).pop();
                assert_eq!(second.as_deref(), Some("RCPT TO:<reader2@example.com>"));
                errors.push(error);
            }
            assert_eq!(errors[0], errors[1], "{on:?} {act:?}");
        }
    }
}

#[tokio::test]
async fn two_replies_to_one_command_never_accept_an_email() {
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
                // The additional reply may look like the reply to DATA. The client has then sent the message, and the
                // result is ambiguous.
                assert!(
                    error.action == PauseLane || error.is_ambiguous(),
                    "{on:?} {reply}: {error}"
                );
                deliver(&mut session, 2).await;
                assert_eq!(relay.connections().len(), 2, "{on:?} {reply}");
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_followed_by_another_reply_closes_the_connection() {
    for is_pipelining in PIPELINING {
        for behind in ["250 2.0.0 ok", "550 5.7.1 no", "354 go on"] {
            let relay = start_relay(is_pipelining).await;
            relay.reply_once(SmtpStep::Rcpt, &format!("550 5.1.1 unknown\r\n{behind}"));
            let mut session = plain_session(&relay);
            let error = send_error(&mut session, &message(1)).await;
            assert_eq!((error.action, error.stage), (Discard, SendStage::RcptTo));
            // The next send fails only if the additional reply has arrived by then.
            let _ = session.send(&message(2)).await;
            deliver(&mut session, 3).await;
            assert!(relay.connections().len() > 1, "{behind}");
        }
    }
}
