//! The SMTP session against a server the project did not write: aiosmtpd, in a process of its own.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use invitations::mail::message::ComposedMail;
use invitations::mail::message::UNSUBSCRIBE_URL_BYTES_MAX;
use invitations::mail::outcome::{Fate, SendError, Stage, Verdict};
use invitations::mail::smtp::{SmtpConfig, SmtpLimits, SmtpTimeouts, SmtpTls};
use invitations::mail::transport::Session;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::Value;

use crate::support::smtp_session::{PASSWORD, compose, invitation_mail, open_session, send_error};

const USER: &str = "acme";

/// A running server; it ends when dropped.
struct Independent {
    process: Child,
    said: BufReader<ChildStdout>,
    port: u16,
    certificate_pem: String,
}

/// What the server accepted.
struct Received {
    connection: u64,
    sender: String,
    recipients: Vec<String>,
    content: Vec<u8>,
}

impl Independent {
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
        let mut said = BufReader::new(process.stdout.take().unwrap());
        // It has read the files when it says this.
        let port = next(&mut said)["port"].as_u64().unwrap();
        Self {
            process,
            said,
            port: port.try_into().unwrap(),
            certificate_pem: cert.pem(),
        }
    }

    fn session(&self, password: &str) -> Session {
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

    /// Waits for the next message it accepted.
    fn received(&mut self) -> Received {
        let message = next(&mut self.said);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Received {
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

impl Drop for Independent {
    fn drop(&mut self) {
        // Either may fail because it has ended already.
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

/// Sees that the server is there, once at a time: the first call may have to fetch it.
fn fetch_server() {
    static FETCHING: Mutex<()> = Mutex::new(());
    let _guard = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    let status = python().args(["-c", ""]).status().unwrap();
    assert!(status.success(), "aiosmtpd is missing: its words are above");
}

fn next(said: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "the server ended: its words are above");
    serde_json::from_str(&line).unwrap()
}

fn mail_to(local_part: &str) -> ComposedMail {
    let to = format!("{local_part}@example.com");
    compose(&invitation_mail(local_part, &to, "Hello"))
}

/// A line as long as it may be, and many that begin with dots.
fn awkward_mail() -> ComposedMail {
    // Cut by quoted-printable, nearly each line of it begins with one.
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
        let mut server = Independent::start(kind);
        let mut session = server.session(PASSWORD);
        let mut connections = Vec::new();
        for (name, mail) in [
            ("first", mail_to("first")),
            ("awkward", awkward_mail()),
            ("third", mail_to("third")),
        ] {
            session.send(&mail).await.expect("it was refused");
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
async fn an_independent_servers_refusals_are_understood() {
    for kind in ["plain", "pipelining"] {
        let mut server = Independent::start(kind);
        let mut session = server.session(PASSWORD);
        let mut refusals: HashMap<&str, SendError> = HashMap::new();
        for name in ["unknown", "reader", "full", "grey", "last"] {
            match session.send(&mail_to(name)).await {
                Ok(_) => {
                    let recipients = server.received().recipients;
                    assert_eq!(recipients, [format!("{name}@example.com")], "{kind}");
                }
                Err(error) => {
                    assert_eq!(error.stage, Stage::RcptTo, "{kind}: {error}");
                    refusals.insert(name, error);
                }
            }
        }
        let judged = |name: &str| (refusals[name].fate, refusals[name].verdict());
        assert_eq!(refusals.len(), 3, "{kind}");
        assert_eq!(judged("unknown"), (Fate::Discard, Verdict::NoSuchAddress));
        assert_eq!(judged("full"), (Fate::Retry, Verdict::MailboxFull));
        assert_eq!(judged("grey"), (Fate::Retry, Verdict::None));
        let pause = refusals["grey"].retry_after.unwrap();
        assert_eq!(pause.as_secs(), 300);
        session
            .send(&mail_to("grey"))
            .await
            .expect("put off but once");
        let mut connections: Vec<_> = vec![server.received().connection];
        session
            .send(&mail_to("reader"))
            .await
            .expect("it was refused");
        connections.push(server.received().connection);
        assert_eq!(connections[0], connections[1], "{kind}");
    }
}

#[tokio::test]
async fn an_independent_server_refuses_a_wrong_password() {
    let server = Independent::start("plain");
    let mut session = server.session("wrong");
    let error = send_error(&mut session, &mail_to("reader")).await;
    assert_eq!((error.fate, error.stage), (Fate::LaneDown, Stage::Auth));
    assert_eq!(error.reply_code, Some(535));
    assert!(error.is_misconfiguration());
}
