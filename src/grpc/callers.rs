//! Who calls: bearer tokens of configured callers, known by their hashes.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tonic::metadata::MetadataMap;

use crate::callers_file::CallersFile;
use crate::domain::access::Access;
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
}

impl Callers {
    /// The callers of a callers file.
    #[must_use]
    pub fn new(file: CallersFile) -> Self {
        let callers = file.callers.into_iter().map(|entry| {
            let access = match entry.organizations {
                None => Access::Every,
                Some(organizations) => Access::Only(organizations.into_iter().collect()),
            };
            let caller = Caller {
                name: entry.name,
                scopes: entry.scopes,
                access,
            };
            (entry.token_sha256, Arc::new(caller))
        });
        Self {
            by_token_sha256: Arc::new(callers.collect()),
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callers_file::CallerEntry;

    #[test]
    fn only_one_whole_bearer_token_of_a_configured_caller_counts() {
        let entry = CallerEntry {
            name: "demo".into(),
            token_sha256: Sha256::digest("secret").into(),
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
}
