//! The SMTP session against a relay that misbehaves. Every case is a real conversation over TCP.

use std::time::Duration;

use invitations::mail::outcome::{Fate, Stage};
use invitations::mail::smtp::{SmtpConfigError, SmtpLimits, SmtpTls, SmtpTransport};

use crate::support::relay::{Encryption, Relay, RelayAction, SmtpStep};
use crate::support::smtp_session::{
    PIPELINING, SHORT_TIMEOUT, deliver, message, message_with_note, open_session, plain_session,
    recipients, send_error, session_with_short_timeouts, smtp_config, start_relay,
};

#[tokio::test]
async fn a_mail_is_delivered_byte_for_byte() {
    for is_pipelining in PIPELINING {
        let relay = start_relay(is_pipelining).await;
        relay.reply_once(
            SmtpStep::Message,
            "250 2.0.0 Ok <reader1@example.com> queued as 4Fx",
        );
        let mut session = plain_session(&relay);
        assert_eq!(session.idle_deadline(), None);
        // In a task of its own, as a lane has it: the future must be able to move between threads.
        let lane = tokio::spawn(async move { (session.send(&message(1)).await, session) });
        let (accepted, mut session) = lane.await.unwrap();
        let accepted = accepted.unwrap();
        assert_eq!(accepted.reply, "2.0.0 Ok <[address]> queued as 4Fx");
        assert!(session.idle_deadline().is_some());
        session.close().await;
        let seen = relay.connections();
        assert_eq!(
            seen[0].verbs,
            ["EHLO", "EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
        );
        assert!(seen[0].bytes.starts_with(b"EHLO worker.acme.example\r\n"));
        assert_eq!(relay.received()[0].unstuffed(), message(1).bytes());
        assert_eq!(recipients(&relay), ["RCPT TO:<reader1@example.com>"]);
    }
}

#[tokio::test]
async fn lines_that_begin_with_a_dot_are_stuffed() {
    // The style sheet gives such a line to every mail.
    let mail = message(1);
    let lines = |bytes: &[u8], start: &[u8]| {
        let lines = bytes.split(|byte| *byte == b'\n');
        lines.filter(|line| line.starts_with(start)).count()
    };
    let dots = lines(mail.bytes(), b".");
    assert!(dots > 0 && lines(mail.bytes(), b"..") == 0);
    let relay = Relay::start(Encryption::None).await;
    plain_session(&relay).send(&mail).await.unwrap();
    let wire = relay.received().remove(0).wire;
    assert_eq!(lines(&wire, b".."), dots);
    assert_eq!(lines(&wire, b"."), dots);
}

#[tokio::test]
async fn a_refused_recipient_costs_no_connection() {
    for is_pipelining in PIPELINING {
        let relay = start_relay(is_pipelining).await;
        relay
            .reply_once(SmtpStep::Rcpt, "450 4.2.0 greylisted")
            .reply_once(SmtpStep::Rcpt, "550 5.1.1 <reader2@example.com> unknown");
        let mut session = plain_session(&relay);
        let greylisted = send_error(&mut session, &message(1)).await;
        assert_eq!(
            (greylisted.fate, greylisted.reply_code),
            (Fate::Retry, Some(450))
        );
        let unknown = send_error(&mut session, &message(2)).await;
        assert_eq!(
            (unknown.fate, unknown.stage),
            (Fate::Discard, Stage::RcptTo)
        );
        assert_eq!(unknown.text, "5.1.1 <[address]> unknown");
        deliver(&mut session, 3).await;
        let seen = relay.connections();
        assert_eq!(seen.len(), 1);
        let expected = if is_pipelining {
            "EHLO EHLO MAIL RCPT DATA RSET MAIL RCPT DATA RSET MAIL RCPT DATA"
        } else {
            "EHLO EHLO MAIL RCPT RSET MAIL RCPT RSET MAIL RCPT DATA"
        };
        assert_eq!(seen[0].verbs.join(" "), expected);
        assert_eq!(recipients(&relay), ["RCPT TO:<reader3@example.com>"]);
    }
}

#[tokio::test]
async fn a_refused_message_costs_no_connection() {
    for is_pipelining in PIPELINING {
        let relay = start_relay(is_pipelining).await;
        relay
            .reply_once(SmtpStep::Data, "451 4.3.0 later")
            .reply_once(SmtpStep::Message, "554 5.7.1 spam")
            .reply_once(SmtpStep::Message, "552 5.2.2 full");
        let mut session = plain_session(&relay);
        let expected = [
            (Fate::Retry, Stage::Data),
            (Fate::Discard, Stage::FinalReply),
            (Fate::Retry, Stage::FinalReply),
        ];
        for (number, (fate, stage)) in (1..).zip(expected) {
            let error = send_error(&mut session, &message(number)).await;
            assert_eq!((error.fate, error.stage), (fate, stage));
            assert!(!error.is_ambiguous());
        }
        deliver(&mut session, 4).await;
        assert_eq!(relay.connections().len(), 1);
    }
}

#[tokio::test]
async fn a_late_reply_is_never_credited_to_the_next_mail() {
    for is_pipelining in PIPELINING {
        for (on, stage, fate) in [
            (SmtpStep::Mail, Stage::MailFrom, Fate::LaneDown),
            (SmtpStep::Rcpt, Stage::RcptTo, Fate::Retry),
            (SmtpStep::Data, Stage::Data, Fate::Retry),
            (SmtpStep::Message, Stage::FinalReply, Fate::Retry),
        ] {
            let relay = start_relay(is_pipelining).await;
            let late = "550 5.1.1 meant for the first".to_owned();
            relay.act_once(on, RelayAction::ReplyLate(SHORT_TIMEOUT * 2, late));
            let mut session = session_with_short_timeouts(&relay);
            let error = send_error(&mut session, &message(1)).await;
            assert_eq!((error.stage, error.fate), (stage, fate), "{on:?}");
            assert_eq!(error.is_ambiguous(), on == SmtpStep::Message);
            session.send(&message(2)).await.unwrap();
            assert_eq!(relay.connections().len(), 2, "{on:?}");
        }
    }
}

#[tokio::test]
async fn an_abandoned_send_leaves_no_connection_behind() {
    for is_pipelining in PIPELINING {
        let relay = start_relay(is_pipelining).await;
        relay.act_once(SmtpStep::Data, RelayAction::Silence);
        let mut session = plain_session(&relay);
        let first = message(1);
        let at_data = async {
            while !relay
                .connections()
                .iter()
                .any(|seen| seen.verbs.iter().any(|verb| verb == "DATA"))
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
async fn only_250_after_the_dot_is_success() {
    for is_pipelining in PIPELINING {
        for reply in ["354 go on", "251 forwarded", "220 hello"] {
            let relay = start_relay(is_pipelining).await;
            relay.reply_once(SmtpStep::Message, reply);
            let mut session = plain_session(&relay);
            let error = send_error(&mut session, &message(1)).await;
            assert_eq!((error.fate, error.stage), (Fate::Retry, Stage::FinalReply));
            assert!(error.is_ambiguous(), "{reply}");
            assert_eq!(session.idle_deadline(), None, "kept after {reply}");
        }
    }
}

#[tokio::test]
async fn a_positive_reply_out_of_turn_ends_the_connection() {
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
            assert_eq!(error.fate, Fate::LaneDown, "{on:?}");
            deliver(&mut session, 2).await;
            assert_eq!(relay.connections().len(), 2);
        }
    }
}

#[tokio::test]
async fn a_server_that_closes_down_takes_the_lane_with_it() {
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
                (error.fate, error.reply_code),
                (Fate::LaneDown, Some(421)),
                "{on:?}"
            );
            assert!(error.is_throttle() && !error.is_ambiguous());
            deliver(&mut session, 2).await;
        }
    }
}

#[tokio::test]
async fn a_fault_before_the_recipient_is_the_lanes() {
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
        assert_eq!(error.fate, Fate::LaneDown, "{on:?} {reply}");
    }
    let relay = Relay::start(Encryption::None).await;
    let mut session = plain_session(&relay);
    drop(relay);
    let error = send_error(&mut session, &message(1)).await;
    assert_eq!((error.fate, error.stage), (Fate::LaneDown, Stage::Connect));
}

#[tokio::test]
async fn a_server_that_does_not_greet_is_given_up_in_time() {
    let relay = Relay::start(Encryption::None).await;
    relay.act_once(SmtpStep::Greeting, RelayAction::Silence);
    let mut config = smtp_config(&relay, SmtpTls::None);
    config.timeouts.greeting = SHORT_TIMEOUT;
    let error = send_error(&mut open_session(config), &message(1)).await;
    assert_eq!((error.fate, error.stage), (Fate::LaneDown, Stage::Greeting));
}

#[tokio::test]
async fn a_reply_that_is_not_text_costs_an_attempt_and_the_connection() {
    for is_pipelining in PIPELINING {
        let relay = start_relay(is_pipelining).await;
        let latin_1 = b"550 5.1.1 Empf\xe4nger unbekannt\r\n".to_vec();
        relay.act_once(SmtpStep::Rcpt, RelayAction::ReplyBytes(latin_1));
        let mut session = plain_session(&relay);
        let error = send_error(&mut session, &message(1)).await;
        assert_eq!((error.fate, error.stage), (Fate::Retry, Stage::RcptTo));
        deliver(&mut session, 2).await;
        assert_eq!(relay.connections().len(), 2);
    }
}

#[tokio::test]
async fn a_connection_lost_after_the_dot_is_ambiguous_and_before_it_is_not() {
    for is_pipelining in PIPELINING {
        let relay = start_relay(is_pipelining).await;
        relay
            .act_once(SmtpStep::Rcpt, RelayAction::Close)
            .act_once(SmtpStep::Message, RelayAction::Close);
        let mut session = plain_session(&relay);
        let before = send_error(&mut session, &message(1)).await;
        assert_eq!(
            (before.fate, before.is_ambiguous()),
            (Fate::LaneDown, false)
        );
        let after = send_error(&mut session, &message(1)).await;
        assert_eq!((after.fate, after.is_ambiguous()), (Fate::Retry, true));
        deliver(&mut session, 1).await;

        // Too long for the buffers in between, so that the loss is noticed before the dot.
        let long = message_with_note(2, &"long ".repeat(200_000));
        relay.act_once(
            SmtpStep::Data,
            RelayAction::ReplyAndClose("354 go on".to_owned()),
        );
        let amid = send_error(&mut session, &long).await;
        assert!(amid.fate == Fate::LaneDown && amid.stage < Stage::FinalReply);
    }
}

#[tokio::test]
async fn a_server_that_spoke_unasked_gets_no_further_command() {
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
async fn a_kept_connection_that_was_closed_meanwhile_is_replaced() {
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
        // Once only: when the fresh connection is closed as well, it is the lane.
        let error = send_error(&mut session, &message(3)).await;
        assert_eq!((error.fate, error.stage), (Fate::LaneDown, Stage::MailFrom));
        assert_eq!(relay.connections().len(), 3);
    }
}

#[tokio::test]
async fn a_connection_is_used_up_by_count_age_and_idleness() {
    let relay = Relay::start(Encryption::None).await;
    let mut session = plain_session(&relay);
    let mail = message(1);
    for _ in 0..101 {
        session.send(&mail).await.unwrap();
    }
    let seen = relay.connections();
    assert_eq!(seen.len(), 2);
    let count = |index: usize, verb: &str| seen[index].verbs.iter().filter(|v| *v == verb).count();
    assert_eq!(
        (count(0, "MAIL"), count(0, "QUIT"), count(1, "MAIL")),
        (100, 1, 1)
    );

    for exhaust in [
        (|limits: &mut SmtpLimits| limits.connection_max_age = Duration::ZERO) as fn(&mut _),
        |limits: &mut SmtpLimits| limits.idle_close = Duration::ZERO,
    ] {
        let relay = Relay::start(Encryption::None).await;
        let mut config = smtp_config(&relay, SmtpTls::None);
        exhaust(&mut config.limits);
        let mut session = open_session(config);
        session.send(&mail).await.unwrap();
        session.send(&mail).await.unwrap();
        assert_eq!(relay.connections().len(), 2);
    }
}

#[tokio::test]
async fn a_hello_name_cannot_smuggle_a_command() {
    let relay = Relay::start(Encryption::None).await;
    for name in [
        "",
        "a b",
        "a\r\nMAIL FROM:<x@y.zz>",
        "a..b",
        "ünder.example",
    ] {
        let mut config = smtp_config(&relay, SmtpTls::None);
        config.hello_name = name.to_owned();
        let error = SmtpTransport::new(config).unwrap_err();
        assert_eq!(error, SmtpConfigError::HelloName, "{name:?}");
    }
}
