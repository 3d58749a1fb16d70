//! A relay that sends a line without an end. The client stops reading before the line takes much memory.

use invitations::mail::smtp::SmtpTls;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use crate::support::certificates::localhost_tls;
use crate::support::relay::{Encryption, Relay};
use crate::support::smtp_session::{message, open_session, send_error, smtp_config};

const MIB: usize = 1024 * 1024;
/// More than the client reads and the sockets buffer.
const ACCEPTED_MAX: usize = 16 * MIB;
/// How much the relay sends if the client continues to read.
const SENT_MAX: usize = 64 * MIB;
/// The replies before the endless one, for each stage at which it may come.
const REPLIES: [&str; 5] = [
    "220 relay.test ESMTP\r\n",
    "250-relay.test\r\n250 AUTH PLAIN\r\n",
    "235 2.7.0 welcome\r\n",
    "250 2.1.0 ok\r\n",
    "250 2.1.5 ok\r\n",
];

/// Sends replies and then the endless line. Returns how much of the line the client accepted.
async fn reply_without_end(stream: impl AsyncRead + AsyncWrite + Unpin, replies: &[&str]) -> usize {
    let mut stream = BufReader::new(stream);
    for reply in replies {
        stream.write_all(reply.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        stream.read_line(&mut String::new()).await.unwrap();
    }
    let piece = vec![b'2'; MIB / 16];
    let mut sent = 0;
    while sent < SENT_MAX && stream.write_all(&piece).await.is_ok() {
        sent += piece.len();
    }
    sent
}

#[tokio::test]
async fn a_reply_without_an_end_closes_the_connection_and_takes_little_memory() {
    let relay = Relay::start(Encryption::None).await;
    for tls in [SmtpTls::None, SmtpTls::Implicit] {
        let is_encrypted = tls == SmtpTls::Implicit;
        for count in 0..=REPLIES.len() {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (acceptor, certificate) = localhost_tls(2100);
            let mut config = smtp_config(&relay, tls);
            config.port = listener.local_addr().unwrap().port();
            config.extra_roots_pem = Some(certificate);
            config.pipelining = false;
            // Without TLS there is no authentication.
            let mut replies = REPLIES[..count].to_vec();
            replies.retain(|reply| is_encrypted || !reply.starts_with("235"));
            let server = async {
                let (tcp, _) = listener.accept().await.unwrap();
                if is_encrypted {
                    let tls = acceptor.accept(tcp).await.unwrap();
                    reply_without_end(tls, &replies).await
                } else {
                    reply_without_end(tcp, &replies).await
                }
            };
            let mut session = open_session(config);
            let message = message(1);
            let sending = async {
                let error = send_error(&mut session, &message).await;
                drop(session);
                error
            };
            let (error, accepted) = tokio::join!(sending, server);
            assert!(!error.is_ambiguous());
            assert!(accepted < ACCEPTED_MAX, "{count}: {accepted} bytes");
        }
    }
}
