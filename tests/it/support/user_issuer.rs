//! An issuer of JWTs for users.

use invitations::clock::Clock as _;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::support::issuer::{JwtSigner, KeyServer};
use crate::support::world::World;

/// An issuer whose tokens name users.
pub(crate) struct UserIssuer {
    server: KeyServer,
    signer: JwtSigner,
}

impl UserIssuer {
    pub(crate) async fn start() -> Self {
        let signer = JwtSigner::eddsa("accounts-1");
        let server = KeyServer::start(&[&signer]).await;
        Self { server, signer }
    }

    /// The table of the issuer in a callers file.
    pub(crate) fn table(&self) -> String {
        format!(
            "[[issuer]]\nname = \"accounts\"\nissuer = \"https://accounts.example.com/\"\n\
             audience = \"invitations\"\njwks_url = \"{}\"\nkind = \"user\"\n",
            self.server.url()
        )
    }

    /// A token of a user with the verified address `USER@example.com`.
    pub(crate) fn token(&self, world: &World, user_id: &str) -> String {
        let email = format!("{user_id}@example.com");
        let claims = json!({"sub": user_id, "email": email, "email_verified": true});
        self.token_with(world, &claims)
    }

    /// The same without a verified address.
    pub(crate) fn unverified_token(&self, world: &World, user_id: &str) -> String {
        let email = format!("{user_id}@example.com");
        self.token_with(world, &json!({"sub": user_id, "email": email}))
    }

    /// A token with these claims beside the required ones.
    pub(crate) fn token_with(&self, world: &World, more: &Value) -> String {
        self.token_at(world.clock.now(), more)
    }

    /// The same, issued at a time and valid for ten minutes.
    pub(crate) fn token_at(&self, time: OffsetDateTime, more: &Value) -> String {
        let now = time.unix_timestamp();
        let mut claims = json!({
            "iss": "https://accounts.example.com/",
            "aud": "invitations",
            "iat": now,
            "exp": now + 600,
        });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.signer.sign(&claims)
    }
}
