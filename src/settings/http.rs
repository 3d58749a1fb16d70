//! Settings of the HTTP server: unsubscribe links and webhooks of mail providers.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};

use super::calls::ProcessRole;
use super::problems::Problems;
use crate::capacity::Capacity;
use crate::domain::public_url::PublicUrl;
use crate::http::{HttpConfig, HttpTimeouts, PostmarkPassword, WebhookSecret};

#[derive(Debug, Clone, Args)]
pub(super) struct HttpArgs {
    /// Address and port of the HTTP server for unsubscribe links, webhooks of mail providers, /healthz and /readyz
    #[arg(long, env = "INVITATIONS_HTTP_LISTEN")]
    http_listen: Option<SocketAddr>,
    /// Public https URL of the HTTP server; if it is set, emails contain an unsubscribe link
    #[arg(long, env = "INVITATIONS_PUBLIC_URL")]
    public_url: Option<String>,
    /// Secret of the webhook at Resend (`whsec_...`), which posts to /webhooks/resend
    #[arg(long, env = "INVITATIONS_RESEND_WEBHOOK_SECRET")]
    #[arg(hide_env_values = true)]
    resend_webhook_secret: Option<SecretString>,
    /// Password of the webhook at Postmark, which posts to /webhooks/postmark with the user name `postmark`
    #[arg(long, env = "INVITATIONS_POSTMARK_WEBHOOK_PASSWORD")]
    #[arg(hide_env_values = true)]
    postmark_webhook_password: Option<SecretString>,
}

impl HttpArgs {
    pub(super) fn load(
        &self,
        role: ProcessRole,
        drain_timeout: Duration,
        memory: &Capacity,
    ) -> Result<(Option<HttpConfig>, Option<PublicUrl>), Vec<String>> {
        let mut problems = Problems::default();
        let public_url = self.public_url.as_deref().map(|url| {
            PublicUrl::parse(url)
                .ok_or("public-url: not an https URL (or http URL of this machine) without query")
        });
        let public_url = problems.check_optional(public_url);
        let resend = self.resend_webhook_secret.as_ref().map(|secret| {
            WebhookSecret::parse(secret.expose_secret())
                .ok_or("resend-webhook-secret: not `whsec_` and 16 to 128 bytes in base64")
        });
        let resend = problems.check_optional(resend);
        let postmark = self.postmark_webhook_password.as_ref().map(|password| {
            PostmarkPassword::parse(password.expose_secret())
                .ok_or("postmark-webhook-password: must have at least 16 visible ASCII characters")
        });
        let postmark = problems.check_optional(postmark);
        let http = self.http_listen.map(|listen| HttpConfig {
            listen,
            serves_api: role != ProcessRole::Worker,
            resend,
            postmark,
            timeouts: HttpTimeouts::default(),
            memory: memory.clone(),
            drain_timeout,
        });
        problems.into_result(Some((http, public_url)))
    }
}
