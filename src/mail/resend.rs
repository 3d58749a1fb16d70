//! Resend's words: one call of its batch API, and what its answers mean.
//!
//! Read in <https://resend.com/docs/api-reference/emails/send-batch-emails> (at most 100 mails; `tags` and `headers`
//! of each), <https://resend.com/changelog/batch-validation-modes> (the permissive mode and its `errors`),
//! <https://resend.com/docs/dashboard/emails/idempotency-keys> (`Idempotency-Key`, kept for 24 hours),
//! <https://resend.com/docs/api-reference/errors> (names and statuses) and
//! <https://resend.com/docs/dashboard/emails/custom-headers> (`X-Entity-Ref-ID`). Resend sets Message-ID and Date
//! itself. HTTP is not spoken here.

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::outcome::{Accepted, Fate, SendError, Stage, masked};
use super::provider::ProviderLetter;
use super::provider_fault::{BatchOutcome, Refusal};

/// Where the API is.
pub(super) const BASE_URL: &str = "https://api.resend.com";
/// The batch call.
pub(super) const PATH: &str = "/emails/batch";
/// Most mails in one call.
pub(super) const BATCH_LIMIT: usize = 100;
/// How long a key is remembered.
pub(super) const KEYS_KEPT_FOR: Duration = Duration::from_hours(24);
/// The header a key travels in.
pub(super) const KEY_HEADER: &str = "idempotency-key";
/// The header that says what one bad mail does to the others.
pub(super) const VALIDATION_HEADER: &str = "x-batch-validation";
/// Nothing: it is refused alone.
pub(super) const VALIDATION: &str = "permissive";
/// Tells mail clients which mail this is, so that two invitations are not shown as one conversation.
const ENTITY_HEADER: &str = "X-Entity-Ref-ID";

#[derive(Serialize)]
struct Mail<'a> {
    from: &'a str,
    to: [&'a str; 1],
    subject: &'a str,
    html: &'a str,
    text: &'a str,
    headers: Headers<'a>,
    tags: [Tag; 2],
}

/// A JSON object whose order is ours, so that the same letter is the same bytes.
struct Headers<'a>(Vec<(&'a str, &'a str)>);

/// ASCII letters, digits, `_` and `-`, which ids and numbers are.
#[derive(Serialize)]
struct Tag {
    name: &'static str,
    value: String,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Option<Sent>>,
    #[serde(default)]
    errors: Vec<ItemError>,
}

#[derive(Deserialize)]
struct Sent {
    id: Option<String>,
}

#[derive(Deserialize)]
struct ItemError {
    index: usize,
    #[serde(default)]
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CallError {
    name: String,
    message: String,
}

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// The bytes of a call.
pub(super) fn body(letters: &[ProviderLetter]) -> Vec<u8> {
    let mails: Vec<Mail<'_>> = letters.iter().map(mail).collect();
    serde_json::to_vec(&mails).expect("texts and numbers are JSON")
}

fn mail(item: &ProviderLetter) -> Mail<'_> {
    let letter = &item.letter;
    let mut headers = vec![(ENTITY_HEADER, letter.message_id.as_str())];
    headers.extend(
        letter
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str())),
    );
    Mail {
        from: &letter.from,
        to: [&letter.to],
        subject: &letter.subject,
        html: &letter.html,
        text: &letter.text,
        headers: Headers(headers),
        tags: [
            Tag {
                name: "invitation_id",
                value: item.reference.invitation_id.to_string(),
            },
            Tag {
                name: "send_seq",
                value: item.reference.send_seq.to_string(),
            },
        ],
    }
}

/// The result of each letter; `None` if the answer is none.
///
/// `errors` names its mails by their place, `data` holds the ids of the others in order and names nobody. So the
/// numbers must agree, or nobody's id is believed.
pub(super) fn results(
    body: &[u8],
    letters: &[ProviderLetter],
) -> Option<Vec<Result<Accepted, SendError>>> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let mut refused: Vec<Option<&str>> = vec![None; letters.len()];
    let mut refused_count = 0;
    for error in &answer.errors {
        // A place that does not exist or comes twice leaves the numbers unequal.
        refused_count += 1;
        if let Some(place) = refused.get_mut(error.index) {
            *place = Some(&error.message);
        }
    }
    let mut ids = answer
        .data
        .iter()
        .flatten()
        .filter_map(|sent| sent.id.as_deref())
        .filter(|id| !id.is_empty());
    let is_complete = refused.iter().flatten().count() == refused_count
        && ids.clone().count() + refused_count == letters.len();
    let result = |refused: Option<&str>| match refused {
        Some(message) => Err(SendError::provider(fate(message), None, message)),
        None if is_complete => Ok(Accepted {
            reply: masked(ids.next().unwrap_or_default()),
        }),
        None => Err(SendError::fault(
            Fate::Retry,
            Stage::FinalReply,
            "the answer does not say which mails were taken",
        )),
    };
    Some(refused.into_iter().map(result).collect())
}

/// A mail that Resend finds invalid stays so. Its sender is the same in all of them, and no mail's fault.
fn fate(message: &str) -> Fate {
    if message.contains("`from`") || message.contains("domain is not verified") {
        Fate::LaneDown
    } else {
        Fate::Discard
    }
}

/// What Resend says of a call that it refuses as a whole.
pub(super) fn refusal(status: u16, body: &[u8]) -> Refusal {
    let error: CallError = serde_json::from_slice(body).unwrap_or_default();
    let outcome = match (status, error.name.as_str()) {
        (409, "invalid_idempotent_request") => Some(BatchOutcome::TakenBefore),
        (409, "concurrent_idempotent_requests") => Some(BatchOutcome::InProgress),
        _ => None,
    };
    Refusal {
        outcome,
        is_misconfigured: error.name == "invalid_from_address"
            || fate(&error.message) == Fate::LaneDown,
        text: format!("{} {}", error.name, error.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::provider;

    #[test]
    fn a_mail_is_always_the_same_bytes() {
        let item = provider::tests::letter();
        // A provider that remembers keys compares these with what an older version of this program sent.
        let expected = concat!(
            r#"[{"from":"Acme <invites@acme.example>","to":["alice@example.com"],"subject":"Join \"Nörthwind\"","#,
            r#""html":"<p>a</p>","text":"a\nb","#,
            r#""headers":{"X-Entity-Ref-ID":"inv.1@acme.example","Z-Last":"1","A-First":"2"},"#,
            r#""tags":[{"name":"invitation_id","value":"00000000-0000-0000-0000-000000000001"},"#,
            r#"{"name":"send_seq","value":"3"}]}]"#,
        );
        let bytes = body(&[item]);
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}
