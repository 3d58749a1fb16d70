//! Postmark's words: one call of its batch API, and what its answers mean.
//!
//! Read in <https://postmarkapp.com/developer/user-guide/send-email-with-api/batch-emails> (at most 500 mails, answers
//! in the same order), <https://postmarkapp.com/developer/api/email-api> (fields),
//! <https://postmarkapp.com/developer/api/overview> (error codes; the token's header),
//! <https://postmarkapp.com/developer/user-guide/send-email-with-smtp> (`X-PM-KeepID`, without which Message-ID is
//! replaced) and <https://postmarkapp.com/updates/custom-metadata-for-your-emails> (metadata comes back in webhooks).
//! Postmark knows no idempotency keys and sets Date itself. HTTP is not spoken here.

use serde::{Deserialize, Serialize};

use super::outcome::{Accepted, Fate, INACTIVE_RECIPIENT, SendError, Stage, masked};
use super::provider::ProviderLetter;
use super::provider_fault::Refusal;

/// Where the API is.
pub(super) const BASE_URL: &str = "https://api.postmarkapp.com";
/// The batch call.
pub(super) const PATH: &str = "/email/batch";
/// Most mails in one call.
pub(super) const BATCH_LIMIT: usize = 500;
/// The header our token travels in.
pub(super) const TOKEN_HEADER: &str = "x-postmark-server-token";
/// The mail itself is at fault, or its recipient's address.
const INVALID_REQUEST: u16 = 300;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Mail<'a> {
    from: &'a str,
    to: &'a str,
    subject: &'a str,
    html_body: &'a str,
    text_body: &'a str,
    headers: Vec<Header<'a>>,
    /// A pixel would be loaded from a network, and a rewritten link would hand its token to the tracker.
    track_opens: bool,
    track_links: &'static str,
    metadata: Metadata,
    message_stream: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Header<'a> {
    name: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct Metadata {
    invitation_id: String,
    send_seq: String,
}

/// One mail's result, or what is said of a whole call.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    error_code: u16,
    #[serde(default)]
    message: String,
    #[serde(default)]
    to: Option<String>,
    #[serde(default, rename = "MessageID")]
    message_id: Option<String>,
}

/// The bytes of a call.
pub(super) fn body(letters: &[ProviderLetter], message_stream: &str) -> Vec<u8> {
    // Made here, so that the mails can borrow them.
    let message_ids: Vec<String> = letters
        .iter()
        .map(|item| format!("<{}>", item.letter.message_id))
        .collect();
    let mails: Vec<Mail<'_>> = letters
        .iter()
        .zip(&message_ids)
        .map(|(item, message_id)| mail(item, message_id, message_stream))
        .collect();
    serde_json::to_vec(&mails).expect("texts and numbers are JSON")
}

fn mail<'a>(item: &'a ProviderLetter, message_id: &'a str, message_stream: &'a str) -> Mail<'a> {
    let letter = &item.letter;
    let mut headers = vec![
        Header {
            name: "Message-ID",
            value: message_id,
        },
        Header {
            name: "X-PM-KeepID",
            value: "true",
        },
    ];
    headers.extend(letter.headers.iter().map(|(name, value)| Header {
        name,
        value: value.as_str(),
    }));
    Mail {
        from: &letter.from,
        to: &letter.to,
        subject: &letter.subject,
        html_body: &letter.html,
        text_body: &letter.text,
        headers,
        track_opens: false,
        track_links: "None",
        metadata: Metadata {
            invitation_id: item.reference.invitation_id.to_string(),
            send_seq: item.reference.send_seq.to_string(),
        },
        message_stream,
    }
}

/// The result of each letter; `None` if the answer is none.
///
/// Results stand in the order of the mails and name their recipients, at least where they were taken. One that names
/// somebody else, or a list of another length, is nobody's.
pub(super) fn results(
    body: &[u8],
    letters: &[ProviderLetter],
) -> Option<Vec<Result<Accepted, SendError>>> {
    let answers: Vec<Answer> = serde_json::from_slice(body).ok()?;
    if answers.len() != letters.len() {
        return Some(letters.iter().map(|_| Err(mismatched())).collect());
    }
    let pairs = answers.into_iter().zip(letters);
    Some(
        pairs
            .map(|(answer, item)| result(&answer, &item.letter.to))
            .collect(),
    )
}

fn result(answer: &Answer, recipient: &str) -> Result<Accepted, SendError> {
    let named = answer.to.as_deref().filter(|to| !to.is_empty());
    if named.is_some_and(|to| !is_same(to, recipient)) {
        return Err(mismatched());
    }
    match answer.error_code {
        0 if named.is_some() => Ok(Accepted {
            reply: masked(answer.message_id.as_deref().unwrap_or_default()),
        }),
        0 => Err(mismatched()),
        // Whom it names will get no more mail from us, so it must be the right one.
        INACTIVE_RECIPIENT if names_another(&answer.message, recipient) => Err(mismatched()),
        code => Err(SendError::provider(
            fate(code, &answer.message),
            Some(code),
            &answer.message,
        )),
    }
}

fn mismatched() -> SendError {
    SendError::fault(
        Fate::Retry,
        Stage::FinalReply,
        "the answer is about another mail",
    )
}

/// Whether `to`, which may carry a display name, is this address. Providers may change its case.
fn is_same(to: &str, recipient: &str) -> bool {
    let address = to
        .rsplit_once('<')
        .map_or(to, |(_, address)| address.trim_end().trim_end_matches('>'));
    address.trim().eq_ignore_ascii_case(recipient)
}

/// Whether a message is about addresses, and this one is not among them.
fn names_another(message: &str, recipient: &str) -> bool {
    let mut addresses = message
        .split([' ', ',', ';', '<', '>'])
        .map(|word| word.trim_matches(['.', ':', '\'', '"']))
        .filter(|word| word.contains('@'))
        .peekable();
    addresses.peek().is_some() && !addresses.any(|address| address.eq_ignore_ascii_case(recipient))
}

/// What a code means for a mail. 10, 400, 401, 405, 412 and 413 are about our token, sender and account.
fn fate(code: u16, message: &str) -> Fate {
    // The sender and the stream are the same in all mails, and no mail's fault.
    let is_ours = message.contains("'From'") || message.contains("MessageStream");
    match code {
        10 | 400 | 401 | 405 | 412 | 413 => Fate::LaneDown,
        INVALID_REQUEST if is_ours => Fate::LaneDown,
        INVALID_REQUEST | INACTIVE_RECIPIENT => Fate::Discard,
        _ => Fate::Retry,
    }
}

/// What Postmark says of a call that it refuses as a whole.
pub(super) fn refusal(body: &[u8]) -> Refusal {
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
        return Refusal {
            text: String::new(),
            outcome: None,
            is_misconfigured: false,
        };
    };
    Refusal {
        outcome: None,
        is_misconfigured: fate(answer.error_code, &answer.message) == Fate::LaneDown,
        text: format!("{} {}", answer.error_code, answer.message),
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
            r#"[{"From":"Acme <invites@acme.example>","To":"alice@example.com","Subject":"Join \"Nörthwind\"","#,
            r#""HtmlBody":"<p>a</p>","TextBody":"a\nb","#,
            r#""Headers":[{"Name":"Message-ID","Value":"<inv.1@acme.example>"},"#,
            r#"{"Name":"X-PM-KeepID","Value":"true"},"#,
            r#"{"Name":"Z-Last","Value":"1"},{"Name":"A-First","Value":"2"}],"#,
            r#""TrackOpens":false,"TrackLinks":"None","#,
            r#""Metadata":{"invitation_id":"00000000-0000-0000-0000-000000000001","send_seq":"3"},"#,
            r#""MessageStream":"outbound"}]"#,
        );
        let bytes = body(&[item], "outbound");
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}
