//! The batch APIs of Resend and Postmark, as a working provider answers them.

use std::collections::HashMap;

use http::StatusCode;
use invitations::domain::bounce_address::SentMail;
use invitations::mail::providers::ProviderKind;
use serde_json::{Value, json};

use super::script::{ProviderCall, ProviderReply};

/// A message that a recipient got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeliveredMail {
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) html: String,
    pub(crate) text: String,
    pub(crate) reference: Option<SentMail>,
}

pub(super) struct BatchApi {
    kind: ProviderKind,
    pub(super) delivered: Vec<DeliveredMail>,
    /// The body of the first call and its answer, by idempotency key.
    answers_by_key: HashMap<String, (Vec<u8>, Value)>,
}

impl BatchApi {
    pub(super) fn new(kind: ProviderKind) -> Self {
        Self {
            kind,
            delivered: Vec::new(),
            answers_by_key: HashMap::new(),
        }
    }

    /// Delivers what the script lets the provider accept. Returns the reply of a working provider.
    pub(super) fn answer(
        &mut self,
        call: &ProviderCall,
        scripted: &ProviderReply,
    ) -> (StatusCode, String) {
        let path = match self.kind {
            ProviderKind::Resend => "POST /emails/batch",
            ProviderKind::Postmark => "POST /email/batch",
        };
        if call.path != path {
            return (StatusCode::NOT_FOUND, String::new());
        }
        if matches!(scripted, ProviderReply::Close | ProviderReply::Say(..)) {
            return (StatusCode::OK, String::new());
        }
        let key = call.header("idempotency-key").to_owned();
        match self.answers_by_key.get(&key) {
            Some((body, answer)) if *body == call.body => {
                return (StatusCode::OK, answer.to_string());
            }
            Some(_) => {
                let error = json!({"statusCode": 409, "name": "invalid_idempotent_request",
                    "message": "Same idempotency key used with a different request payload."});
                return (StatusCode::CONFLICT, error.to_string());
            }
            None => {}
        }
        let mails = call.mails();
        let refused = match scripted {
            ProviderReply::Refuse(refused) => refused.as_slice(),
            _ => &[],
        };
        let answer = match self.kind {
            ProviderKind::Resend => self.accept_as_resend(&mails, refused, scripted),
            ProviderKind::Postmark => self.accept_as_postmark(&mails, refused, scripted),
        };
        if self.kind == ProviderKind::Resend && !key.is_empty() {
            self.answers_by_key
                .insert(key, (call.body.clone(), answer.clone()));
        }
        (StatusCode::OK, answer.to_string())
    }

    fn accept_as_resend(
        &mut self,
        mails: &[Value],
        refused: &[(usize, u16, &str)],
        scripted: &ProviderReply,
    ) -> Value {
        let mut data = Vec::new();
        for (index, mail) in mails.iter().enumerate() {
            if refused.iter().any(|(refused, ..)| *refused == index) {
                continue;
            }
            let tag = |name: &str| {
                let tags = mail["tags"].as_array()?;
                let tag = tags.iter().find(|tag| tag["name"] == name)?;
                tag["value"].as_str()
            };
            let reference = reference(tag("invitation_id"), tag("send_seq"));
            for to in mail["to"].as_array().unwrap() {
                self.deliver(mail, to, ["subject", "html", "text"], reference);
            }
            data.push(json!({"id": format!("resend-{}", self.delivered.len())}));
        }
        if matches!(scripted, ProviderReply::AcceptAndOmitLast) {
            data.pop();
        }
        let errors: Vec<Value> = refused
            .iter()
            .map(|(index, _, message)| json!({"index": index, "message": message}))
            .collect();
        json!({"data": data, "errors": errors})
    }

    fn accept_as_postmark(
        &mut self,
        mails: &[Value],
        refused: &[(usize, u16, &str)],
        scripted: &ProviderReply,
    ) -> Value {
        let mut results = Vec::new();
        for (index, mail) in mails.iter().enumerate() {
            if let Some((_, code, message)) = refused.iter().find(|(refused, ..)| *refused == index)
            {
                results.push(json!({"ErrorCode": code, "Message": message}));
                continue;
            }
            let metadata = &mail["Metadata"];
            let reference = reference(
                metadata["invitation_id"].as_str(),
                metadata["send_seq"].as_str(),
            );
            for to in mail["To"].as_str().unwrap().split(',') {
                let fields = ["Subject", "HtmlBody", "TextBody"];
                self.deliver(mail, &json!(to), fields, reference);
            }
            results.push(json!({
                "To": mail["To"],
                "SubmittedAt": "2026-11-22T19:00:00Z",
                "MessageID": format!("postmark-{}", self.delivered.len()),
                "ErrorCode": 0,
                "Message": "OK",
            }));
        }
        match scripted {
            ProviderReply::AcceptAndShuffle => results.reverse(),
            ProviderReply::AcceptAndMisaddress => results[0]["To"] = json!("stranger@example.net"),
            ProviderReply::AcceptAndOmitLast => drop(results.pop()),
            _ => {}
        }
        json!(results)
    }

    fn deliver(
        &mut self,
        mail: &Value,
        to: &Value,
        [subject, html, text]: [&str; 3],
        reference: Option<SentMail>,
    ) {
        let field = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.delivered.push(DeliveredMail {
            to: field(to),
            subject: field(&mail[subject]),
            html: field(&mail[html]),
            text: field(&mail[text]),
            reference,
        });
    }
}

fn reference(invitation_id: Option<&str>, send_seq: Option<&str>) -> Option<SentMail> {
    Some(SentMail {
        invitation_id: invitation_id?.parse().ok()?,
        send_seq: send_seq?.parse().ok()?,
    })
}
