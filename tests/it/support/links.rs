//! Tokens in links.

/// The token of the link to an invitation.
pub(crate) fn token_of_link(link: &str) -> String {
    let (_, token) = link.split_once("#token=").unwrap();
    token.to_owned()
}
