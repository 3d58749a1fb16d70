//! Web pages and a JSON API that show the messages.
//!
//! A message is untrusted. Its values are escaped. Its HTML is a document of its own in a sandboxed frame, with a policy
//! that runs no script and loads nothing. No request changes a message, so forged requests do no harm.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::mailbox::{Mailbox, MessageSummary};
use crate::message::ParsedMessage;

/// Messages in a list. Older messages can be found by their recipient.
const LISTED_MAX: usize = 1_000;
/// How long the shutdown waits for open requests.
const SHUTDOWN_DURATION_MAX: Duration = Duration::from_secs(2);

const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     img-src 'self' data:; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// A link in a message may open a new window, as in a mail program. Nothing else is allowed.
const MESSAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; \
     base-uri 'none'; frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox";

#[derive(Clone)]
struct Pages {
    mailbox: Arc<Mailbox>,
    templates: Arc<Environment<'static>>,
}

pub(crate) async fn serve(
    listener: TcpListener,
    mailbox: Arc<Mailbox>,
    stop: CancellationToken,
) -> io::Result<()> {
    let router = router(mailbox, listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        stream.set_nodelay(true).ok();
    });
    let serving =
        axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let shutdown_timeout = async {
        stop.cancelled().await;
        tokio::time::sleep(SHUTDOWN_DURATION_MAX).await;
    };
    tokio::select! {
        result = async { serving.await } => result,
        // A browser keeps idle connections open.
        () = shutdown_timeout => Ok(()),
    }
}

fn router(mailbox: Arc<Mailbox>, listen: SocketAddr) -> Router {
    let mut templates = Environment::new();
    for (name, source) in [
        ("layout.html", include_str!("templates/layout.html")),
        ("list.html", include_str!("templates/list.html")),
        ("message.html", include_str!("templates/message.html")),
        ("welcome.html", include_str!("templates/welcome.html")),
        ("missing.html", include_str!("templates/missing.html")),
    ] {
        templates
            .add_template(name, source)
            .expect("the templates are constants, and a test renders each of them");
    }
    let css = [(header::CONTENT_TYPE, "text/css; charset=utf-8")];
    let js = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
    Router::new()
        .route("/", get(list_page))
        .route("/mails/{id}", get(message_page))
        .route("/mails/{id}/html", get(message_html))
        .route("/api/mails", get(list_json))
        .route("/api/mails/{id}", get(message_json))
        .route("/welcome", get(welcome_page))
        .route(
            "/inbox.css",
            get((css, include_str!("templates/inbox.css"))),
        )
        .route("/inbox.js", get((js, include_str!("templates/inbox.js"))))
        .fallback(async |State(pages): State<Pages>| pages.missing())
        .layer(from_fn(add_headers))
        .layer(from_fn_with_state(listen, require_local_host))
        .with_state(Pages {
            mailbox,
            templates: Arc::new(templates),
        })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PageQuery {
    /// Part of the address of a recipient.
    to: String,
    /// html, text, headers or source. For other values, html if the message has HTML, otherwise text.
    view: String,
}

async fn list_page(State(pages): State<Pages>, Query(query): Query<PageQuery>) -> Response {
    let (count, addresses) = pages.mailbox.count();
    let messages = pages.list(&query);
    let context = context! {
        to => query.to.trim(),
        shown => messages.len(),
        messages => Value::from(Serde(&messages)),
        count,
        addresses,
        listed_max => LISTED_MAX,
    };
    pages.render(StatusCode::OK, "Messages", "list.html", context)
}

async fn list_json(
    State(pages): State<Pages>,
    Query(query): Query<PageQuery>,
) -> Json<Vec<MessageSummary>> {
    Json(pages.list(&query))
}

async fn message_page(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Response, Response> {
    let (summary, message) = pages.open(&id).await?;
    let has_html = message.html.is_some();
    let view = match query.view.as_str() {
        view @ ("html" | "text" | "headers" | "source") => view,
        _ if has_html => "html",
        _ => "text",
    };
    let title = message.subject.clone();
    let context = context! {
        message => Value::from(Serde(summary)),
        from => message.from,
        subject => message.subject,
        view,
        has_html,
        text => message.text,
        headers => Value::from(Serde(&message.headers)),
        source => message.source,
    };
    Ok(pages.render(StatusCode::OK, &title, "message.html", context))
}

async fn message_html(
    State(pages): State<Pages>,
    Path(id): Path<String>,
) -> Result<Response, Response> {
    let (_, message) = pages.open(&id).await?;
    let html = Html(with_link_target(&message.html.unwrap_or_default()));
    Ok(([(header::CONTENT_SECURITY_POLICY, MESSAGE_POLICY)], html).into_response())
}

/// Makes links open in a new window instead of the frame.
fn with_link_target(html: &str) -> String {
    const BASE: &str = "<base target=\"_blank\">";
    // After the doctype, because a browser uses quirks mode for a document that does not start with one.
    let start = html.trim_start().get(..9);
    let has_doctype = start.is_some_and(|start| start.eq_ignore_ascii_case("<!doctype"));
    match html.split_once('>') {
        Some((doctype, rest)) if has_doctype => format!("{doctype}>{BASE}{rest}"),
        _ => format!("{BASE}{html}"),
    }
}

#[derive(Serialize)]
struct MessageJson {
    #[serde(flatten)]
    summary: MessageSummary,
    #[serde(flatten)]
    message: ParsedMessage,
    link: Option<String>,
}

async fn message_json(
    State(pages): State<Pages>,
    Path(id): Path<String>,
) -> Result<Json<MessageJson>, Response> {
    let (summary, message) = pages.open(&id).await.map_err(|response| {
        let error = serde_json::json!({"error": "there is no such message"});
        (response.status(), Json(error)).into_response()
    })?;
    Ok(Json(MessageJson {
        summary,
        link: message.invitation_link().map(str::to_owned),
        message,
    }))
}

async fn welcome_page(State(pages): State<Pages>) -> Response {
    pages.render(StatusCode::OK, "Welcome", "welcome.html", context! {})
}

impl Pages {
    fn list(&self, query: &PageQuery) -> Vec<MessageSummary> {
        self.mailbox.list(query.to.trim(), LISTED_MAX)
    }

    /// Reads a message. The error is the response if that fails.
    async fn open(&self, id: &str) -> Result<(MessageSummary, ParsedMessage), Response> {
        let summary = self.mailbox.summary(id).ok_or_else(|| self.missing())?;
        match self.mailbox.read(id).await {
            Ok(Some(file)) => Ok((summary, ParsedMessage::parse(&file))),
            Ok(None) => Err(self.missing()),
            Err(error) => {
                tracing::error!(%error, "cannot read a message");
                Err(StatusCode::INTERNAL_SERVER_ERROR.into_response())
            }
        }
    }

    fn missing(&self) -> Response {
        let status = StatusCode::NOT_FOUND;
        self.render(status, "Not found", "missing.html", context! {})
    }

    /// Renders a template into the layout. All values are escaped. The layout inserts the rendered body as it is.
    fn render(&self, status: StatusCode, title: &str, name: &str, context: Value) -> Response {
        let render =
            |name: &str, context: Value| self.templates.get_template(name)?.render(context);
        let page = render(name, context).and_then(|body| {
            let body = Value::from_safe_string(body);
            render("layout.html", context! { title, body })
        });
        match page {
            Ok(page) => (status, Html(page)).into_response(),
            Err(error) => {
                tracing::error!(%error, "cannot render a page");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

async fn add_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(PAGE_POLICY));
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // A web site that is linked in a message must not see the address of its page.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// On the loopback interface, answers only requests with a local host name. This protects the pages against DNS rebinding,
/// with which a foreign web site could read the messages.
async fn require_local_host(
    State(listen): State<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !listen.ip().is_loopback() || is_local(host) {
        return next.run(request).await;
    }
    let message = "the inbox answers only requests with a local host name, such as localhost";
    (StatusCode::MISDIRECTED_REQUEST, message).into_response()
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let literal = name.trim_start_matches('[').trim_end_matches(']');
    let is_localhost = name.eq_ignore_ascii_case("localhost") || name.ends_with(".localhost");
    is_localhost || literal.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
#[path = "web_tests.rs"]
mod tests;
