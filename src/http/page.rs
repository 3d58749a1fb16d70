//! The pages for readers of emails: one layout and five texts. They contain nothing of the request.

use std::sync::LazyLock;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::limits::RETRY_DELAY_SECONDS;

const LAYOUT: &str = include_str!("pages/layout.html");
const STYLE: &str = include_str!("pages/page.css");
/// The form posts to the URL of its page, so the page does not contain the token.
const FORM: &str = "<form method=\"post\"><input type=\"hidden\" name=\"List-Unsubscribe\" value=\"One-Click\">\
     <button>Stop invitations</button></form>";

/// Allows the style sheet of the page by its hash, and no other.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("the policy is visible ASCII")
});

pub(super) fn question() -> Response {
    page(
        StatusCode::OK,
        "Stop invitation emails?",
        "Somebody invited you by email. If you stop invitations, no organization can send another one to this email \
         address through this service. Invitations you have already accepted stay as they are.",
        FORM,
    )
}

pub(super) fn done() -> Response {
    page(
        StatusCode::OK,
        "You will get no more invitations",
        "Your email address was taken off. It may take a few minutes until emails that are already on their way have \
         arrived.",
        "",
    )
}

pub(super) fn missing() -> Response {
    page(
        StatusCode::NOT_FOUND,
        "There is nothing here",
        "The link may have been cut off. Please open it again from the email, or copy all of it.",
        "",
    )
}

pub(super) fn incomplete() -> Response {
    page(
        StatusCode::BAD_REQUEST,
        "Nothing was changed",
        "Please open the link from the email again, and use the button on the page.",
        "",
    )
}

pub(super) fn unavailable() -> Response {
    let page = page(
        StatusCode::SERVICE_UNAVAILABLE,
        "Please try again in a minute",
        "Something is not working right now, and nothing was changed. We are sorry.",
        "",
    );
    let retry_after = HeaderValue::from(RETRY_DELAY_SECONDS);
    ([(header::RETRY_AFTER, retry_after)], page).into_response()
}

fn page(status: StatusCode, title: &str, text: &str, form: &str) -> Response {
    let html = LAYOUT
        .replace("{{style}}", STYLE)
        .replace("{{title}}", title)
        .replace("{{text}}", text)
        .replace("{{form}}", form);
    let policy = (header::CONTENT_SECURITY_POLICY, POLICY.clone());
    (status, [policy], Html(html)).into_response()
}
