//! Pipelining (RFC 2920): which commands are sent together, and which reply belongs to which command.

use std::time::Duration;

use invitations::mail::send_error::{FailureAction, RefusalReason, SendStage};
use invitations::mail::smtp::SmtpTls;

use crate::support::relay::{Relay, RelayAction, SmtpStep};
use crate::support::smtp_session::{
    PIPELINING, deliver, message, open_session, plain_session, recipients, send_error,
    session_with_short_timeouts, smtp_config, start_relay,
};

/// The bytes that arrived at once, for every arrival that begins with a command.
fn arrivals_with(relay: &Relay, command: &str) -> Vec<String> {
    let connections = relay.connections();
    let arrivals = connections
        .iter()
        .flat_map(|connection| &connection.arrivals);
    arrivals
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .filter(|bytes| bytes.starts_with(command))
        .collect()
}

#[tokio::test]
async fn all_commands_up_to_data_are_sent_together() {
    let relay = start_relay(true).await;
    relay.reply_once(SmtpStep::Rcpt, "550 5.1.1 unknown");
    let mut session = plain_session(&relay);
    send_error(&mut session, &message(1)).await;
    deliver(&mut session, 2).await;
    deliver(&mut session, 3).await;
    let commands = |number: u32| {
        format!(
            "MAIL FROM:<invites@acme.example>\r\nRCPT TO:<reader{number}@example.com>\r\nDATA\r\n"
        )
    };
    assert_eq!(arrivals_with(&relay, "MAIL"), [commands(1), commands(3)]);
    // The RSET after the refusal is sent together with the next commands.
    assert_eq!(
        arrivals_with(&relay, "RSET"),
        [format!("RSET\r\n{}", commands(2))]
    );
}

#[tokio::test]
async fn commands_are_pipelined_only_if_offered_and_configured() {
    let without_offer = start_relay(false).await;
    deliver(&mut plain_session(&without_offer), 1).await;
    let turned_off = start_relay(true).await;
    let mut config = smtp_config(&turned_off, SmtpTls::None);
    config.pipelining = false;
    deliver(&mut open_session(config), 1).await;
    let refused = start_relay(true).await;
    refused
        .reply_once(SmtpStep::Ehlo, "250-relay.test\r\n250 PIPELINING")
        .reply_once(SmtpStep::Ehlo, "503 5.5.1 once is enough");
    deliver(&mut plain_session(&refused), 1).await;
    // The first line of the reply is the host name and offers nothing.
    let host_name = start_relay(false).await;
    host_name
        .reply_once(SmtpStep::Ehlo, "250 pipelining")
        .reply_once(SmtpStep::Ehlo, "250 pipelining");
    deliver(&mut plain_session(&host_name), 1).await;
    for (relay, ehlo_count) in [
        (without_offer, 2),
        (turned_off, 1),
        (refused, 2),
        (host_name, 2),
    ] {
        assert_eq!(arrivals_with(&relay, "EHLO").len(), ehlo_count);
        assert_eq!(arrivals_with(&relay, "DATA"), ["DATA\r\n"]);
    }
}

#[tokio::test]
async fn one_refused_recipient_in_ten_affects_no_connection_and_no_other_email() {
    for is_pipelining in PIPELINING {
        let relay = start_relay(is_pipelining).await;
        for number in (10..=50).step_by(10) {
            relay.refuse(
                &format!("reader{number}@example.com"),
                "550 5.1.1 no such user",
            );
        }
        let mut session = plain_session(&relay);
        for number in 1..=50 {
            match session.send(&message(number)).await {
                Ok(_) => assert_ne!(number % 10, 0),
                Err(error) => {
                    assert_eq!(number % 10, 0, "{error}");
                    assert_eq!(
                        (error.action, error.refusal_reason),
                        (FailureAction::Discard, RefusalReason::NoSuchAddress)
                    );
                }
            }
        }
        assert_eq!(relay.connections().len(), 1);
        let expected: Vec<_> = (1..=50)
            .filter(|number| number % 10 != 0)
            .map(|number| format!("RCPT TO:<reader{number}@example.com>"))
            .collect();
        assert_eq!(recipients(&relay), expected);
    }
}

#[tokio::test]
async fn a_greylisted_recipient_is_accepted_on_the_second_attempt() {
    for is_pipelining in PIPELINING {
        let relay = start_relay(is_pipelining).await;
        relay.greylist(1);
        let mut session = plain_session(&relay);
        for number in 1..=3 {
            let error = send_error(&mut session, &message(number)).await;
            assert_eq!(
                (error.action, error.stage),
                (FailureAction::Retry, SendStage::RcptTo)
            );
            assert_eq!(error.retry_after, Some(Duration::from_mins(5)));
        }
        for number in 1..=3 {
            deliver(&mut session, number).await;
        }
        assert_eq!((relay.connections().len(), relay.received().len()), (1, 3));
    }
}

#[tokio::test]
async fn a_server_that_closes_after_some_emails_receives_the_next_one_on_a_new_connection() {
    for is_pipelining in PIPELINING {
        let relay = start_relay(is_pipelining).await;
        for _ in 0..3 {
            relay.reply_once(SmtpStep::Mail, "250 2.1.0 ok");
        }
        relay.act_once(
            SmtpStep::Mail,
            RelayAction::ReplyAndClose(
                "421 4.7.0 too many mails, try again in 2 minutes".to_owned(),
            ),
        );
        let mut session = plain_session(&relay);
        for number in 1..=3 {
            deliver(&mut session, number).await;
        }
        deliver(&mut session, 4).await;
        assert_eq!((relay.connections().len(), relay.received().len()), (2, 4));
    }
}

#[tokio::test]
async fn a_server_that_expects_a_message_without_a_recipient_receives_an_empty_message() {
    let relay = start_relay(true).await;
    relay
        .reply_once(SmtpStep::Rcpt, "550 5.1.1 unknown")
        .reply_once(SmtpStep::Data, "354 go on");
    let mut session = plain_session(&relay);
    let error = send_error(&mut session, &message(1)).await;
    assert_eq!(
        (error.stage, error.refusal_reason),
        (SendStage::RcptTo, RefusalReason::NoSuchAddress)
    );
    assert_eq!(arrivals_with(&relay, "."), [".\r\n"]);
    // The relay refused the empty message, so the session can continue.
    deliver(&mut session, 2).await;
    assert_eq!(relay.connections().len(), 1);
    assert_eq!(recipients(&relay), ["RCPT TO:<reader2@example.com>"]);
}

#[tokio::test]
async fn an_accepted_message_without_a_recipient_is_not_counted_as_sent() {
    let actions = [
        RelayAction::Reply("250 2.0.0 queued".to_owned()),
        RelayAction::Reply("354 go on".to_owned()),
        RelayAction::ReplyAndClose("421 4.3.2 closing".to_owned()),
        RelayAction::ReplyBytes(b"554 \xff\r\n".to_vec()),
        RelayAction::Close,
        RelayAction::Reset,
        RelayAction::Silence,
    ];
    for action in actions {
        let relay = start_relay(true).await;
        relay
            .reply_once(SmtpStep::Rcpt, "450 4.2.0 greylisted")
            .reply_once(SmtpStep::Data, "354 go on")
            .act_once(SmtpStep::Message, action.clone());
        let mut session = if matches!(action, RelayAction::Silence) {
            session_with_short_timeouts(&relay)
        } else {
            plain_session(&relay)
        };
        let error = send_error(&mut session, &message(1)).await;
        assert_eq!(
            (error.action, error.stage, error.reply_code),
            (FailureAction::Retry, SendStage::RcptTo, Some(450)),
            "{action:?}"
        );
        assert_eq!(session.idle_deadline(), None, "kept after {action:?}");
        deliver(&mut session, 2).await;
        assert_eq!(relay.connections().len(), 2, "{action:?}");
        assert_eq!(recipients(&relay), ["RCPT TO:<reader2@example.com>"]);
    }
}

#[tokio::test]
async fn a_refusal_of_data_does_not_replace_the_refusal_of_the_recipient() {
    let replies = [
        "503 5.5.1 no recipient",
        "554 no",
        "451 4.3.0 later",
        "550 5.7.1 no",
    ];
    let relay = start_relay(true).await;
    let mut session = plain_session(&relay);
    for reply in replies {
        relay
            .reply_once(SmtpStep::Rcpt, "450 4.2.0 greylisted")
            .reply_once(SmtpStep::Data, reply);
        let error = send_error(&mut session, &message(1)).await;
        assert_eq!(
            (error.action, error.stage, error.reply_code),
            (FailureAction::Retry, SendStage::RcptTo, Some(450)),
            "{reply}"
        );
    }
    deliver(&mut session, 2).await;
    assert_eq!(relay.connections().len(), 1);
}

#[tokio::test]
async fn the_next_reply_does_not_stand_in_for_a_missing_one() {
    for (step, stage, fate) in [
        (SmtpStep::Mail, SendStage::RcptTo, FailureAction::PauseLane),
        (SmtpStep::Rcpt, SendStage::RcptTo, FailureAction::PauseLane),
        (SmtpStep::Data, SendStage::Data, FailureAction::Retry),
        (
            SmtpStep::Message,
            SendStage::FinalReply,
            FailureAction::Retry,
        ),
    ] {
        let relay = start_relay(true).await;
        relay.act_once(step, RelayAction::Skip);
        let mut session = session_with_short_timeouts(&relay);
        let error = send_error(&mut session, &message(1)).await;
        assert_eq!((error.stage, error.action), (stage, fate), "{step:?}");
        deliver(&mut session, 2).await;
        assert_eq!(relay.connections().len(), 2, "{step:?}");
    }
    // RSET is sent together with the next message, and the reply to it is missing.
    let relay = start_relay(true).await;
    relay
        .reply_once(SmtpStep::Rcpt, "450 4.2.0 greylisted")
        .act_once(SmtpStep::Rset, RelayAction::Skip);
    let mut session = session_with_short_timeouts(&relay);
    send_error(&mut session, &message(1)).await;
    let error = send_error(&mut session, &message(2)).await;
    assert_eq!(
        (error.stage, error.action),
        (SendStage::RcptTo, FailureAction::PauseLane)
    );
    deliver(&mut session, 3).await;
    assert_eq!(recipients(&relay), ["RCPT TO:<reader3@example.com>"]);
}

#[tokio::test]
async fn a_reply_that_arrived_before_the_message_does_not_accept_it() {
    for is_pipelining in PIPELINING {
        let relay = start_relay(is_pipelining).await;
        relay.reply_once(SmtpStep::Data, "354 go on\r\n250 2.0.0 queued");
        let mut session = plain_session(&relay);
        let error = send_error(&mut session, &message(1)).await;
        assert_eq!(
            (error.action, error.stage),
            (FailureAction::PauseLane, SendStage::Data)
        );
        assert!(!error.is_ambiguous());
        deliver(&mut session, 2).await;
        assert_eq!(recipients(&relay), ["RCPT TO:<reader2@example.com>"]);
    }
}
