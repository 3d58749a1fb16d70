//! The batch API of Postmark.
//!
//! Sources: <https://postmarkapp.com/developer/user-guide/send-email-with-api/batch-emails> (at most 500 emails, results
//! in the same order), <https://postmarkapp.com/developer/api/email-api> (fields),
//! <https://postmarkapp.com/developer/api/overview> (error codes and the header of the token),
//! <https://postmarkapp.com/developer/user-guide/send-email-with-smtp> (`X-PM-KeepID`, without which Postmark replaces
//! the Message-ID) and <https://postmarkapp.com/updates/custom-metadata-for-your-emails> (webhooks return the
//! metadata). Postmark has no idempotency keys and sets Date itself.

use serde::{Deserialize, Serialize};

use super::provider_batch::{BatchRefusal, BatchResults, ProviderMessage};
use crate::domain::masking::masked;
use crate::mail::send_error::{
    FailureAction, INACTIVE_RECIPIENT, SendError, SendReceipt, SendStage,
};

pub(super) const TOKEN_HEADER: &str = "x-postmark-server-token";
/// The error code of an invalid email or recipient address.
const INVALID_REQUEST: u16 = 300;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PostmarkEmail<'a> {
    from: &'a str,
    to: &'a str,
    subject: &'a str,
    html_body: &'a str,
    text_body: &'a str,
    headers: Vec<PostmarkHeader<'a>>,
    /// Off: a tracking pixel is loaded from the network, and a rewritten link gives its token to the tracker.
    track_opens: bool,
    track_links: &'static str,
    metadata: PostmarkMetadata,
    message_stream: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PostmarkHeader<'a> {
    name: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct PostmarkMetadata {
    invitation_id: String,
    send_seq: String,
}

/// The result of one email, or of a whole call.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PostmarkResult {
    error_code: u16,
    #[serde(default)]
    message: String,
    to: Option<String>,
    #[serde(rename = "MessageID")]
    message_id: Option<String>,
}

pub(super) fn body(messages: &[ProviderMessage], message_stream: &str) -> Vec<u8> {
    let message_ids: Vec<String> = messages
        .iter()
        .map(|item| format!("<{}>", item.message.message_id))
        .collect();
    let emails: Vec<PostmarkEmail<'_>> = messages
        .iter()
        .zip(&message_ids)
        .map(|(item, message_id)| PostmarkEmail::new(item, message_id, message_stream))
        .collect();
    serde_json::to_vec(&emails).expect("texts and numbers are JSON")
}

/// The result of each message; `None` if the response cannot be read.
///
/// Results are in the order of the messages and, at least for accepted ones, name the recipient. A result that names
/// another recipient, and a list of another length, cannot be assigned to a message.
pub(super) fn results(response: &[u8], messages: &[ProviderMessage]) -> Option<BatchResults> {
    let results: Vec<PostmarkResult> = serde_json::from_slice(response).ok()?;
    if results.len() != messages.len() {
        return Some(messages.iter().map(|_| Err(mismatched())).collect());
    }
    let pairs = results.into_iter().zip(messages);
    let checked = pairs.map(|(result, item)| result.check(&item.message.to));
    Some(checked.collect())
}

pub(super) fn refusal(response: &[u8]) -> BatchRefusal {
    let Ok(result) = serde_json::from_slice::<PostmarkResult>(response) else {
        return BatchRefusal::default();
    };
    let action = action_for(result.error_code, &result.message);
    BatchRefusal {
        outcome: None,
        is_misconfigured: action == FailureAction::PauseLane,
        text: format!("{} {}", result.error_code, result.message),
    }
}

impl<'a> PostmarkEmail<'a> {
    fn new(item: &'a ProviderMessage, message_id: &'a str, message_stream: &'a str) -> Self {
        let message = &item.message;
        let own = [("Message-ID", message_id), ("X-PM-KeepID", "true")];
        let headers = message.headers.iter();
        let headers = own
            .into_iter()
            .chain(headers.map(|(name, value)| (*name, value.as_str())))
            .map(|(name, value)| PostmarkHeader { name, value })
            .collect();
        Self {
            from: &message.from,
            to: &message.to,
            subject: &message.subject,
            html_body: &message.html,
            text_body: &message.text,
            headers,
            track_opens: false,
            track_links: "None",
            metadata: PostmarkMetadata {
                invitation_id: item.reference.invitation_id.to_string(),
                send_seq: item.reference.send_seq.to_string(),
            },
            message_stream,
        }
    }
}

impl PostmarkResult {
    fn check(&self, recipient: &str) -> Result<SendReceipt, SendError> {
        let named = self.to.as_deref().filter(|to| !to.is_empty());
        if named.is_some_and(|to| !is_same_address(to, recipient)) {
            return Err(mismatched());
        }
        match self.error_code {
            0 if named.is_some() => Ok(SendReceipt {
                reply: masked(self.message_id.as_deref().unwrap_or_default()),
            }),
            0 => Err(mismatched()),
            // An inactive recipient gets no further email, so the result must be about this recipient.
            INACTIVE_RECIPIENT if names_another_address(&self.message, recipient) => {
                Err(mismatched())
            }
            code => {
                let action = action_for(code, &self.message);
                Err(SendError::provider(action, Some(code), &self.message))
            }
        }
    }
}

fn mismatched() -> SendError {
    SendError::fault(
        FailureAction::Retry,
        SendStage::FinalReply,
        "the answer is about another email",
    )
}

/// Whether `to`, which may have a display name, is this address. Providers may change its case.
fn is_same_address(to: &str, recipient: &str) -> bool {
    let address = to
        .rsplit_once('<')
        .map_or(to, |(_, address)| address.trim_end().trim_end_matches('>'));
    address.trim().eq_ignore_ascii_case(recipient)
}

/// Whether a text names addresses, and this recipient's is not among them.
fn names_another_address(text: &str, recipient: &str) -> bool {
    let mut addresses = text
        .split([' ', ',', ';', '<', '>'])
        .map(|word| word.trim_matches(['.', ':', '\'', '"']))
        .filter(|word| word.contains('@'))
        .peekable();
    addresses.peek().is_some() && !addresses.any(|address| address.eq_ignore_ascii_case(recipient))
}

/// Codes 10, 400, 401, 405, 412 and 413 concern the token, the sender or the account.
fn action_for(code: u16, message: &str) -> FailureAction {
    // The sender and the stream are the same in every email.
    let is_about_lane = message.contains("'From'") || message.contains("MessageStream");
    match code {
        10 | 400 | 401 | 405 | 412 | 413 => FailureAction::PauseLane,
        INVALID_REQUEST if is_about_lane => FailureAction::PauseLane,
        INVALID_REQUEST | INACTIVE_RECIPIENT => FailureAction::Discard,
        _ => FailureAction::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::super::provider_batch::tests::message;
    use super::*;

    #[test]
    fn the_bytes_of_a_message_do_not_change_between_versions() {
        // A retried email must have the bytes that an older version of this program sent.
        let expected = concat!(
            r#"[{"From":"Acme <invites@acme.example>","To":"alice@example.com","Subject":"Join \"Nörthwind\"","#,
            r#""HtmlBody":"<p>a</p>","TextBody":"a\nb","#,
            r#""Headers":[{"Name":"Message-ID","Value":"<inv.1@acme.example>"},"#,
            r#"{"Name":"X-PM-KeepID","Value":"true"},"#,
            r#"{"Name":"Z-Last","Value":"1"},{"Name":"A-First","Value":"2"}],"#,
            r#""TrackOpens":false,"TrackLinks":"None","#,
            r#""Metadata":{"invitation_id":"00000000-0000-0000-0000-000000000001","send_seq":"3"},"#,
            r#""MessageStream":"outbound"}]"#,
        );
        let bytes = body(&[message()], "outbound");
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}
