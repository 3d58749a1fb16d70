//! One-click unsubscribe (RFC 8058): a link in each mail with which its reader, and nobody else, stops further ones.
//!
//! Scanners follow links, so looking changes nothing; only a POST that says what it is for does, be it a mail
//! program's or that of the form on the page. It needs no cookie and no account: the token is the proof. The token
//! stands in no log and in no page.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;

use super::page;
use super::server::Http;
use crate::domain::actor::Actor;

/// Who acts, for the audit log: whoever holds the token.
const CALLER: &str = "http:unsubscribe";

/// The name and the value of what a mail program posts.
const FIELD: &[u8] = b"List-Unsubscribe";
/// See [`FIELD`].
const VALUE: &[u8] = b"One-Click";

/// Shows the page of a genuine token.
pub(super) async fn show(State(http): State<Http>, Path(token): Path<String>) -> Response {
    if http.service.is_unsubscribe_token(&token) {
        page::question()
    } else {
        page::missing()
    }
}

/// Stops mails to the address of a genuine token.
pub(super) async fn confirm(
    State(http): State<Http>,
    Path(token): Path<String>,
    body: Bytes,
) -> Response {
    if !http.service.is_unsubscribe_token(&token) {
        return page::missing();
    }
    if !is_one_click(&body) {
        return page::incomplete();
    }
    match http
        .service
        .unsubscribe(&token, Actor::from_outside(CALLER))
        .await
    {
        Ok(true) => page::done(),
        Ok(false) => page::missing(),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, cause = error.source(), "cannot unsubscribe");
            page::unavailable()
        }
    }
}

/// Whether a body says so, as a form or in parts (RFC 8058 §3.2 allows both): neither writes these words otherwise.
fn is_one_click(body: &[u8]) -> bool {
    let contains = |words: &[u8]| body.windows(words.len()).any(|window| window == words);
    contains(FIELD) && contains(VALUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_one_click_body_are_understood() {
        let parts = b"--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--";
        assert!(is_one_click(parts));
        assert!(is_one_click(b"List-Unsubscribe=One-Click"));
        assert!(!is_one_click(b""));
        assert!(!is_one_click(b"List-Unsubscribe=No"));
    }
}
