//! A mail provider over real HTTP that follows the script of a test and records every request.
//!
//! The provider has Resend's or Postmark's batch API and accepts everything unless the script says otherwise: replies
//! are queued, and each call uses one. Like Resend, it remembers idempotency keys: it answers a repeated call as it
//! answered the first one and delivers nothing, and it refuses another call under the same key.

mod api;
mod listener;
mod script;

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use invitations::mail::providers::ProviderKind;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

use crate::support::certificates::localhost_tls;
use api::BatchApi;
use listener::{ProviderListener, ProviderSocket};

pub(crate) use api::DeliveredMail;
pub(crate) use script::{ProviderCall, ProviderReply};

struct ProviderState {
    script: VecDeque<ProviderReply>,
    calls: Vec<ProviderCall>,
    connections: usize,
    api: BatchApi,
}

/// A running provider. It stops when it is dropped.
pub(crate) struct ProviderServer {
    base_url: Url,
    certificate_pem: String,
    state: Arc<Mutex<ProviderState>>,
    server: JoinHandle<()>,
}

impl ProviderServer {
    /// Listens on a free port of 127.0.0.1 without TLS.
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
        let (acceptor, certificate_pem) = localhost_tls(2100);
        let base_url = if is_encrypted {
            format!("https://localhost:{port}")
        } else {
            format!("http://127.0.0.1:{port}")
        };
        let state = Arc::new(Mutex::new(ProviderState {
            script: VecDeque::new(),
            calls: Vec::new(),
            connections: 0,
            api: BatchApi::new(kind),
        }));
        let of_connection = Arc::clone(&state);
        let listener = ProviderListener {
            tcp,
            acceptor: is_encrypted.then_some(acceptor),
            accepts: Box::new(move || of_connection.lock().unwrap().accepts_connection()),
        };
        let service = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&state))
            .into_make_service_with_connect_info::<ProviderSocket>();
        let server = tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        Self {
            base_url: Url::parse(&base_url).unwrap(),
            certificate_pem,
            state,
            server,
        }
    }

    pub(crate) fn base_url(&self) -> Url {
        self.base_url.clone()
    }

    /// The certificate for `localhost` that the provider presents.
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Queues a reply for the next call.
    pub(crate) fn reply_once(&self, reply: ProviderReply) -> &Self {
        self.state.lock().unwrap().script.push_back(reply);
        self
    }

    /// Every accepted message, in order. A message that was accepted twice is in it twice.
    pub(crate) fn delivered(&self) -> Vec<DeliveredMail> {
        self.state.lock().unwrap().api.delivered.clone()
    }

    /// Every call that was read to its end, in order.
    pub(crate) fn requests(&self) -> Vec<ProviderCall> {
        self.state.lock().unwrap().calls.clone()
    }

    /// The number of connections that were made.
    pub(crate) fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }
}

impl Drop for ProviderServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl ProviderState {
    fn accepts_connection(&mut self) -> bool {
        self.connections += 1;
        let is_refused = matches!(self.script.front(), Some(ProviderReply::CloseUnread));
        if is_refused {
            self.script.pop_front();
        }
        !is_refused
    }
}

async fn answer(
    State(state): State<Arc<Mutex<ProviderState>>>,
    ConnectInfo(socket): ConnectInfo<ProviderSocket>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let call = ProviderCall {
        path: format!("{} {}", parts.method, parts.uri.path()),
        headers: parts.headers,
        body: body.to_vec(),
    };
    let (scripted, (status, text)) = {
        let mut state = state.lock().unwrap();
        state.calls.push(call.clone());
        let scripted = state.script.pop_front().unwrap_or(ProviderReply::Ok);
        let usual = state.api.answer(&call, &scripted);
        (scripted, usual)
    };
    match scripted {
        ProviderReply::Say(status, headers, text) => {
            let mut response = (StatusCode::from_u16(status).unwrap(), text).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            return response;
        }
        ProviderReply::AcceptAndSay(status, text) => {
            return (StatusCode::from_u16(status).unwrap(), text).into_response();
        }
        ProviderReply::AcceptAndCut => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
            let cut = format!("{head}{}", &text[..text.len() / 2]);
            socket.bare().write_all(cut.as_bytes()).unwrap();
            socket.close();
        }
        ProviderReply::AcceptAndClose | ProviderReply::Close => socket.close(),
        ProviderReply::AcceptAndHang => std::future::pending().await,
        _ => {}
    }
    (status, text).into_response()
}
