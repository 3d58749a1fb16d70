//! Invitation links: the configured base URL and a token. No header of a request influences them.

use url::Url;

use super::token::Token;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTemplate {
    base: Url,
    mode: LinkMode,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LinkMode {
    /// `{base}#token={token}`. A fragment appears in no log and no Referer header.
    #[default]
    Fragment,
    /// The invitation's `redirect_url` with `invitation_token` in its query, or as `Fragment` if it has none.
    Redirect,
}

impl LinkTemplate {
    /// A template with a base such as `https://app.example.com/join`. Returns `None` unless the base is an http or
    /// https URL without a fragment.
    pub fn new(base: &str, mode: LinkMode) -> Option<Self> {
        let base = Url::parse(base).ok()?;
        let is_web = matches!(base.scheme(), "http" | "https") && base.fragment().is_none();
        is_web.then_some(Self { base, mode })
    }

    /// The link with a token. It is as secret as the token.
    pub fn link(&self, token: &Token, redirect_url: &str) -> String {
        if self.mode == LinkMode::Redirect
            && let Ok(mut url) = Url::parse(redirect_url)
        {
            url.query_pairs_mut()
                .append_pair("invitation_token", &token.reveal());
            return url.into();
        }
        format!("{}#token={}", self.base, token.reveal())
    }

    /// The host of the base, the default domain of message ids.
    pub fn host(&self) -> &str {
        self.base.host_str().unwrap_or("localhost")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keyring::Keyring;
    use crate::domain::token::TokenSubject;

    #[test]
    fn the_token_is_in_the_fragment_unless_the_mode_is_redirect() {
        let ring = Keyring::parse("1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").unwrap();
        let subject = TokenSubject {
            organization_id: "acme",
            invitation_id: uuid::Uuid::nil(),
            generation: 1,
            nonce: [0; 16],
            email_normalized: "ada@example.com",
        };
        let token = Token::derive(&ring, 1, &subject).unwrap();
        let secret = token.reveal();
        let redirect_url = "https://app.example.com/in?x=1";
        let link = |mode, redirect_url: &str| {
            LinkTemplate::new("https://example.com/join", mode)
                .unwrap()
                .link(&token, redirect_url)
        };
        let fragment = format!("https://example.com/join#token={secret}");
        assert_eq!(link(LinkMode::Fragment, redirect_url), fragment);
        assert_eq!(link(LinkMode::Redirect, ""), fragment);
        assert_eq!(
            link(LinkMode::Redirect, redirect_url),
            format!("https://app.example.com/in?x=1&invitation_token={secret}")
        );
        assert_eq!(LinkTemplate::new("mailto:a@b.co", LinkMode::Fragment), None);
    }
}
