//! All callers that may call, found by the credentials of a call.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};

use super::caller::Caller;
use super::claims;
use super::entries::{CallerCredential, CallerEntry, IssuerEntry};
use super::jwt::{JwtError, UnverifiedJwt};
use super::key_cache::KeyCache;
use super::key_origin::KeyOrigin;
use crate::clock::Clock;
use crate::domain::actor::Access;
use crate::domain::certificate_identity::CertificateIdentity;
use crate::domain::reason::Reason;

/// The callers of a callers file. Clones share the cached keys of issuers.
#[derive(Clone)]
pub struct Callers(Arc<CallerIndex>);

struct CallerIndex {
    by_token_sha256: HashMap<[u8; 32], Arc<Caller>>,
    by_certificate: HashMap<CertificateIdentity, Arc<Caller>>,
    issuers: Vec<Issuer>,
    clock: Arc<dyn Clock>,
}

/// An issuer of JWTs: its entry in the callers file and its keys.
struct Issuer {
    entry: IssuerEntry,
    keys: KeyCache,
}

impl Issuer {
    /// Reads the keys if they are in a file.
    fn new(entry: IssuerEntry, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let problem = |problem: String| format!("issuer {:?}: {problem}", entry.name);
        let origin = KeyOrigin::new(entry.keys.clone(), entry.roots_file.as_deref());
        let keys = origin.and_then(|origin| KeyCache::new(entry.name.clone(), origin, clock));
        let keys = keys.map_err(problem)?;
        Ok(Self { entry, keys })
    }
}

impl Callers {
    /// Reads the key sets that are files. A key set with a URL is fetched when the first token of its issuer arrives,
    /// so that the service starts while the issuer is down. The errors are all problems of key sets and certificates.
    pub fn new(
        callers: Vec<CallerEntry>,
        issuers: Vec<IssuerEntry>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Vec<String>> {
        let mut by_token_sha256 = HashMap::new();
        let mut by_certificate = HashMap::new();
        for entry in callers {
            let access = match entry.organizations {
                None => Access::Every,
                Some(organizations) => Access::Only(organizations.into_iter().collect()),
            };
            let caller = Arc::new(Caller::configured(entry.name, entry.scopes, access));
            // The credentials of two callers differ, so no caller is replaced.
            let _ = match entry.credential {
                CallerCredential::TokenSha256(hash) => by_token_sha256.insert(hash, caller),
                CallerCredential::Certificate(identity) => by_certificate.insert(identity, caller),
            };
        }
        let mut problems = Vec::new();
        let mut checked_issuers = Vec::new();
        for entry in issuers {
            match Issuer::new(entry, Arc::clone(&clock)) {
                Ok(issuer) => checked_issuers.push(issuer),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self(Arc::new(CallerIndex {
            by_token_sha256,
            by_certificate,
            issuers: checked_issuers,
            clock,
        })))
    }

    /// The name of any caller that authenticates by a certificate.
    pub fn known_by_certificate(&self) -> Option<&str> {
        let mut callers = self.0.by_certificate.values();
        callers.next().map(|caller| caller.name.as_str())
    }

    /// The caller whom a verified client certificate names. Returns `None` if it names no caller, or two: the order of
    /// names in a certificate must not decide.
    pub fn of_certificate(&self, identities: &[CertificateIdentity]) -> Option<Arc<Caller>> {
        let known = |identity| self.0.by_certificate.get(identity);
        let mut named = identities.iter().filter_map(known);
        let caller = named.next()?;
        let is_only = named.all(|other| Arc::ptr_eq(caller, other));
        is_only.then(|| Arc::clone(caller))
    }

    /// The caller of a call, by its `authorization` header (RFC 6750 §2.1).
    ///
    /// A configured token is found by its hash. The duration of the lookup depends only on the hash, so it does not
    /// help to guess the token. Any other token may be a JWT.
    ///
    /// Every problem of the token is `CREDENTIALS_INVALID` and is logged. If the keys of its issuer are unavailable, which
    /// is not the caller's fault, the error is `OVERLOADED`.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Caller>, Reason> {
        let token = bearer_token(headers).ok_or(Reason::CredentialsInvalid)?;
        let hash: [u8; 32] = Sha256::digest(token).into();
        if let Some(caller) = self.0.by_token_sha256.get(&hash) {
            return Ok(Arc::clone(caller));
        }
        if self.0.issuers.is_empty() || token.bytes().filter(|byte| *byte == b'.').count() != 2 {
            return Err(Reason::CredentialsInvalid);
        }
        self.verify(token).await.map(Arc::new).map_err(|error| {
            tracing::debug!(token.fault = error.to_string(), "refused a JWT");
            match error {
                JwtError::KeysUnavailable => Reason::Overloaded,
                _ => Reason::CredentialsInvalid,
            }
        })
    }

    /// Verifies a token with the one issuer that it claims.
    async fn verify(&self, token: &str) -> Result<Caller, JwtError> {
        let unverified = UnverifiedJwt::parse(token)?;
        let issuers = self.0.issuers.iter();
        let mut claimed = issuers.filter(|issuer| claims::names(&unverified.claims, &issuer.entry));
        let issuer = claimed.next().ok_or(JwtError::Issuer)?;
        // A token for two configured issuers is ambiguous: one may identify users and the other services.
        if claimed.next().is_some() {
            return Err(JwtError::Audience);
        }
        let claims = issuer.keys.verify(&unverified).await?;
        claims::caller(&claims, &issuer.entry, self.0.clock.now())
    }
}

impl fmt::Debug for Callers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Callers").finish_non_exhaustive()
    }
}

/// The bearer token, if there is exactly one `authorization` header.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
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

    #[tokio::test]
    async fn only_a_single_complete_bearer_token_authenticates() {
        let entry = CallerEntry {
            name: "demo".into(),
            credential: CallerCredential::TokenSha256(Sha256::digest("secret").into()),
            scopes: vec![Scope::InvitationsRead],
            organizations: None,
        };
        let callers = Callers::new(vec![entry], Vec::new(), Arc::new(SystemClock)).unwrap();
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
    fn a_certificate_identifies_exactly_one_caller() {
        let entry = |name: &str, identity: &str| CallerEntry {
            name: name.to_owned(),
            credential: CallerCredential::Certificate(identity.parse().unwrap()),
            scopes: vec![Scope::InvitationsRead],
            organizations: None,
        };
        let entries = vec![
            entry("web", "spiffe://a.example/web"),
            entry("api", "dns:api.a.example"),
        ];
        let callers = Callers::new(entries, Vec::new(), Arc::new(SystemClock)).unwrap();
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
        for unknown in [
            &[] as &[&str],
            &["spiffe://a.example/web/x"],
            &["dns:a.example"],
            &[web, api],
        ] {
            assert_eq!(name(unknown), None, "{unknown:?}");
        }
    }
}
