//! Everybody who may call, and how a call's headers name one of them.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};

use super::caller::Caller;
use super::issuer::Issuer;
use super::jwt::{Fault, Unverified};
use crate::clock::Clock;
use crate::domain::access::Access;
use crate::domain::certificate_identity::CertificateIdentity;
use crate::domain::reason::Reason;
use crate::settings::callers_file::{CallerCredential, CallersFile};

/// Everybody who may call. Cheap to clone; clones share the keys of issuers.
#[derive(Clone)]
pub struct Callers(Arc<Known>);

struct Known {
    by_token_sha256: HashMap<[u8; 32], Arc<Caller>>,
    by_certificate: HashMap<CertificateIdentity, Arc<Caller>>,
    issuers: Vec<Issuer>,
    clock: Arc<dyn Clock>,
}

impl Callers {
    /// The callers of a callers file. Reads the key sets that are files; those behind URLs are fetched when the first
    /// token of their issuer comes, so that an issuer that is down keeps nobody from starting.
    ///
    /// # Errors
    ///
    /// Every key set and certificate that cannot be used.
    pub fn new(file: CallersFile, clock: Arc<dyn Clock>) -> Result<Self, Vec<String>> {
        let mut by_token_sha256 = HashMap::new();
        let mut by_certificate = HashMap::new();
        for entry in file.callers {
            let access = match entry.organizations {
                None => Access::Every,
                Some(organizations) => Access::Only(organizations.into_iter().collect()),
            };
            let caller = Arc::new(Caller::configured(entry.name, entry.scopes, access));
            match entry.credential {
                CallerCredential::TokenSha256(hash) => {
                    by_token_sha256.insert(hash, caller);
                }
                CallerCredential::Certificate(identity) => {
                    by_certificate.insert(identity, caller);
                }
            }
        }
        let mut problems = Vec::new();
        let mut issuers = Vec::with_capacity(file.issuers.len());
        for entry in file.issuers {
            match Issuer::new(entry, Arc::clone(&clock)) {
                Ok(issuer) => issuers.push(issuer),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self(Arc::new(Known {
            by_token_sha256,
            by_certificate,
            issuers,
            clock,
        })))
    }

    /// The name of a caller that is known by a certificate, if there is any.
    #[must_use]
    pub fn known_by_certificate(&self) -> Option<&str> {
        let mut callers = self.0.by_certificate.values();
        callers.next().map(|caller| caller.name.as_str())
    }

    /// The caller whom a verified client certificate names; `None` if it names nobody, or two: which of them calls is
    /// not for the order of names in a certificate to decide.
    #[must_use]
    pub fn of_certificate(&self, identities: &[CertificateIdentity]) -> Option<Arc<Caller>> {
        let mut named = identities
            .iter()
            .filter_map(|identity| self.0.by_certificate.get(identity));
        let caller = named.next()?;
        named
            .all(|other| Arc::ptr_eq(caller, other))
            .then(|| Arc::clone(caller))
    }

    /// The caller of a call, by its `authorization` (RFC 6750 §2.1).
    ///
    /// A configured token is looked up by its hash: how long that takes says nothing about the token, whose 256 bits
    /// nobody can approach byte by byte. What is none may be a JWT.
    ///
    /// # Errors
    ///
    /// `CREDENTIALS_INVALID`, whatever is wrong: the log of the service knows more. `OVERLOADED` where the keys of the
    /// token's issuer cannot be had, which is no fault of the caller's.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Reason> {
        let token = bearer(headers).ok_or(Reason::CredentialsInvalid)?;
        let hash: [u8; 32] = Sha256::digest(token).into();
        if let Some(caller) = self.0.by_token_sha256.get(&hash) {
            return Ok(Arc::clone(caller));
        }
        if self.0.issuers.is_empty() || token.bytes().filter(|byte| *byte == b'.').count() != 2 {
            return Err(Reason::CredentialsInvalid);
        }
        self.verify(token).await.map(Arc::new).map_err(|fault| {
            tracing::debug!(
                token.fault = fault.as_str(),
                "the token of a call was refused"
            );
            fault.reason()
        })
    }

    /// Finds the one issuer that a token claims to be of, and asks it.
    async fn verify(&self, token: &str) -> Result<Caller, Fault> {
        let unverified = Unverified::parse(token)?;
        let mut claimed = self
            .0
            .issuers
            .iter()
            .filter(|issuer| issuer.is_claimed_by(&unverified));
        let issuer = claimed.next().ok_or(Fault::Issuer)?;
        // Meant for two tables at once: which kind of caller it is would be anybody's guess.
        if claimed.next().is_some() {
            return Err(Fault::Audience);
        }
        issuer.verify(&unverified, self.0.clock.now()).await
    }
}

impl std::fmt::Debug for Callers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Callers")
            .field("tokens", &self.0.by_token_sha256.len())
            .field("certificates", &self.0.by_certificate.len())
            .field("issuers", &self.0.issuers.len())
            .finish()
    }
}

/// The token of the one `authorization` header, if there is exactly one and it is a bearer token.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::domain::scope::Scope;
    use crate::settings::callers_file::CallerEntry;

    #[tokio::test]
    async fn only_one_whole_bearer_token_of_a_configured_caller_counts() {
        let entry = CallerEntry {
            name: "demo".into(),
            credential: CallerCredential::TokenSha256(Sha256::digest("secret").into()),
            scopes: vec![Scope::InvitationsRead],
            organizations: None,
        };
        let file = CallersFile {
            callers: vec![entry],
            ..CallersFile::default()
        };
        let callers = Callers::new(file, Arc::new(SystemClock)).unwrap();
        let name = async |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            let caller = callers.authenticate(&headers).await;
            caller.map(|caller| caller.name.clone())
        };
        assert_eq!(name(&["Bearer secret"]).await.as_deref(), Ok("demo"));
        assert_eq!(name(&["bearer secret"]).await.as_deref(), Ok("demo"));
        let refused: [&[&str]; 9] = [
            &[],
            &[""],
            &["Bearer"],
            &["Bearer "],
            &["Bearer secre"],
            &["Bearer  secret"],
            &["Basic secret"],
            &["Bearer a.b.c"],
            &["Bearer secret", "Bearer secret"],
        ];
        for values in refused {
            assert_eq!(
                name(values).await,
                Err(Reason::CredentialsInvalid),
                "{values:?}"
            );
        }
    }

    #[test]
    fn a_certificate_is_one_caller_or_nobody() {
        let entry = |name: &str, identity: &str| CallerEntry {
            name: name.to_owned(),
            credential: CallerCredential::Certificate(identity.parse().unwrap()),
            scopes: vec![Scope::InvitationsRead],
            organizations: None,
        };
        let file = CallersFile {
            callers: vec![
                entry("web", "spiffe://a.example/web"),
                entry("api", "dns:api.a.example"),
            ],
            ..CallersFile::default()
        };
        let callers = Callers::new(file, Arc::new(SystemClock)).unwrap();
        let name = |identities: &[&str]| {
            let identities: Vec<_> = identities
                .iter()
                .map(|text| text.parse().unwrap())
                .collect();
            let caller = callers.of_certificate(&identities);
            caller.map(|caller| caller.name.clone())
        };
        let (web, api) = ("spiffe://a.example/web", "dns:api.a.example");
        assert_eq!(name(&[web]).as_deref(), Some("web"));
        assert_eq!(
            name(&["dns:web.a.example", api, api]).as_deref(),
            Some("api")
        );
        for nobody in [
            &[] as &[&str],
            &["spiffe://a.example/web/x"],
            &["dns:a.example"],
            &[web, api],
        ] {
            assert_eq!(name(nobody), None, "{nobody:?}");
        }
    }
}
