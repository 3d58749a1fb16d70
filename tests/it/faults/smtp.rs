//! The SMTP session against a relay that misbehaves. Every case is a real conversation over TCP.

use std::time::Duration;

use invitations::mail::outcome::{Fate, Stage};
use invitations::mail::smtp::{SmtpConfigError, SmtpLimits, SmtpTls, SmtpTransport};

use crate::support::lane::{
    IMPATIENCE, KINDS, config, fails, impatient, is_delivered, mail, mail_with_note, open, plain,
    recipients, relay,
};
use crate::support::relay::{Act, Encryption, On, Relay};

#[tokio::test]
async fn a_mail_is_delivered_byte_for_byte() {
    for is_pipelining in KINDS {
        let relay = relay(is_pipelining).await;
        relay.says(
            On::Message,
            "250 2.0.0 Ok <reader1@example.com> queued as 4Fx",
        );
        let mut session = plain(&relay);
        assert_eq!(session.idle_deadline(), None);
        // In a task of its own, as a lane has it: the future must be able to move between threads.
        let lane = tokio::spawn(async move { (session.send(&mail(1)).await, session) });
        let (accepted, mut session) = lane.await.unwrap();
        let accepted = accepted.unwrap();
        assert_eq!(accepted.reply, "2.0.0 Ok <[address]> queued as 4Fx");
        assert!(session.idle_deadline().is_some());
        session.close().await;
        let seen = relay.seen();
        assert_eq!(
            seen[0].verbs(),
            ["EHLO", "EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
        );
        assert!(seen[0].bytes.starts_with(b"EHLO worker.acme.example\r\n"));
        assert_eq!(relay.taken()[0].unstuffed(), mail(1).bytes());
        assert_eq!(recipients(&relay), ["RCPT TO:<reader1@example.com>"]);
    }
}

#[tokio::test]
async fn lines_that_begin_with_a_dot_are_stuffed() {
    // The style sheet gives such a line to every mail.
    let mail = mail(1);
    let lines = |bytes: &[u8], start: &[u8]| {
        let lines = bytes.split(|byte| *byte == b'\n');
        lines.filter(|line| line.starts_with(start)).count()
    };
    let dots = lines(mail.bytes(), b".");
    assert!(dots > 0 && lines(mail.bytes(), b"..") == 0);
    let relay = Relay::start(Encryption::None).await;
    plain(&relay).send(&mail).await.unwrap();
    let wire = relay.taken().remove(0).wire;
    assert_eq!(lines(&wire, b".."), dots);
    assert_eq!(lines(&wire, b"."), dots);
}

#[tokio::test]
async fn a_refused_recipient_costs_no_connection() {
    for is_pipelining in KINDS {
        let relay = relay(is_pipelining).await;
        relay
            .says(On::Rcpt, "450 4.2.0 greylisted")
            .says(On::Rcpt, "550 5.1.1 <reader2@example.com> unknown");
        let mut session = plain(&relay);
        let greylisted = fails(&mut session, &mail(1)).await;
        assert_eq!(
            (greylisted.fate, greylisted.reply_code),
            (Fate::Retry, Some(450))
        );
        let unknown = fails(&mut session, &mail(2)).await;
        assert_eq!(
            (unknown.fate, unknown.stage),
            (Fate::Discard, Stage::RcptTo)
        );
        assert_eq!(unknown.text, "5.1.1 <[address]> unknown");
        is_delivered(&mut session, 3).await;
        let seen = relay.seen();
        assert_eq!(seen.len(), 1);
        let expected = if is_pipelining {
            "EHLO EHLO MAIL RCPT DATA RSET MAIL RCPT DATA RSET MAIL RCPT DATA"
        } else {
            "EHLO EHLO MAIL RCPT RSET MAIL RCPT RSET MAIL RCPT DATA"
        };
        assert_eq!(seen[0].verbs().join(" "), expected);
        assert_eq!(recipients(&relay), ["RCPT TO:<reader3@example.com>"]);
    }
}

#[tokio::test]
async fn a_refused_message_costs_no_connection() {
    for is_pipelining in KINDS {
        let relay = relay(is_pipelining).await;
        relay
            .says(On::Data, "451 4.3.0 later")
            .says(On::Message, "554 5.7.1 spam")
            .says(On::Message, "552 5.2.2 full");
        let mut session = plain(&relay);
        let expected = [
            (Fate::Retry, Stage::Data),
            (Fate::Discard, Stage::FinalReply),
            (Fate::Retry, Stage::FinalReply),
        ];
        for (number, (fate, stage)) in (1..).zip(expected) {
            let error = fails(&mut session, &mail(number)).await;
            assert_eq!((error.fate, error.stage), (fate, stage));
            assert!(!error.is_ambiguous());
        }
        is_delivered(&mut session, 4).await;
        assert_eq!(relay.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_late_reply_is_never_credited_to_the_next_mail() {
    for is_pipelining in KINDS {
        for (on, stage, fate) in [
            (On::Mail, Stage::MailFrom, Fate::LaneDown),
            (On::Rcpt, Stage::RcptTo, Fate::Retry),
            (On::Data, Stage::Data, Fate::Retry),
            (On::Message, Stage::FinalReply, Fate::Retry),
        ] {
            let relay = relay(is_pipelining).await;
            let late = "550 5.1.1 meant for the first".to_owned();
            relay.next(on, Act::SayLate(IMPATIENCE * 2, late));
            let mut session = impatient(&relay);
            let error = fails(&mut session, &mail(1)).await;
            assert_eq!((error.stage, error.fate), (stage, fate), "{on:?}");
            assert_eq!(error.is_ambiguous(), on == On::Message);
            session.send(&mail(2)).await.unwrap();
            assert_eq!(relay.seen().len(), 2, "{on:?}");
        }
    }
}

#[tokio::test]
async fn an_abandoned_send_leaves_no_connection_behind() {
    for is_pipelining in KINDS {
        let relay = relay(is_pipelining).await;
        relay.next(On::Data, Act::Silence);
        let mut session = plain(&relay);
        let first = mail(1);
        let at_data = async {
            while !relay
                .seen()
                .iter()
                .any(|seen| seen.verbs().iter().any(|verb| verb == "DATA"))
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            _ = session.send(&first) => panic!("it was answered"),
            () = at_data => {}
        }
        assert_eq!(session.idle_deadline(), None);
        is_delivered(&mut session, 2).await;
        assert_eq!(relay.seen().len(), 2);
        assert_eq!(recipients(&relay), ["RCPT TO:<reader2@example.com>"]);
    }
}

#[tokio::test]
async fn only_250_after_the_dot_is_success() {
    for is_pipelining in KINDS {
        for reply in ["354 go on", "251 forwarded", "220 hello"] {
            let relay = relay(is_pipelining).await;
            relay.says(On::Message, reply);
            let mut session = plain(&relay);
            let error = fails(&mut session, &mail(1)).await;
            assert_eq!((error.fate, error.stage), (Fate::Retry, Stage::FinalReply));
            assert!(error.is_ambiguous(), "{reply}");
            assert_eq!(session.idle_deadline(), None, "kept after {reply}");
        }
    }
}

#[tokio::test]
async fn a_positive_reply_out_of_turn_ends_the_connection() {
    for is_pipelining in KINDS {
        for (on, reply) in [
            (On::Mail, "354 go on"),
            (On::Rcpt, "354 go on"),
            (On::Data, "250 ok"),
        ] {
            let relay = relay(is_pipelining).await;
            relay.says(on, reply);
            let mut session = plain(&relay);
            let error = fails(&mut session, &mail(1)).await;
            assert_eq!(error.fate, Fate::LaneDown, "{on:?}");
            is_delivered(&mut session, 2).await;
            assert_eq!(relay.seen().len(), 2);
        }
    }
}

#[tokio::test]
async fn a_server_that_closes_down_takes_the_lane_with_it() {
    for is_pipelining in KINDS {
        for on in [On::Greeting, On::Mail, On::Rcpt, On::Data, On::Message] {
            let relay = relay(is_pipelining).await;
            relay.next(on, Act::SayAndClose("421 4.3.2 closing".to_owned()));
            let mut session = plain(&relay);
            let error = fails(&mut session, &mail(1)).await;
            assert_eq!(
                (error.fate, error.reply_code),
                (Fate::LaneDown, Some(421)),
                "{on:?}"
            );
            assert!(error.is_throttle() && !error.is_ambiguous());
            is_delivered(&mut session, 2).await;
        }
    }
}

#[tokio::test]
async fn a_fault_before_the_recipient_is_the_lanes() {
    for (on, reply) in [
        (On::Greeting, "554 5.7.1 go away"),
        (On::Ehlo, "550 5.7.1 bad name"),
        (On::Mail, "550 5.7.1 not you"),
        (On::Mail, "451 4.3.0 later"),
        (On::Greeting, "HTTP/1.1 400 Bad Request"),
    ] {
        let relay = Relay::start(Encryption::None).await;
        relay.next(on, Act::SayAndClose(reply.to_owned()));
        let error = fails(&mut plain(&relay), &mail(1)).await;
        assert_eq!(error.fate, Fate::LaneDown, "{on:?} {reply}");
    }
    let relay = Relay::start(Encryption::None).await;
    let mut session = plain(&relay);
    drop(relay);
    let error = fails(&mut session, &mail(1)).await;
    assert_eq!((error.fate, error.stage), (Fate::LaneDown, Stage::Connect));
}

#[tokio::test]
async fn a_server_that_does_not_greet_is_given_up_in_time() {
    let relay = Relay::start(Encryption::None).await;
    relay.next(On::Greeting, Act::Silence);
    let mut config = config(&relay, SmtpTls::None);
    config.timeouts.greeting = IMPATIENCE;
    let error = fails(&mut open(config), &mail(1)).await;
    assert_eq!((error.fate, error.stage), (Fate::LaneDown, Stage::Greeting));
}

#[tokio::test]
async fn a_reply_that_is_not_text_costs_an_attempt_and_the_connection() {
    for is_pipelining in KINDS {
        let relay = relay(is_pipelining).await;
        let latin_1 = b"550 5.1.1 Empf\xe4nger unbekannt\r\n".to_vec();
        relay.next(On::Rcpt, Act::SayBytes(latin_1));
        let mut session = plain(&relay);
        let error = fails(&mut session, &mail(1)).await;
        assert_eq!((error.fate, error.stage), (Fate::Retry, Stage::RcptTo));
        is_delivered(&mut session, 2).await;
        assert_eq!(relay.seen().len(), 2);
    }
}

#[tokio::test]
async fn a_connection_lost_after_the_dot_is_ambiguous_and_before_it_is_not() {
    for is_pipelining in KINDS {
        let relay = relay(is_pipelining).await;
        relay
            .next(On::Rcpt, Act::Close)
            .next(On::Message, Act::Close);
        let mut session = plain(&relay);
        let before = fails(&mut session, &mail(1)).await;
        assert_eq!(
            (before.fate, before.is_ambiguous()),
            (Fate::LaneDown, false)
        );
        let after = fails(&mut session, &mail(1)).await;
        assert_eq!((after.fate, after.is_ambiguous()), (Fate::Retry, true));
        is_delivered(&mut session, 1).await;

        // Too long for the buffers in between, so that the loss is noticed before the dot.
        let long = mail_with_note(2, &"long ".repeat(200_000));
        relay.next(On::Data, Act::SayAndClose("354 go on".to_owned()));
        let amid = fails(&mut session, &long).await;
        assert!(amid.fate == Fate::LaneDown && amid.stage < Stage::FinalReply);
    }
}

#[tokio::test]
async fn a_server_that_spoke_unasked_gets_no_further_command() {
    for is_pipelining in KINDS {
        let relay = relay(is_pipelining).await;
        relay.says(
            On::Message,
            "250 2.0.0 queued\r\n250 2.0.0 and the next one too",
        );
        let mut session = plain(&relay);
        is_delivered(&mut session, 1).await;
        is_delivered(&mut session, 2).await;
        assert_eq!(relay.seen().len(), 2);
        assert_eq!(relay.taken().len(), 2);
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_is_replaced() {
    for is_pipelining in KINDS {
        let relay = relay(is_pipelining).await;
        relay
            .says(On::Mail, "250 2.1.0 ok")
            .next(On::Mail, Act::Close)
            .says(On::Mail, "250 2.1.0 ok")
            .next(On::Mail, Act::Close)
            .next(On::Mail, Act::Close);
        let mut session = plain(&relay);
        is_delivered(&mut session, 1).await;
        is_delivered(&mut session, 2).await;
        assert_eq!(relay.seen().len(), 2);
        // Once only: when the fresh connection is closed as well, it is the lane.
        let error = fails(&mut session, &mail(3)).await;
        assert_eq!((error.fate, error.stage), (Fate::LaneDown, Stage::MailFrom));
        assert_eq!(relay.seen().len(), 3);
    }
}

#[tokio::test]
async fn a_connection_is_used_up_by_count_age_and_idleness() {
    let relay = Relay::start(Encryption::None).await;
    let mut session = plain(&relay);
    let mail = mail(1);
    for _ in 0..101 {
        session.send(&mail).await.unwrap();
    }
    let seen = relay.seen();
    assert_eq!(seen.len(), 2);
    let count =
        |index: usize, verb: &str| seen[index].verbs().iter().filter(|v| *v == verb).count();
    assert_eq!(
        (count(0, "MAIL"), count(0, "QUIT"), count(1, "MAIL")),
        (100, 1, 1)
    );

    for exhaust in [
        (|limits: &mut SmtpLimits| limits.connection_max_age = Duration::ZERO) as fn(&mut _),
        |limits: &mut SmtpLimits| limits.idle_close = Duration::ZERO,
    ] {
        let relay = Relay::start(Encryption::None).await;
        let mut config = config(&relay, SmtpTls::None);
        exhaust(&mut config.limits);
        let mut session = open(config);
        session.send(&mail).await.unwrap();
        session.send(&mail).await.unwrap();
        assert_eq!(relay.seen().len(), 2);
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
        let mut config = config(&relay, SmtpTls::None);
        config.hello_name = name.to_owned();
        let error = SmtpTransport::new(config).unwrap_err();
        assert_eq!(error, SmtpConfigError::HelloName, "{name:?}");
    }
}
