//! SMTP sessions over real connections.

use std::net::SocketAddr;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

struct SmtpServer {
    address: SocketAddr,
    mailbox: Arc<Mailbox>,
    stop: CancellationToken,
    tasks: TaskTracker,
    _folder: TempDir,
}

impl SmtpServer {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let mailbox = Arc::new(Mailbox::open(folder.path().to_owned()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(serve(listener, Arc::clone(&mailbox), stop.clone()));
        tasks.close();
        Self {
            address,
            mailbox,
            stop,
            tasks,
            _folder: folder,
        }
    }

    /// Sends the input in chunks of `cut` bytes. Returns the codes of all replies.
    async fn talk(&self, input: &[u8], cut: usize) -> Vec<String> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut from, mut to) = stream.into_split();
        let send = async {
            for chunk in input.chunks(cut) {
                // Some tests make the server close the connection early.
                if to.write_all(chunk).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            to.shutdown().await.ok();
        };
        let mut output = Vec::new();
        let (received, ()) = tokio::join!(from.read_to_end(&mut output), send);
        received.ok();
        codes(&String::from_utf8(output).unwrap())
    }

    async fn messages(&self) -> Vec<(Vec<String>, String)> {
        let mut messages = Vec::new();
        for summary in self.mailbox.list("", 10).iter().rev() {
            let file = self.mailbox.read(&summary.id).await.unwrap().unwrap();
            let file = String::from_utf8_lossy(&file).into_owned();
            let (_, message) = file.split_once("with ESMTP\r\n").unwrap();
            messages.push((summary.to.clone(), message.to_owned()));
        }
        messages
    }
}

/// The code of each reply; a reply of several lines counts once.
fn codes(output: &str) -> Vec<String> {
    let last_lines = output
        .lines()
        .filter(|line| line.as_bytes().get(3) == Some(&b' '));
    last_lines.map(|line| line[..3].to_owned()).collect()
}

#[tokio::test]
async fn two_pipelined_messages_are_stored_for_any_size_of_chunks() {
    let server = SmtpServer::start().await;
    let input = "EHLO me\r\nMAIL FROM:<s@b.co> BODY=8BITMIME SIZE=20\r\nRCPT TO:<a@b.co>\r\nRCPT TO:<c@b.co>\r\n\
                 DATA\r\nSubject: one\r\n\r\n..dot\r\nüber\r\n.\r\n\
                 MAIL FROM:<>\r\nRCPT TO:<d@b.co>\r\nDATA\r\n.\r\nNOOP\r\nQUIT\r\n";
    let expected = [
        "220", "250", "250", "250", "250", "354", "250", "250", "250", "354", "250", "250", "221",
    ];
    for (round, cut) in [input.len(), 1, 2, 3, 7, 64].into_iter().enumerate() {
        assert_eq!(
            server.talk(input.as_bytes(), cut).await,
            expected,
            "chunks of {cut}"
        );
        assert_eq!(server.mailbox.count().0, 2 * (round + 1));
    }
    let messages = server.messages().await;
    let first = (
        vec!["a@b.co".to_owned(), "c@b.co".to_owned()],
        "Subject: one\r\n\r\n.dot\r\nüber\r\n".to_owned(),
    );
    assert_eq!(messages[0], first);
    assert_eq!(messages[1], (vec!["d@b.co".to_owned()], String::new()));
}

#[tokio::test]
async fn commands_out_of_order_are_refused_and_change_nothing() {
    let server = SmtpServer::start().await;
    let input = "MAIL FROM:<s@b.co>\r\nEHLO me\r\nRCPT TO:<a@b.co>\r\nDATA\r\nMAIL FROM:<s@b.co>\r\nDATA\r\n\
                 MAIL FROM:<t@b.co>\r\nRCPT TO:<a@b.co>\r\nRSET\r\nDATA\r\nVRFY a\r\nSTARTTLS\r\n\
                 MAIL FROM:<s@b.co> SIZE=10485761\r\nMAIL FROM:<s@b.co> SMTPUTF8\r\nQUIT\r\n";
    let expected = [
        "220", "503", "250", "503", "503", "250", "503", "503", "250", "250", "503", "252", "502",
        "552", "555", "221",
    ];
    assert_eq!(server.talk(input.as_bytes(), 10_000).await, expected);
    assert_eq!(server.mailbox.count().0, 0);
}

#[tokio::test]
async fn garbage_does_not_affect_other_connections() {
    let server = SmtpServer::start().await;
    let mut garbage = Vec::new();
    for byte in 0..60_000_u32 {
        garbage.extend_from_slice(&byte.wrapping_mul(2_654_435_761).to_le_bytes());
    }
    server.talk(&garbage, 4_096).await;
    let endless = vec![b'x'; MESSAGE_BYTES_MAX + 100_000];
    server.talk(&endless, 65_536).await;
    let incomplete = "EHLO me\r\nMAIL FROM:<s@b.co>\r\nRCPT TO:<a@b.co>\r\nDATA\r\nhalf a message";
    server.talk(incomplete.as_bytes(), 1_000).await;
    let long = format!("{}\r\nEHLO me\nEHLO me\r\nQUIT\r\n", "x".repeat(9_000));
    let expected = ["220", "501", "501", "250", "221"];
    assert_eq!(server.talk(long.as_bytes(), 1_000).await, expected);
    assert_eq!(server.mailbox.count().0, 0);
}

#[tokio::test]
async fn a_session_continues_after_an_exceeded_limit() {
    let server = SmtpServer::start().await;
    let mut input = b"EHLO me\r\nMAIL FROM:<s@b.co>\r\n".to_vec();
    for number in 0..=RECIPIENTS_MAX {
        input.extend_from_slice(format!("RCPT TO:<a{number}@b.co>\r\n").as_bytes());
    }
    input.extend_from_slice(b"DATA\r\n");
    input.resize(input.len() + MESSAGE_BYTES_MAX + 1, b'x');
    input.extend_from_slice(b"\r\n.\r\nNOOP\r\nQUIT\r\n");
    let replies = server.talk(&input, 65_536).await;
    let tail: Vec<&str> = replies.iter().rev().take(6).map(String::as_str).collect();
    assert_eq!(tail, ["221", "250", "552", "354", "452", "250"]);
    assert_eq!(server.mailbox.count().0, 0);
}

#[tokio::test]
async fn concurrent_connections_store_every_message() {
    let server = SmtpServer::start().await;
    let input = b"EHLO me\r\nMAIL FROM:<s@b.co>\r\nRCPT TO:<a@b.co>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n";
    let sessions = (0..50).map(|_| server.talk(input, 30));
    futures::future::join_all(sessions).await;
    assert_eq!(server.mailbox.count().0, 50);
}

#[tokio::test]
async fn a_shutdown_is_announced_to_open_connections() {
    let server = SmtpServer::start().await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let mut greeting = [0; 4];
    idle.read_exact(&mut greeting).await.unwrap();
    server.stop.cancel();
    server.tasks.wait().await;
    let mut rest = String::new();
    idle.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("421 shutting down\r\n"), "{rest:?}");
}
