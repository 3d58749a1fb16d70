//! Who calls: configured callers, known by the hash of a bearer token or by a client certificate.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tonic::metadata::MetadataMap;

use crate::callers_file::{CallerCredential, CallersFile};
use crate::domain::access::Access;
use crate::domain::certificate_identity::CertificateIdentity;
use crate::domain::scope::Scope;

/// Somebody who may call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// Their name, fit for logs.
    pub(super) name: String,
    /// What they may do.
    pub(super) scopes: Vec<Scope>,
    /// For whom.
    pub(super) access: Access,
}

impl Caller {
    /// Whether they may do something.
    pub(super) fn holds(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// Everybody who may call.
#[derive(Debug, Clone)]
pub struct Callers {
    by_token_sha256: Arc<HashMap<[u8; 32], Arc<Caller>>>,
    by_certificate: Arc<HashMap<CertificateIdentity, Arc<Caller>>>,
}

impl Callers {
    /// The callers of a callers file.
    #[must_use]
    pub fn new(file: CallersFile) -> Self {
        let mut by_token_sha256 = HashMap::new();
        let mut by_certificate = HashMap::new();
        for entry in file.callers {
            let access = match entry.organizations {
                None => Access::Every,
                Some(organizations) => Access::Only(organizations.into_iter().collect()),
            };
            let caller = Arc::new(Caller {
                name: entry.name,
                scopes: entry.scopes,
                access,
            });
            match entry.credential {
                CallerCredential::TokenSha256(hash) => {
                    by_token_sha256.insert(hash, caller);
                }
                CallerCredential::Certificate(identity) => {
                    by_certificate.insert(identity, caller);
                }
            }
        }
        Self {
            by_token_sha256: Arc::new(by_token_sha256),
            by_certificate: Arc::new(by_certificate),
        }
    }

    /// The caller of a call, by its `authorization` (RFC 6750 §2.1); `None` if it has no valid one.
    ///
    /// The token is looked up by its hash: how long that takes says nothing about the token, whose 256 bits nobody can
    /// approach octet by octet.
    pub(super) fn authenticate(&self, metadata: &MetadataMap) -> Option<Arc<Caller>> {
        let mut values = metadata.get_all("authorization").iter();
        let value = values.next()?.to_str().ok()?;
        if values.next().is_some() {
            return None;
        }
        let (scheme, token) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
            return None;
        }
        let hash: [u8; 32] = Sha256::digest(token).into();
        self.by_token_sha256.get(&hash).cloned()
    }

    /// The caller whom a verified client certificate names; `None` if it names nobody, or two: which of them calls is
    /// not for the order of names in a certificate to decide.
    pub(super) fn of_certificate(&self, identities: &[CertificateIdentity]) -> Option<Arc<Caller>> {
        let mut named = identities
            .iter()
            .filter_map(|identity| self.by_certificate.get(identity));
        let caller = named.next()?;
        named
            .all(|other| Arc::ptr_eq(caller, other))
            .then(|| Arc::clone(caller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callers_file::{CallerCredential, CallerEntry};

    #[test]
    fn only_one_whole_bearer_token_of_a_configured_caller_counts() {
        let entry = CallerEntry {
            name: "demo".into(),
            credential: CallerCredential::TokenSha256(Sha256::digest("secret").into()),
            scopes: vec![Scope::InvitationsRead],
            organizations: None,
        };
        let callers = Callers::new(CallersFile {
            callers: vec![entry],
        });
        let name = |values: &[&str]| {
            let mut metadata = MetadataMap::new();
            for value in values {
                metadata.append("authorization", value.parse().unwrap());
            }
            callers
                .authenticate(&metadata)
                .map(|caller| caller.name.clone())
        };
        assert_eq!(name(&["Bearer secret"]).as_deref(), Some("demo"));
        assert_eq!(name(&["bearer secret"]).as_deref(), Some("demo"));
        let refused: [&[&str]; 8] = [
            &[],
            &[""],
            &["Bearer"],
            &["Bearer "],
            &["Bearer secre"],
            &["Bearer  secret"],
            &["Basic secret"],
            &["Bearer secret", "Bearer secret"],
        ];
        for values in refused {
            assert_eq!(name(values), None, "{values:?}");
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
        let callers = Callers::new(CallersFile {
            callers: vec![
                entry("web", "spiffe://a.example/web"),
                entry("api", "dns:api.a.example"),
            ],
        });
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
