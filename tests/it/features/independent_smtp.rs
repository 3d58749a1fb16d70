//! The SMTP session against aiosmtpd, a server that is not part of the project, in a process of its own.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use invitations::mail::message::ComposedMessage;
use invitations::mail::message::UNSUBSCRIBE_URL_BYTES_MAX;
use invitations::mail::send_error::{FailureAction, RefusalReason, SendError, SendStage};
use invitations::mail::smtp::{SmtpConfig, SmtpLimits, SmtpTimeouts, SmtpTls};
use invitations::mail::transport::TransportSession;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::Value;

use crate::support::smtp_session::{PASSWORD, compose, invitation_mail, open_session, send_error};

const USER: &str = "acme";

/// A running aiosmtpd. It is killed when it is dropped.
struct AiosmtpdServer {
    process: Child,
    output: BufReader<ChildStdout>,
    port: u16,
    certificate_pem: String,
}

/// A message that the server accepted.
struct AcceptedMessage {
    connection: u64,
    sender: String,
    recipients: Vec<String>,
    content: Vec<u8>,
}

impl AiosmtpdServer {
    fn start(kind: &str) -> Self {
        fetch_server();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert"), folder.path().join("key"));
        fs::write(&certificate, cert.pem()).unwrap();
        fs::write(&key, signing_key.serialize_pem()).unwrap();
        let mut process = python()
            .arg("tests/servers/aiosmtpd_relay.py")
            .args([&certificate, &key])
            .args([USER, PASSWORD, kind])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        // The server prints its port after it has read the files.
        let port = next_line(&mut output)["port"].as_u64().unwrap();
        Self {
            process,
            output,
            port: port.try_into().unwrap(),
            certificate_pem: cert.pem(),
        }
    }

    fn session(&self, password: &str) -> TransportSession {
        open_session(SmtpConfig {
            host: "localhost".to_owned(),
            port: self.port,
            tls: SmtpTls::StartTls,
            extra_roots_pem: Some(self.certificate_pem.clone()),
            credentials: Some((USER.to_owned(), password.to_owned().into())),
            hello_name: "worker.acme.example".to_owned(),
            pipelining: true,
            timeouts: SmtpTimeouts::default(),
            limits: SmtpLimits::default(),
        })
    }

    /// Waits for the next message that the server accepts.
    fn received(&mut self) -> AcceptedMessage {
        let message = next_line(&mut self.output);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        AcceptedMessage {
            connection: message["peer"].as_u64().unwrap(),
            sender: text(&message["sender"]),
            recipients: message["recipients"]
                .as_array()
                .unwrap()
                .iter()
                .map(text)
                .collect(),
            content: STANDARD.decode(text(&message["content"])).unwrap(),
        }
    }
}

impl Drop for AiosmtpdServer {
    fn drop(&mut self) {
        // Both fail if the process has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn python() -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("scripts/aiosmtpd"));
    command.current_dir(root);
    command
}

/// Installs aiosmtpd if necessary. The lock prevents concurrent installations.
fn fetch_server() {
    static FETCHING: Mutex<()> = Mutex::new(());
    let _guard = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    let status = python().args(["-c", ""]).status().unwrap();
    assert!(status.success(), "aiosmtpd is missing; its output is above");
}

fn next_line(output: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "the server ended; its output is above");
    serde_json::from_str(&line).unwrap()
}

fn message_to(local_part: &str) -> ComposedMessage {
    let to = format!("{local_part}@example.com");
    compose(&invitation_mail(local_part, &to, "Hello"))
}

/// A message with a line of the maximum length, and with many lines that begin with dots.
fn awkward_message() -> ComposedMessage {
    // Quoted-printable splits the note into lines, most of which begin with a dot.
    let note = ".".repeat(5_000);
    let mut invitation = invitation_mail("awkward", "awkward@example.com", &note);
    let url = "https://app.acme.example/u/";
    let path = "u".repeat(UNSUBSCRIBE_URL_BYTES_MAX - url.len());
    invitation.unsubscribe_url = Some(format!("{url}{path}").into());
    let mail = compose(&invitation);
    let lines = || mail.bytes().split(|byte| *byte == b'\n');
    let longest = lines().map(<[u8]>::len).max().unwrap();
    assert_eq!(
        longest,
        "List-Unsubscribe: <>\r".len() + UNSUBSCRIBE_URL_BYTES_MAX
    );
    assert!(lines().filter(|line| line.starts_with(b".")).count() > 40);
    mail
}

#[tokio::test]
async fn an_independent_server_receives_every_byte() {
    for kind in ["plain", "pipelining"] {
        let mut server = AiosmtpdServer::start(kind);
        let mut session = server.session(PASSWORD);
        let mut connections = Vec::new();
        for (name, mail) in [
            ("first", message_to("first")),
            ("awkward", awkward_message()),
            ("third", message_to("third")),
        ] {
            session.send(&mail).await.expect("the message was refused");
            let received = server.received();
            assert_eq!(received.sender, "invites@acme.example");
            assert_eq!(
                received.recipients,
                [format!("{name}@example.com")],
                "{kind}"
            );
            assert!(received.content == mail.bytes(), "{kind}: bytes differ");
            connections.push(received.connection);
        }
        connections.dedup();
        assert_eq!(connections.len(), 1, "{kind}");
        session.close().await;
    }
}

#[tokio::test]
async fn the_refusals_of_an_independent_server_are_classified() {
    for kind in ["plain", "pipelining"] {
        let mut server = AiosmtpdServer::start(kind);
        let mut session = server.session(PASSWORD);
        let mut refusals: HashMap<&str, SendError> = HashMap::new();
        for name in ["unknown", "reader", "full", "grey", "last"] {
            match session.send(&message_to(name)).await {
                Ok(_) => {
                    let recipients = server.received().recipients;
                    assert_eq!(recipients, [format!("{name}@example.com")], "{kind}");
                }
                Err(error) => {
                    assert_eq!(error.stage, SendStage::RcptTo, "{kind}: {error}");
                    refusals.insert(name, error);
                }
            }
        }
        let judgement = |name: &str| (refusals[name].action, refusals[name].refusal_reason);
        assert_eq!(refusals.len(), 3, "{kind}");
        assert_eq!(
            judgement("unknown"),
            (FailureAction::Discard, RefusalReason::NoSuchAddress)
        );
        assert_eq!(
            judgement("full"),
            (FailureAction::Retry, RefusalReason::MailboxFull)
        );
        assert_eq!(
            judgement("grey"),
            (FailureAction::Retry, RefusalReason::None)
        );
        let pause = refusals["grey"].retry_after.unwrap();
        assert_eq!(pause.as_secs(), 300);
        session
            .send(&message_to("grey"))
            .await
            .expect("the server greylists only once");
        let mut connections: Vec<_> = vec![server.received().connection];
        session
            .send(&message_to("reader"))
            .await
            .expect("the message was refused");
        connections.push(server.received().connection);
        assert_eq!(connections[0], connections[1], "{kind}");
    }
}

#[tokio::test]
async fn an_independent_server_refuses_a_wrong_password() {
    let server = AiosmtpdServer::start("plain");
    let mut session = server.session("wrong");
    let error = send_error(&mut session, &message_to("reader")).await;
    assert_eq!(
        (error.action, error.stage),
        (FailureAction::PauseLane, SendStage::Auth)
    );
    assert_eq!(error.reply_code, Some(535));
    assert!(error.is_misconfiguration);
}
