//! The batch API of Resend.
//!
//! Sources: <https://resend.com/docs/api-reference/emails/send-batch-emails> (at most 100 emails, each with `tags` and
//! `headers`), <https://resend.com/changelog/batch-validation-modes> (the permissive mode and its `errors`),
//! <https://resend.com/docs/dashboard/emails/idempotency-keys> (`Idempotency-Key`, kept for 24 hours),
//! <https://resend.com/docs/api-reference/errors> (names and statuses) and
//! <https://resend.com/docs/dashboard/emails/custom-headers> (`X-Entity-Ref-ID`). Resend sets Message-ID and Date
//! itself.

use serde::{Deserialize, Serialize, Serializer};

use super::provider_batch::{BatchOutcome, BatchRefusal, BatchResults, ProviderMessage};
use crate::domain::masking::masked;
use crate::mail::send_error::{FailureAction, SendError, SendReceipt, SendStage};

pub(super) const KEY_HEADER: &str = "idempotency-key";
pub(super) const VALIDATION_HEADER: &str = "x-batch-validation";
/// An invalid email is refused alone.
pub(super) const VALIDATION: &str = "permissive";
/// Identifies the email, so that mail clients do not show two invitations as one conversation.
const ENTITY_HEADER: &str = "X-Entity-Ref-ID";

#[derive(Serialize)]
struct ResendEmail<'a> {
    from: &'a str,
    to: [&'a str; 1],
    subject: &'a str,
    html: &'a str,
    text: &'a str,
    #[serde(serialize_with = "as_object")]
    headers: Vec<(&'a str, &'a str)>,
    tags: [ResendTag; 2],
}

/// Resend allows ASCII letters, digits, `_` and `-`. Ids and numbers need no others.
#[derive(Serialize)]
struct ResendTag {
    name: &'static str,
    value: String,
}

#[derive(Deserialize)]
struct ResendResponse {
    data: Vec<Option<ResendSent>>,
    #[serde(default)]
    errors: Vec<ResendItemError>,
}

#[derive(Deserialize)]
struct ResendSent {
    id: Option<String>,
}

#[derive(Deserialize)]
struct ResendItemError {
    index: usize,
    #[serde(default)]
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResendCallError {
    name: String,
    message: String,
}

pub(super) fn body(messages: &[ProviderMessage]) -> Vec<u8> {
    let emails: Vec<ResendEmail<'_>> = messages.iter().map(ResendEmail::new).collect();
    serde_json::to_vec(&emails).expect("texts and numbers are JSON")
}

/// The result of each message; `None` if the response cannot be read.
///
/// `errors` gives the index of each refused email. `data` lists the ids of the others in order, without an index.
/// So the ids are used only if the numbers of both agree with the number of messages.
pub(super) fn results(response: &[u8], messages: &[ProviderMessage]) -> Option<BatchResults> {
    let response: ResendResponse = serde_json::from_slice(response).ok()?;
    let mut refusals: Vec<Option<&str>> = vec![None; messages.len()];
    for error in &response.errors {
        if let Some(refusal) = refusals.get_mut(error.index) {
            *refusal = Some(&error.message);
        }
    }
    let mut ids = response
        .data
        .iter()
        .flatten()
        .filter_map(|sent| sent.id.as_deref())
        .filter(|id| !id.is_empty());
    // An index that does not exist or occurs twice makes these numbers differ.
    let error_count = response.errors.len();
    let is_complete = refusals.iter().flatten().count() == error_count
        && ids.clone().count() + error_count == messages.len();
    let result = |refusal: Option<&str>| match refusal {
        Some(text) => Err(SendError::provider(action_for(text), None, text)),
        None if is_complete => Ok(SendReceipt {
            reply: masked(ids.next().unwrap_or_default()),
        }),
        None => Err(SendError::fault(
            FailureAction::Retry,
            SendStage::FinalReply,
            "the answer does not say which emails were accepted",
        )),
    };
    Some(refusals.into_iter().map(result).collect())
}

pub(super) fn refusal(status: u16, response: &[u8]) -> BatchRefusal {
    let error: ResendCallError = serde_json::from_slice(response).unwrap_or_default();
    let outcome = match (status, error.name.as_str()) {
        (409, "invalid_idempotent_request") => Some(BatchOutcome::KeyReused),
        (409, "concurrent_idempotent_requests") => Some(BatchOutcome::InProgress),
        _ => None,
    };
    BatchRefusal {
        outcome,
        is_misconfigured: error.name == "invalid_from_address"
            || action_for(&error.message) == FailureAction::PauseLane,
        text: format!("{} {}", error.name, error.message),
    }
}

impl<'a> ResendEmail<'a> {
    fn new(item: &'a ProviderMessage) -> Self {
        let message = &item.message;
        let tag = |name, value| ResendTag { name, value };
        let headers = message.headers.iter();
        let headers = headers.map(|(name, value)| (*name, value.as_str()));
        let entity = (ENTITY_HEADER, message.message_id.as_str());
        Self {
            from: &message.from,
            to: [&message.to],
            subject: &message.subject,
            html: &message.html,
            text: &message.text,
            headers: [entity].into_iter().chain(headers).collect(),
            tags: [
                tag("invitation_id", item.reference.invitation_id.to_string()),
                tag("send_seq", item.reference.send_seq.to_string()),
            ],
        }
    }
}

/// A JSON object with a fixed order, so that the same message gives the same bytes.
fn as_object<S: Serializer>(headers: &[(&str, &str)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(headers.iter().copied())
}

/// An email that Resend finds invalid stays invalid. The sender is the same in every email, so its fault concerns the
/// lane.
fn action_for(message: &str) -> FailureAction {
    if message.contains("`from`") || message.contains("domain is not verified") {
        FailureAction::PauseLane
    } else {
        FailureAction::Discard
    }
}

#[cfg(test)]
mod tests {
    use super::super::provider_batch::tests::message;
    use super::*;

    #[test]
    fn the_bytes_of_a_message_do_not_change_between_versions() {
        // Resend compares these bytes with those that an older version of this program sent under the same key.
        let expected = concat!(
            r#"[{"from":"Acme <invites@acme.example>","to":["alice@example.com"],"subject":"Join \"Nörthwind\"","#,
            r#""html":"<p>a</p>","text":"a\nb","#,
            r#""headers":{"X-Entity-Ref-ID":"inv.1@acme.example","Z-Last":"1","A-First":"2"},"#,
            r#""tags":[{"name":"invitation_id","value":"00000000-0000-0000-0000-000000000001"},"#,
            r#"{"name":"send_seq","value":"3"}]}]"#,
        );
        let bytes = body(&[message()]);
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}
