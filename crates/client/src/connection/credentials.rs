//! Adds the bearer token and the deadline to every call.

use std::time::Duration;

use invitations_command::error::CommandError;
use secrecy::{ExposeSecret, SecretString};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    authorization: Option<MetadataValue<Ascii>>,
    timeout: Duration,
}

/// Request extension that marks a call without a deadline.
#[derive(Debug, Clone, Copy)]
struct NoDeadline;

/// A request without a deadline, for a stream that is open as long as it has something to transfer. The code that reads
/// the stream checks that the server still answers.
pub(crate) fn without_deadline<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(NoDeadline);
    request
}

impl Credentials {
    /// Without a token, the client certificate identifies the caller.
    pub(crate) fn new(
        token: Option<&SecretString>,
        timeout: Duration,
    ) -> Result<Self, CommandError> {
        Ok(Self {
            authorization: token.map(authorization).transpose()?,
            timeout,
        })
    }
}

fn authorization(token: &SecretString) -> Result<MetadataValue<Ascii>, CommandError> {
    // A token file ends with a line break, and so may a variable that was filled from one.
    let token = token.expose_secret().trim();
    let is_valid = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let header = is_valid.then(|| MetadataValue::try_from(format!("Bearer {token}")));
    let Some(Ok(mut authorization)) = header else {
        let message = "the token must be one word of visible ASCII characters, as `invitations caller new` writes it";
        return Err(CommandError::Usage(message.to_owned()));
    };
    // Keeps the token out of Debug output and out of HTTP/2 header compression tables.
    authorization.set_sensitive(true);
    Ok(authorization)
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(authorization) = self.authorization.clone() {
            request
                .metadata_mut()
                .insert("authorization", authorization);
        }
        if request.extensions().get::<NoDeadline>().is_none() {
            request.set_timeout(self.timeout);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(token: &str) -> Result<Credentials, CommandError> {
        Credentials::new(Some(&token.into()), Duration::from_secs(1))
    }

    #[test]
    fn a_token_is_one_word() {
        for (token, is_valid) in [
            ("invc_abc", true),
            ("invc_abc\n", true),
            ("", false),
            ("two words", false),
            ("a\nb", false),
            ("é", false),
        ] {
            assert_eq!(credentials(token).is_ok(), is_valid, "{token:?}");
        }
    }

    #[test]
    fn the_token_is_not_in_debug_output() {
        let text = format!("{:?}", credentials("invc_abc").unwrap());
        assert!(!text.contains("invc_abc"), "{text}");
    }
}
