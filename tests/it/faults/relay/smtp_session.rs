//! The SMTP session with a relay that refuses, answers incorrectly or closes the connection. Every case is a real
//! conversation over TCP.

use std::time::Duration;

use invitations::mail::send_error::{FailureAction, SendStage};
use invitations::mail::smtp::SmtpTls;

use crate::support::relay::{Encryption, Relay, RelayAction, SmtpStep};
use crate::support::smtp_session::{
    PIPELINING, SHORT_TIMEOUT, deliver, message, message_with_note, open_session, plain_session,
    recipients, send_error, session_with_short_timeouts, smtp_config, start_relay,
};

#[tokio::test]
async fn a_refused_recipient_keeps_the_connection_open() {
    for is_pipelining in PIPELINING {
        let relay = start_relay(is_pipelining).await;
        relay
            .reply_once(SmtpStep::Rcpt, "450 4.2.0 greylisted")
            .reply_once(SmtpStep::Rcpt, "550 5.1.1 <reader2@example.com> unknown");
        let mut session = plain_session(&relay);
        let greylisted = send_error(&mut session, &message(1)).await;
        assert_eq!(
            (greylisted.action, greylisted.reply_code),
            (FailureAction::Retry, Some(450))
        );
        let unknown = send_error(&mut session, &message(2)).await;
        assert_eq!(
            (unknown.action, unknown.stage),
            (FailureAction::Discard, SendStage::RcptTo)
        );
        assert_eq!(unknown.text, "5.1.1 <[address]> unknown");
        deliver(&mut session, 3).await;
        let connections = relay.connections();
        assert_eq!(connections.len(), 1);
        let expected = if is_pipelining {
            "EHLO EHLO MAIL RCPT DATA RSET MAIL RCPT DATA RSET MAIL RCPT DATA"
        } else {
            "EHLO EHLO MAIL RCPT RSET MAIL RCPT RSET MAIL RCPT DATA"
        };
        assert_eq!(connections[0].verbs.join(" "), expected);
        assert_eq!(recipients(&relay), ["RCPT TO:<reader3@example.com>"]);
    }
}

#[tokio::test]
async fn a_refused_message_keeps_the_connection_open() {
    for is_pipelining in PIPELINING {
        let relay = start_relay(is_pipelining).await;
        relay
            .reply_once(SmtpStep::Data, "451 4.3.0 later")
            .reply_once(SmtpStep::Message, "554 5.7.1 spam")
            .reply_once(SmtpStep::Message, "552 5.2.2 full");
        let mut session = plain_session(&relay);
        let expected = [
            (FailureAction::Retry, SendStage::Data),
            (FailureAction::Discard, SendStage::FinalReply),
            (FailureAction::Retry, SendStage::FinalReply),
        ];
        for (number, (fate, stage)) in (1..).zip(expected) {
            let error = send_error(&mut session, &message(number)).await;
            assert_eq!((error.action, error.stage), (fate, stage));
            assert!(!error.is_ambiguous());
        }
        deliver(&mut session, 4).await;
        assert_eq!(relay.connections().len(), 1);
    }
}

#[tokio::test]
async fn a_late_reply_is_never_attributed_to_the_next_email() {
    for is_pipelining in PIPELINING {
        for (on, stage, fate) in [
            (
                SmtpStep::Mail,
                SendStage::MailFrom,
                FailureAction::PauseLane,
            ),
            (SmtpStep::Rcpt, SendStage::RcptTo, FailureAction::Retry),
            (SmtpStep::Data, SendStage::Data, FailureAction::Retry),
            (
                SmtpStep::Message,
                SendStage::FinalReply,
                FailureAction::Retry,
            ),
        ] {
            let relay = start_relay(is_pipelining).await;
            let late = "550 5.1.1 meant for the first".to_owned();
            relay.act_once(on, RelayAction::ReplyLate(SHORT_TIMEOUT * 2, late));
            let mut session = session_with_short_timeouts(&relay);
            let error = send_error(&mut session, &message(1)).await;
            assert_eq!((error.stage, error.action), (stage, fate), "{on:?}");
            assert_eq!(error.is_ambiguous(), on == SmtpStep::Message);
            session.send(&message(2)).await.unwrap();
            assert_eq!(relay.connections().len(), 2, "{on:?}");
        }
    }
}

#[tokio::test]
async fn a_canceled_send_closes_its_connection() {
    for is_pipelining in PIPELINING {
        let relay = start_relay(is_pipelining).await;
        relay.act_once(SmtpStep::Data, RelayAction::Silence);
        let mut session = plain_session(&relay);
        let first = message(1);
        let at_data = async {
            while !relay
                .connections()
                .iter()
                .any(|connection| connection.verbs.iter().any(|verb| verb == "DATA"))
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            _ = session.send(&first) => panic!("it was answered"),
            () = at_data => {}
        }
        assert_eq!(session.idle_deadline(), None);
        deliver(&mut session, 2).await;
        assert_eq!(relay.connections().len(), 2);
        assert_eq!(recipients(&relay), ["RCPT TO:<reader2@example.com>"]);
    }
}

#[tokio::test]
async fn only_reply_250_after_the_final_dot_is_success() {
    for is_pipelining in PIPELINING {
        for reply in ["354 go on", "251 forwarded", "220 hello"] {
            let relay = start_relay(is_pipelining).await;
            relay.reply_once(SmtpStep::Message, reply);
            let mut session = plain_session(&relay);
            let error = send_error(&mut session, &message(1)).await;
            assert_eq!(
                (error.action, error.stage),
                (FailureAction::Retry, SendStage::FinalReply)
            );
            assert!(error.is_ambiguous(), "{reply}");
            assert_eq!(session.idle_deadline(), None, "kept after {reply}");
        }
    }
}

#[tokio::test]
async fn an_unexpected_positive_reply_ends_the_connection() {
    for is_pipelining in PIPELINING {
        for (on, reply) in [
            (SmtpStep::Mail, "354 go on"),
            (SmtpStep::Rcpt, "354 go on"),
            (SmtpStep::Data, "250 ok"),
        ] {
            let relay = start_relay(is_pipelining).await;
            relay.reply_once(on, reply);
            let mut session = plain_session(&relay);
            let error = send_error(&mut session, &message(1)).await;
            assert_eq!(error.action, FailureAction::PauseLane, "{on:?}");
            deliver(&mut session, 2).await;
            assert_eq!(relay.connections().len(), 2);
        }
    }
}

#[tokio::test]
async fn reply_421_on_a_new_connection_is_a_lane_failure() {
    for is_pipelining in PIPELINING {
        for on in [
            SmtpStep::Greeting,
            SmtpStep::Mail,
            SmtpStep::Rcpt,
            SmtpStep::Data,
            SmtpStep::Message,
        ] {
            let relay = start_relay(is_pipelining).await;
            relay.act_once(
                on,
                RelayAction::ReplyAndClose("421 4.3.2 closing".to_owned()),
            );
            let mut session = plain_session(&relay);
            let error = send_error(&mut session, &message(1)).await;
            assert_eq!(
                (error.action, error.reply_code),
                (FailureAction::PauseLane, Some(421)),
                "{on:?}"
            );
            assert!(!error.is_throttle() && !error.is_ambiguous());
            deliver(&mut session, 2).await;
        }
    }
}

#[tokio::test]
async fn a_used_connection_that_the_server_closes_is_replaced_at_every_stage() {
    let ends = [
        RelayAction::ReplyAndClose("421 4.3.2 closing".to_owned()),
        RelayAction::Reply("421 4.7.0 too many messages".to_owned()),
        RelayAction::Close,
        RelayAction::Reset,
    ];
    for is_pipelining in PIPELINING {
        for end in &ends {
            for on in [
                SmtpStep::Mail,
                SmtpStep::Rcpt,
                SmtpStep::Data,
                SmtpStep::Message,
            ] {
                let relay = start_relay(is_pipelining).await;
                let mut session = plain_session(&relay);
                deliver(&mut session, 1).await;
                relay.act_once(on, end.clone());
                let sent = session.send(&message(2)).await;
                let has_reply = !matches!(end, RelayAction::Close | RelayAction::Reset);
                if on == SmtpStep::Message && !has_reply {
                    // The relay may have accepted the message, so it is not repeated here.
                    assert!(sent.unwrap_err().is_ambiguous(), "{end:?}");
                    assert_eq!(relay.received_count(), 2, "{end:?}");
                    continue;
                }
                sent.unwrap();
                assert_eq!(relay.connections().len(), 2, "{on:?} {end:?}");
                let copies = recipients(&relay);
                let copies = copies.iter().filter(|rcpt| rcpt.contains("reader2"));
                let refused = usize::from(on == SmtpStep::Message);
                assert_eq!(copies.count(), 1 + refused, "{on:?} {end:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_says_goodbye_and_waits_does_not_delay_the_next_email() {
    let relay = Relay::start(Encryption::None).await;
    let goodbye = "250 2.0.0 queued\r\n421 4.7.0 too many messages";
    relay
        .reply_once(SmtpStep::Message, goodbye)
        .act_always(SmtpStep::Quit, RelayAction::Silence);
    let mut session = plain_session(&relay);
    deliver(&mut session, 1).await;
    deliver(&mut session, 2).await;
    let connections = relay.connections();
    assert_eq!((connections.len(), relay.received_count()), (2, 2));
    assert!(
        !connections[0].verbs.contains(&"QUIT".to_owned()),
        "the session waits for a reply to QUIT"
    );
}

#[tokio::test]
async fn a_failure_before_the_recipient_is_a_lane_failure() {
    for (on, reply) in [
        (SmtpStep::Greeting, "554 5.7.1 go away"),
        (SmtpStep::Ehlo, "550 5.7.1 bad name"),
        (SmtpStep::Mail, "550 5.7.1 not you"),
        (SmtpStep::Mail, "451 4.3.0 later"),
        (SmtpStep::Greeting, "HTTP/1.1 400 Bad Request"),
    ] {
        let relay = Relay::start(Encryption::None).await;
        relay.act_once(on, RelayAction::ReplyAndClose(reply.to_owned()));
        let error = send_error(&mut plain_session(&relay), &message(1)).await;
        assert_eq!(error.action, FailureAction::PauseLane, "{on:?} {reply}");
    }
    let relay = Relay::start(Encryption::None).await;
    let mut session = plain_session(&relay);
    drop(relay);
    let error = send_error(&mut session, &message(1)).await;
    assert_eq!(
        (error.action, error.stage),
        (FailureAction::PauseLane, SendStage::Connect)
    );
}

#[tokio::test]
async fn a_server_without_a_greeting_times_out() {
    let relay = Relay::start(Encryption::None).await;
    relay.act_once(SmtpStep::Greeting, RelayAction::Silence);
    let mut config = smtp_config(&relay, SmtpTls::None);
    config.timeouts.greeting = SHORT_TIMEOUT;
    let error = send_error(&mut open_session(config), &message(1)).await;
    assert_eq!(
        (error.action, error.stage),
        (FailureAction::PauseLane, SendStage::Greeting)
    );
}

#[tokio::test]
async fn a_reply_that_is_not_text_fails_the_attempt_and_closes_the_connection() {
    for is_pipelining in PIPELINING {
        let relay = start_relay(is_pipelining).await;
        let latin_1 = b"550 5.1.1 Empf\xe4nger unbekannt\r\n".to_vec();
        relay.act_once(SmtpStep::Rcpt, RelayAction::ReplyBytes(latin_1));
        let mut session = plain_session(&relay);
        let error = send_error(&mut session, &message(1)).await;
        assert_eq!(
            (error.action, error.stage),
            (FailureAction::Retry, SendStage::RcptTo)
        );
        deliver(&mut session, 2).await;
        assert_eq!(relay.connections().len(), 2);
    }
}

#[tokio::test]
async fn a_connection_lost_after_the_final_dot_is_ambiguous_and_before_it_is_not() {
    for is_pipelining in PIPELINING {
        let relay = start_relay(is_pipelining).await;
        relay
            .act_once(SmtpStep::Rcpt, RelayAction::Close)
            .act_once(SmtpStep::Message, RelayAction::Close);
        let mut session = plain_session(&relay);
        let before = send_error(&mut session, &message(1)).await;
        assert_eq!(
            (before.action, before.is_ambiguous()),
            (FailureAction::PauseLane, false)
        );
        let after = send_error(&mut session, &message(1)).await;
        assert_eq!(
            (after.action, after.is_ambiguous()),
            (FailureAction::Retry, true)
        );
        deliver(&mut session, 1).await;

        // Longer than the socket buffers, so that the client notices the loss before the final dot.
        let long = message_with_note(2, &"long ".repeat(200_000));
        relay.act_once(
            SmtpStep::Data,
            RelayAction::ReplyAndClose("354 go on".to_owned()),
        );
        let amid = send_error(&mut plain_session(&relay), &long).await;
        assert!(amid.action == FailureAction::PauseLane && amid.stage < SendStage::FinalReply);
    }
}

#[tokio::test]
async fn a_server_that_sends_an_extra_reply_receives_no_further_command() {
    for is_pipelining in PIPELINING {
        let relay = start_relay(is_pipelining).await;
        relay.reply_once(
            SmtpStep::Message,
            "250 2.0.0 queued\r\n250 2.0.0 and the next one too",
        );
        let mut session = plain_session(&relay);
        deliver(&mut session, 1).await;
        deliver(&mut session, 2).await;
        assert_eq!(relay.connections().len(), 2);
        assert_eq!(relay.received().len(), 2);
    }
}

#[tokio::test]
async fn a_reused_connection_that_the_server_closed_is_replaced_once() {
    for is_pipelining in PIPELINING {
        let relay = start_relay(is_pipelining).await;
        relay
            .reply_once(SmtpStep::Mail, "250 2.1.0 ok")
            .act_once(SmtpStep::Mail, RelayAction::Close)
            .reply_once(SmtpStep::Mail, "250 2.1.0 ok")
            .act_once(SmtpStep::Mail, RelayAction::Close)
            .act_once(SmtpStep::Mail, RelayAction::Close);
        let mut session = plain_session(&relay);
        deliver(&mut session, 1).await;
        deliver(&mut session, 2).await;
        assert_eq!(relay.connections().len(), 2);
        // The client reconnects only once. If the new connection is closed as well, the lane has failed.
        let error = send_error(&mut session, &message(3)).await;
        assert_eq!(
            (error.action, error.stage),
            (FailureAction::PauseLane, SendStage::MailFrom)
        );
        assert_eq!(relay.connections().len(), 3);
    }
}
