//! The configured callers and issuers, after `settings` parsed and checked the callers file.

use std::path::PathBuf;

use url::Url;

use crate::domain::actor::Access;
use crate::domain::certificate_identity::CertificateIdentity;
use crate::domain::scope::Scope;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerEntry {
    /// The name in logs and quotas, see [`is_plain_name`](crate::domain::ids::is_plain_name).
    pub name: String,
    pub credential: CallerCredential,
    /// Never empty.
    pub scopes: Vec<Scope>,
    /// The organizations for which the caller may act. `None` means every organization; a list is never empty.
    pub organizations: Option<Vec<String>>,
}

/// The credential of a caller. There is only one, so that nobody forgets to revoke a second one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CallerCredential {
    /// SHA-256 of the whole token, including its prefix.
    TokenSha256([u8; 32]),
    Certificate(CertificateIdentity),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerEntry {
    /// The name in logs and in the names of its callers, see [`is_plain_name`](crate::domain::ids::is_plain_name).
    pub name: String,
    /// The `iss` of its tokens.
    pub issuer: String,
    /// A value that the `aud` of its tokens must contain.
    pub audience: String,
    pub keys: KeyLocation,
    /// A PEM file of certificates to trust in addition to the system's, for a URL.
    pub roots_file: Option<PathBuf>,
    pub kind: IssuerKind,
}

/// Where the JWK Set (RFC 7517 §5) of an issuer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyLocation {
    /// An https URL, or an http URL of this machine.
    Url(Url),
    File(PathBuf),
}

/// What the tokens of an issuer identify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerKind {
    Service(ServicePermissions),
    User,
}

/// The most that the services of an issuer may do. A token can only narrow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePermissions {
    pub scopes: Vec<Scope>,
    /// The scopes of a token without a scope claim.
    pub default_scopes: Vec<Scope>,
    pub organizations: Access,
    /// The claim that lists a token's organizations.
    pub organizations_claim: Option<String>,
}
