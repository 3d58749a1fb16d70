//! A mail provider that does what a test tells it, over real HTTP, and remembers every request.
//!
//! It speaks Resend's or Postmark's batch API and takes everything properly unless told otherwise: answers are queued
//! and taken one per call. As Resend does, it remembers idempotency keys: the same call again is answered as before
//! and delivers nothing, and another one under the same key is refused.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream as Socket};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use axum::serve::{IncomingStream, Listener};
use http::StatusCode;
use invitations::domain::bounce_address::SentMail;
use invitations::mail::provider::ProviderKind;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use url::Url;

use crate::support::relay::acceptor;

/// What the provider does at the next call instead of taking everything.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Takes everything, as it would anyway.
    Ok,
    /// Takes all mails but these: place, Postmark's code, message.
    Refuse(Vec<(usize, u16, &'static str)>),
    /// Takes nothing and says this, with these headers.
    Say(u16, Vec<(&'static str, String)>, String),
    /// Takes everything and says this, as a broken gateway would.
    TakeAndSay(u16, String),
    /// Takes everything; the mails come back in the wrong order.
    TakeAndShuffle,
    /// Takes everything; the first result is about somebody else.
    TakeAndMisaddress,
    /// Takes everything; the last result is missing.
    TakeAndForget,
    /// Takes everything and closes the connection without a word.
    TakeAndClose,
    /// Takes everything and closes the connection in the middle of the answer.
    TakeAndCut,
    /// Takes everything and never answers.
    TakeAndHang,
    /// Reads the call, takes nothing and closes the connection.
    Close,
    /// Closes the next new connection before anything is read.
    CloseUnread,
}

/// A mail that a reader got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeliveredMail {
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) html: String,
    pub(crate) text: String,
    pub(crate) reference: Option<SentMail>,
}

/// A call as the provider saw it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Call {
    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }

    /// The message objects.
    pub(crate) fn mails(&self) -> Vec<Value> {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A connection, encrypted or not.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

struct Desk {
    kind: ProviderKind,
    script: VecDeque<Answer>,
    calls: Vec<Call>,
    delivered: Vec<DeliveredMail>,
    kept: HashMap<String, (Vec<u8>, Value)>,
    connections: usize,
}

/// A running provider; it stops when dropped.
pub(crate) struct ProviderServer {
    base_url: Url,
    certificate_pem: String,
    desk: Arc<Mutex<Desk>>,
    server: JoinHandle<()>,
}

impl ProviderServer {
    /// Listens on a free port of 127.0.0.1, in the clear.
    pub(crate) async fn start(kind: ProviderKind) -> Self {
        Self::serve(kind, false).await
    }

    /// The same with TLS, as `localhost`.
    pub(crate) async fn start_tls(kind: ProviderKind) -> Self {
        Self::serve(kind, true).await
    }

    async fn serve(kind: ProviderKind, is_encrypted: bool) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = tcp.local_addr().unwrap().port();
        let (acceptor, certificate_pem) = acceptor(2100);
        let base_url = if is_encrypted {
            format!("https://localhost:{port}")
        } else {
            format!("http://127.0.0.1:{port}")
        };
        let desk = Arc::new(Mutex::new(Desk {
            kind,
            script: VecDeque::new(),
            calls: Vec::new(),
            delivered: Vec::new(),
            kept: HashMap::new(),
            connections: 0,
        }));
        let door = Door {
            tcp,
            acceptor: is_encrypted.then_some(acceptor),
            desk: Arc::clone(&desk),
        };
        let service = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&desk))
            .into_make_service_with_connect_info::<Line>();
        let server = tokio::spawn(async move { axum::serve(door, service).await.unwrap() });
        Self {
            base_url: Url::parse(&base_url).unwrap(),
            certificate_pem,
            desk,
            server,
        }
    }

    pub(crate) fn base_url(&self) -> Url {
        self.base_url.clone()
    }

    /// The certificate for `localhost` that it shows.
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Queues what to do at the next call.
    pub(crate) fn next(&self, answer: Answer) -> &Self {
        self.desk.lock().unwrap().script.push_back(answer);
        self
    }

    /// Every mail that was taken, in the order they came. What was taken twice is in it twice.
    pub(crate) fn delivered(&self) -> Vec<DeliveredMail> {
        self.desk.lock().unwrap().delivered.clone()
    }

    /// Every call that was read whole, in the order they came.
    pub(crate) fn requests(&self) -> Vec<Call> {
        self.desk.lock().unwrap().calls.clone()
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.desk.lock().unwrap().connections
    }
}

impl Drop for ProviderServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Lets connections in, unless the script says to close them.
struct Door {
    tcp: TcpListener,
    acceptor: Option<TlsAcceptor>,
    desk: Arc<Mutex<Desk>>,
}

/// The bare socket under a connection, to break it from within a call; none for the listener itself.
#[derive(Debug, Clone)]
struct Line(Option<Arc<Socket>>);

impl Line {
    fn close(&self) {
        let socket = self.0.as_ref().unwrap();
        // The client may have been faster.
        drop(socket.shutdown(Shutdown::Both));
    }
}

impl Door {
    async fn let_in(&self) -> io::Result<Option<(Box<dyn Duplex>, Line)>> {
        let (stream, _): (TcpStream, SocketAddr) = self.tcp.accept().await?;
        stream.set_nodelay(true)?;
        let is_closed = {
            let mut desk = self.desk.lock().unwrap();
            desk.connections += 1;
            let is_closed = matches!(desk.script.front(), Some(Answer::CloseUnread));
            if is_closed {
                desk.script.pop_front();
            }
            is_closed
        };
        if is_closed {
            return Ok(None);
        }
        let socket = stream.into_std()?;
        let line = Line(Some(Arc::new(socket.try_clone()?)));
        let stream = TcpStream::from_std(socket)?;
        let stream: Box<dyn Duplex> = match &self.acceptor {
            Some(acceptor) => Box::new(acceptor.accept(stream).await?),
            None => Box::new(stream),
        };
        Ok(Some((stream, line)))
    }
}

impl Listener for Door {
    type Io = Box<dyn Duplex>;
    type Addr = Line;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // A client that does not like the certificate is the test's business.
            if let Ok(Some(connection)) = self.let_in().await {
                return connection;
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(Line(None))
    }
}

impl Connected<IncomingStream<'_, Door>> for Line {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.remote_addr().clone()
    }
}

async fn answer(
    State(desk): State<Arc<Mutex<Desk>>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let call = Call {
        path: format!("{} {}", parts.method, parts.uri.path()),
        headers: parts.headers,
        body: body.to_vec(),
    };
    let (scripted, proper) = {
        let mut desk = desk.lock().unwrap();
        desk.calls.push(call.clone());
        let scripted = desk.script.pop_front().unwrap_or(Answer::Ok);
        let proper = desk.proper(&call, &scripted);
        (scripted, proper)
    };
    let (status, text) = proper;
    match scripted {
        Answer::Say(status, headers, text) => {
            let mut response = (StatusCode::from_u16(status).unwrap(), text).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            return response;
        }
        Answer::TakeAndSay(status, text) => {
            return (StatusCode::from_u16(status).unwrap(), text).into_response();
        }
        Answer::TakeAndCut => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
            let cut = format!("{head}{}", &text[..text.len() / 2]);
            let mut socket = line.0.as_deref().unwrap();
            socket.write_all(cut.as_bytes()).unwrap();
            line.close();
        }
        Answer::TakeAndClose | Answer::Close => line.close(),
        Answer::TakeAndHang => std::future::pending().await,
        _ => {}
    }
    (status, text).into_response()
}

impl Desk {
    /// Takes what is to be taken; the answer a proper provider would give.
    fn proper(&mut self, call: &Call, scripted: &Answer) -> (StatusCode, String) {
        let path = match self.kind {
            ProviderKind::Resend => "POST /emails/batch",
            ProviderKind::Postmark => "POST /email/batch",
        };
        if call.path != path {
            return (StatusCode::NOT_FOUND, String::new());
        }
        if matches!(scripted, Answer::Close | Answer::Say(..)) {
            return (StatusCode::OK, String::new());
        }
        let key = call.header("idempotency-key").to_owned();
        match self.kept.get(&key) {
            Some((body, answer)) if *body == call.body => {
                return (StatusCode::OK, answer.to_string());
            }
            Some(_) => {
                let error = json!({"statusCode": 409, "name": "invalid_idempotent_request",
                    "message": "Same idempotency key used with a different request payload."});
                return (StatusCode::CONFLICT, error.to_string());
            }
            None => {}
        }
        let mails = call.mails();
        let refused = match scripted {
            Answer::Refuse(refused) => refused.as_slice(),
            _ => &[],
        };
        let answer = match self.kind {
            ProviderKind::Resend => self.take_as_resend(&mails, refused, scripted),
            ProviderKind::Postmark => self.take_as_postmark(&mails, refused, scripted),
        };
        if self.kind == ProviderKind::Resend && !key.is_empty() {
            self.kept.insert(key, (call.body.clone(), answer.clone()));
        }
        (StatusCode::OK, answer.to_string())
    }

    fn take_as_resend(
        &mut self,
        mails: &[Value],
        refused: &[(usize, u16, &str)],
        scripted: &Answer,
    ) -> Value {
        let mut data = Vec::new();
        for (index, mail) in mails.iter().enumerate() {
            if refused.iter().any(|(place, ..)| *place == index) {
                continue;
            }
            let tag = |name: &str| {
                let tags = mail["tags"].as_array()?;
                let tag = tags.iter().find(|tag| tag["name"] == name)?;
                tag["value"].as_str()
            };
            let reference = reference(tag("invitation_id"), tag("send_seq"));
            for to in mail["to"].as_array().unwrap() {
                self.deliver(mail, to, ["subject", "html", "text"], reference);
            }
            data.push(json!({"id": format!("resend-{}", self.delivered.len())}));
        }
        if matches!(scripted, Answer::TakeAndForget) {
            data.pop();
        }
        let errors: Vec<Value> = refused
            .iter()
            .map(|(index, _, message)| json!({"index": index, "message": message}))
            .collect();
        json!({"data": data, "errors": errors})
    }

    fn take_as_postmark(
        &mut self,
        mails: &[Value],
        refused: &[(usize, u16, &str)],
        scripted: &Answer,
    ) -> Value {
        let mut results = Vec::new();
        for (index, mail) in mails.iter().enumerate() {
            if let Some((_, code, message)) = refused.iter().find(|(place, ..)| *place == index) {
                results.push(json!({"ErrorCode": code, "Message": message}));
                continue;
            }
            let metadata = &mail["Metadata"];
            let reference = reference(
                metadata["invitation_id"].as_str(),
                metadata["send_seq"].as_str(),
            );
            for to in mail["To"].as_str().unwrap().split(',') {
                let fields = ["Subject", "HtmlBody", "TextBody"];
                self.deliver(mail, &json!(to), fields, reference);
            }
            results.push(json!({
                "To": mail["To"],
                "SubmittedAt": "2026-11-22T19:00:00Z",
                "MessageID": format!("postmark-{}", self.delivered.len()),
                "ErrorCode": 0,
                "Message": "OK",
            }));
        }
        match scripted {
            Answer::TakeAndShuffle => results.reverse(),
            Answer::TakeAndMisaddress => results[0]["To"] = json!("stranger@example.net"),
            Answer::TakeAndForget => drop(results.pop()),
            _ => {}
        }
        json!(results)
    }

    fn deliver(
        &mut self,
        mail: &Value,
        to: &Value,
        [subject, html, text]: [&str; 3],
        reference: Option<SentMail>,
    ) {
        let field = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.delivered.push(DeliveredMail {
            to: field(to),
            subject: field(&mail[subject]),
            html: field(&mail[html]),
            text: field(&mail[text]),
            reference,
        });
    }
}

fn reference(invitation_id: Option<&str>, send_seq: Option<&str>) -> Option<SentMail> {
    Some(SentMail {
        invitation_id: invitation_id?.parse().ok()?,
        send_seq: send_seq?.parse().ok()?,
    })
}
