//! Malformed calls, calls without a valid credential, and HTTP requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tonic::Code;

use super::canary_deployment::{CALLER_TOKEN, CanaryDeployment, WEBHOOK_PASSWORD};
use crate::support::http_port::http_address;
use crate::support::http_server::exchange;
use crate::support::{ACME, descriptors};

impl CanaryDeployment {
    /// Calls every method with a canary in every text, as the caller and with an unknown token, and with bytes that are
    /// no message.
    pub(super) async fn send_untrusted_messages(&mut self) {
        for method in descriptors::methods() {
            let text = "qzmalformed https://qzmalformed.example qzmalformed@qzmalformed";
            // Later calls need ACME.
            let is_delete = method.path.ends_with("/DeleteOrganization");
            for organization_id in [if is_delete { "qzmalformed" } else { ACME }, "qzmalformed"] {
                let message = descriptors::filled(&method.input, text, organization_id);
                let _ = self
                    .call_with_bytes(&method.path, CALLER_TOKEN, &message)
                    .await;
                let refused = self
                    .call_with_bytes(&method.path, "qzstranger", &message)
                    .await;
                assert_eq!(refused, Err(Code::Unauthenticated));
            }
            for message in [b"\x0aqzmalformed".as_slice(), b"qzmalformed"] {
                let _ = self
                    .call_with_bytes(&method.path, CALLER_TOKEN, message)
                    .await;
            }
        }
    }

    /// Sends HTTP requests with canaries in paths, headers and bodies.
    pub(super) async fn send_http_requests(&self, token: &str) {
        let address = http_address(&self.process);
        let body =
            r#"{"RecordType":"Bounce","Email":"qzlocal1@qzdomain1.example","Details":"qzquoted"}"#;
        let basic = STANDARD.encode(format!("postmark:{WEBHOOK_PASSWORD}"));
        let length = body.len();
        for request in [
            format!("GET /u/{token} HTTP/1.1\r\n"),
            format!("GET /qzquoted?token={token} HTTP/1.1\r\nCookie: qzquoted\r\n"),
            format!(
                "POST /webhooks/postmark HTTP/1.1\r\nAuthorization: Basic {basic}\r\nContent-Length: {length}\r\n"
            ),
            format!(
                "POST /webhooks/postmark HTTP/1.1\r\nAuthorization: Basic qzquoted\r\nContent-Length: {length}\r\n"
            ),
        ] {
            let request = format!("{request}Host: x\r\nConnection: close\r\n\r\n{body}");
            let answer = exchange(address, request.as_bytes()).await;
            assert!((200..500).contains(&answer.status), "{}", answer.status);
            assert!(!answer.body.contains("qz") && !answer.head.contains("qz"));
        }
    }
}
