//! One-click unsubscribe (RFC 8058): each email has a link with which only its reader can unsubscribe.
//!
//! Mail scanners follow links, so a GET changes nothing. Only a POST with the fields of RFC 8058, of a mail client or of
//! the form on the page, unsubscribes. The token in the URL is the only credential; it appears in no log and no page.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::response::{Response, Result};

use super::body_memory::BodyRoute;
use super::state::HttpState;
use super::{page, request_body};
use crate::connections::TrackedConnection;
use crate::domain::actor::Actor;

const CALLER: &str = "http:unsubscribe";

// The form field of RFC 8058 and its value.
const FIELD: &[u8] = b"List-Unsubscribe";
const VALUE: &[u8] = b"One-Click";

pub(super) async fn show(
    State(http): State<HttpState>,
    Extension(connection): Extension<Arc<TrackedConnection>>,
    Path(token): Path<String>,
) -> Response {
    if !http.service.is_unsubscribe_token(&token) {
        return page::missing();
    }
    connection.authenticate(CALLER);
    page::question()
}

pub(super) async fn confirm(
    State(http): State<HttpState>,
    Extension(connection): Extension<Arc<TrackedConnection>>,
    Path(token): Path<String>,
    request: Request,
) -> Result<Response> {
    // The token is checked before the body is read, so that strangers use no memory.
    if !http.service.is_unsubscribe_token(&token) {
        return Ok(page::missing());
    }
    connection.authenticate(CALLER);
    let body = request_body::of_authenticated(&http, request, BodyRoute::Unsubscribe).await?;
    if !is_one_click(&body.bytes) {
        return Ok(page::incomplete());
    }
    let actor = Actor::from_outside(CALLER);
    Ok(match http.service.unsubscribe(&token, actor).await {
        Ok(true) => page::done(),
        Ok(false) => page::missing(),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, cause = error.source(), "cannot unsubscribe");
            page::unavailable()
        }
    })
}

/// Whether a body has the field and the value, as a form or as multipart (RFC 8058 §3.2). Both encode them literally.
fn is_one_click(body: &[u8]) -> bool {
    let contains = |text: &[u8]| body.windows(text.len()).any(|window| window == text);
    contains(FIELD) && contains(VALUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_click_bodies_are_recognized_in_both_encodings() {
        let parts = b"--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--";
        assert!(is_one_click(parts));
        assert!(is_one_click(b"List-Unsubscribe=One-Click"));
        assert!(!is_one_click(b""));
        assert!(!is_one_click(b"List-Unsubscribe=No"));
    }
}
