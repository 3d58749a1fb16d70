//! The pages a reader of a mail may see: one layout, four texts, nothing in them that came with a request.

use std::sync::LazyLock;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::limits::RETRY_DELAY_SECONDS;

const LAYOUT: &str = include_str!("pages/layout.html");
const STYLE: &str = include_str!("pages/page.css");
/// A form that leads to where its page is: the token is nowhere in the page.
const FORM: &str = "<form method=\"post\"><input type=\"hidden\" name=\"List-Unsubscribe\" value=\"One-Click\">\
     <button>Stop invitations</button></form>";

/// The one style sheet of a page is allowed by its hash, so that no other can be slipped in.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("a policy of visible ASCII")
});

/// Asks whether the reader means it.
pub(super) fn question() -> Response {
    page(
        StatusCode::OK,
        "Stop invitation emails?",
        "Somebody invited you by email. If you stop invitations, no organization can send another one to this email \
         address through this service. Invitations you have already accepted stay as they are.",
        FORM,
    )
}

/// Says that it is done.
pub(super) fn done() -> Response {
    page(
        StatusCode::OK,
        "You will get no more invitations",
        "Your email address was taken off. It may take a few minutes until emails that are already on their way have \
         arrived.",
        "",
    )
}

/// Says that there is nothing here.
pub(super) fn missing() -> Response {
    page(
        StatusCode::NOT_FOUND,
        "There is nothing here",
        "The link may have been cut off. Please open it again from the email, or copy all of it.",
        "",
    )
}

/// Says that a form came without what it asks for.
pub(super) fn incomplete() -> Response {
    page(
        StatusCode::BAD_REQUEST,
        "Nothing was changed",
        "Please open the link from the email again, and use the button on the page.",
        "",
    )
}

/// Says that it could not be done now.
pub(super) fn unavailable() -> Response {
    let mut response = page(
        StatusCode::SERVICE_UNAVAILABLE,
        "Please try again in a minute",
        "Something is not working right now, and nothing was changed. We are sorry.",
        "",
    );
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, RETRY_DELAY_SECONDS.into());
    response
}

fn page(status: StatusCode, title: &str, text: &str, form: &str) -> Response {
    let html = LAYOUT
        .replace("{{style}}", STYLE)
        .replace("{{title}}", title)
        .replace("{{text}}", text)
        .replace("{{form}}", form);
    let mut response = (status, Html(html)).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    response
}
