//! The pages and a small JSON API to look at the mails.
//!
//! A mail is untrusted: what is shown of it is escaped, and its HTML is served alone, into a sandboxed frame, under a
//! policy that runs no script and loads nothing from anywhere. Nothing here changes a mail, so there is nothing to
//! protect from forged requests; but a page elsewhere must not read the mails through a host name of its own that
//! leads to the loopback interface, so only local names are answered there.

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
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::letter::Letter;
use super::mailbox::{Mailbox, Summary};

/// Mails on the list page and in the JSON list; the rest is found by its recipient.
const LISTED_MAX: usize = 1_000;
/// How long a stop waits for requests that are being answered.
const STOP_DURATION_MAX: Duration = Duration::from_secs(2);

const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     img-src 'self' data:; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// A link in a mail may open a window, as it would in a mail program; that is all a mail may do.
const MAIL_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; \
     base-uri 'none'; frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox";

/// What every handler can reach.
#[derive(Clone)]
struct Web {
    mailbox: Arc<Mailbox>,
    pages: Arc<Environment<'static>>,
}

/// Serves until `stop` is cancelled.
pub(super) async fn serve(
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
    let given_up = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_DURATION_MAX).await;
    };
    tokio::select! {
        served = async { serving.await } => served,
        // A browser holds on to its connections; they are of no use once nobody takes mails any more.
        () = given_up => Ok(()),
    }
}

fn router(mailbox: Arc<Mailbox>, listen: SocketAddr) -> Router {
    let mut pages = Environment::new();
    for (name, source) in [
        ("layout.html", include_str!("pages/layout.html")),
        ("list.html", include_str!("pages/list.html")),
        ("mail.html", include_str!("pages/mail.html")),
        ("welcome.html", include_str!("pages/welcome.html")),
        ("missing.html", include_str!("pages/missing.html")),
    ] {
        pages
            .add_template(name, source)
            .expect("the templates are part of the program and a test renders each");
    }
    let css = || async { asset("text/css; charset=utf-8", include_str!("pages/inbox.css")) };
    let js = || async {
        asset(
            "text/javascript; charset=utf-8",
            include_str!("pages/inbox.js"),
        )
    };
    Router::new()
        .route("/", get(list_page))
        .route("/mails/{id}", get(mail_page))
        .route("/mails/{id}/html", get(mail_html))
        .route("/api/mails", get(list_json))
        .route("/api/mails/{id}", get(mail_json))
        .route("/welcome", get(welcome_page))
        .route("/inbox.css", get(css))
        .route("/inbox.js", get(js))
        .fallback(missing_page)
        .layer(from_fn(add_headers))
        .layer(from_fn_with_state(listen, refuse_foreign_hosts))
        .with_state(Web {
            mailbox,
            pages: Arc::new(pages),
        })
}

#[derive(Deserialize)]
struct ListQuery {
    /// Part of a recipient's address.
    #[serde(default)]
    to: String,
}

async fn list_page(State(web): State<Web>, Query(query): Query<ListQuery>) -> Response {
    let count = web.mailbox.count();
    let mails: Vec<MailLine> = list(&web, &query);
    let context = context! {
        to => query.to.trim(),
        shown => mails.len(),
        mails => Value::from(Serde(&mails)),
        count => count.mails,
        addresses => count.addresses,
        listed_max => LISTED_MAX,
    };
    web.page(StatusCode::OK, "Mails", "list.html", context)
}

async fn list_json(State(web): State<Web>, Query(query): Query<ListQuery>) -> Json<Vec<MailLine>> {
    Json(list(&web, &query))
}

fn list(web: &Web, query: &ListQuery) -> Vec<MailLine> {
    let summaries = web.mailbox.list(query.to.trim(), LISTED_MAX);
    summaries.into_iter().map(MailLine::from).collect()
}

/// What the list tells of a mail.
#[derive(Serialize)]
struct MailLine {
    id: String,
    to: Vec<String>,
    subject: String,
    received: String,
}

impl From<Summary> for MailLine {
    fn from(summary: Summary) -> Self {
        Self {
            id: summary.id,
            to: summary.to,
            subject: summary.subject,
            received: timestamp(summary.received),
        }
    }
}

#[derive(Deserialize)]
struct MailQuery {
    /// html, text, headers or source; anything else is the first one there is.
    #[serde(default)]
    view: String,
}

async fn mail_page(
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(query): Query<MailQuery>,
) -> Response {
    let (summary, letter) = match web.open(&id).await {
        Ok(opened) => opened,
        Err(response) => return response,
    };
    let view = match query.view.as_str() {
        view @ ("html" | "text" | "headers" | "source") => view,
        _ if letter.html.is_some() => "html",
        _ => "text",
    };
    let title = letter.subject.clone();
    let has_html = letter.html.is_some();
    let context = context! {
        mail => Value::from(Serde(MailLine::from(summary))),
        from => letter.from,
        subject => letter.subject,
        view,
        has_html,
        text => letter.text,
        headers => Value::from(Serde(&letter.headers)),
        source => letter.source,
    };
    web.page(StatusCode::OK, &title, "mail.html", context)
}

async fn mail_html(State(web): State<Web>, Path(id): Path<String>) -> Response {
    let letter = match web.open(&id).await {
        Ok((_, letter)) => letter,
        Err(response) => return response,
    };
    let html = letter.html.unwrap_or_default();
    let policy = HeaderValue::from_static(MAIL_POLICY);
    (
        [(header::CONTENT_SECURITY_POLICY, policy)],
        Html(in_new_windows(&html)),
    )
        .into_response()
}

/// Makes links open a window: the frame is no place to follow them in.
fn in_new_windows(html: &str) -> String {
    const BASE: &str = "<base target=\"_blank\">";
    // Behind the doctype, because a page that does not begin with it is laid out in quirks mode.
    let starts_with_doctype = html
        .trim_start()
        .get(..9)
        .is_some_and(|start| start.eq_ignore_ascii_case("<!doctype"));
    match html.split_once('>') {
        Some((doctype, rest)) if starts_with_doctype => format!("{doctype}>{BASE}{rest}"),
        _ => format!("{BASE}{html}"),
    }
}

/// A mail with its parts.
#[derive(Serialize)]
struct MailJson {
    #[serde(flatten)]
    line: MailLine,
    from: String,
    text: Option<String>,
    html: Option<String>,
    headers: Vec<(String, String)>,
    link: Option<String>,
}

async fn mail_json(State(web): State<Web>, Path(id): Path<String>) -> Response {
    let (summary, letter) = match web.open(&id).await {
        Ok(opened) => opened,
        Err(response) => {
            return (
                response.status(),
                Json(serde_json::json!({"error": "no such mail"})),
            )
                .into_response();
        }
    };
    Json(MailJson {
        line: MailLine::from(summary),
        link: letter.invitation_link().map(str::to_owned),
        from: letter.from,
        text: letter.text,
        html: letter.html,
        headers: letter.headers,
    })
    .into_response()
}

async fn welcome_page(State(web): State<Web>) -> Response {
    web.page(StatusCode::OK, "Welcome", "welcome.html", context! {})
}

async fn missing_page(State(web): State<Web>) -> Response {
    web.missing()
}

impl Web {
    /// Reads a mail, or says what to answer instead.
    async fn open(&self, id: &str) -> Result<(Summary, Letter), Response> {
        let summary = self.mailbox.summary(id).ok_or_else(|| self.missing())?;
        match self.mailbox.read(id).await {
            Ok(Some(file)) => Ok((summary, Letter::open(&file))),
            Ok(None) => Err(self.missing()),
            Err(error) => {
                tracing::error!(%error, "cannot read a mail");
                Err(StatusCode::INTERNAL_SERVER_ERROR.into_response())
            }
        }
    }

    fn missing(&self) -> Response {
        self.page(
            StatusCode::NOT_FOUND,
            "Not here",
            "missing.html",
            context! {},
        )
    }

    /// Renders a page into the layout. Every value is escaped in the one and its result alone trusted in the other.
    fn page(&self, status: StatusCode, title: &str, name: &str, context: Value) -> Response {
        let render = |name: &str, context: Value| self.pages.get_template(name)?.render(context);
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

fn asset(content_type: &'static str, body: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

fn timestamp(time: OffsetDateTime) -> String {
    let time = time.replace_nanosecond(0).unwrap_or(time);
    time.format(&Rfc3339).unwrap_or_default()
}

async fn add_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(PAGE_POLICY));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    // The address of a mail's page is nobody's business, least of all of a link in it.
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// On the loopback interface, answers only those who came by a local name (against DNS rebinding).
async fn refuse_foreign_hosts(
    State(listen): State<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    if !listen.ip().is_loopback() || is_local(host) {
        return next.run(request).await;
    }
    (
        StatusCode::MISDIRECTED_REQUEST,
        "this inbox answers local names alone",
    )
        .into_response()
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
