//! Who is at the other end of a connection, and for whom a call of it is made: the certificate the peer showed, or the
//! one a trusted proxy tells of.
//!
//! It puts [`PeerIdentities`] among the extensions of a request, and nothing where there are none. What they may do, and
//! that an `authorization` comes before them, is [`gate`](super::gate)'s business.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, Request};
use tower::{Layer, Service};

use crate::grpc::admission::peer_identities::PeerIdentities;
use crate::grpc::admission::trusted_proxies::TrustedProxies;
use crate::grpc::admission::xfcc;

/// The one header that may tell who calls besides `authorization`.
const FORWARDED_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Where it comes from.
    pub(crate) ip: Option<IpAddr>,
    /// Whom the client certificate names that it showed in the handshake.
    pub(crate) certificate: Option<Arc<PeerIdentities>>,
}

/// Finds out for whom each call is made.
#[derive(Debug, Clone)]
pub(crate) struct PeerLayer {
    trusted: Arc<TrustedProxies>,
}

impl PeerLayer {
    /// Believes these proxies.
    pub(crate) fn new(trusted: TrustedProxies) -> Self {
        Self {
            trusted: Arc::new(trusted),
        }
    }
}

/// A service whose requests tell for whom they are made.
#[derive(Debug, Clone)]
pub(crate) struct WithPeer<S> {
    inner: S,
    trusted: Arc<TrustedProxies>,
}

impl<S> Layer<S> for PeerLayer {
    type Service = WithPeer<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WithPeer {
            inner,
            trusted: Arc::clone(&self.trusted),
        }
    }
}

impl<S, B> Service<Request<B>> for WithPeer<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let peer = request.extensions().get::<Peer>();
        let identities = peer.and_then(|peer| self.trusted.identities(peer, request.headers()));
        // Nobody behind this has any use for it.
        request.headers_mut().remove(FORWARDED_CERTIFICATE);
        if let Some(identities) = identities {
            request.extensions_mut().insert(identities);
        }
        self.inner.call(request)
    }
}

impl TrustedProxies {
    /// For whom a peer calls: a proxy for those it tells of and never for itself, anybody else for themselves.
    ///
    /// A header that is malformed, or comes twice, names nobody.
    fn identities(&self, peer: &Peer, headers: &HeaderMap) -> Option<Arc<PeerIdentities>> {
        if !self.has(peer.ip, peer.certificate.as_deref()) {
            if headers.contains_key(FORWARDED_CERTIFICATE) {
                let ip = peer.ip.map(tracing::field::display);
                tracing::debug!(
                    peer.ip = ip,
                    "a peer that is no trusted proxy tells of a certificate, in vain"
                );
            }
            return peer.certificate.clone();
        }
        let mut values = headers.get_all(FORWARDED_CERTIFICATE).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        xfcc::identities(value.to_str().ok()?).map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use super::super::peer_identities::San;
    use super::*;

    const INGRESS: &str = "spiffe://a.example/ingress";
    const WEB: &str = "spiffe://a.example/web";

    fn peer(ip: &str, certificate: Option<&str>) -> Peer {
        let of = |uri: &str| PeerIdentities::of_sans(vec![San::Uri(uri.to_owned())]).unwrap();
        Peer {
            ip: Some(ip.parse().unwrap()),
            certificate: certificate.map(|uri| Arc::new(of(uri))),
        }
    }

    #[test]
    fn a_proxy_calls_for_others_and_anybody_else_for_themselves() {
        let trusted = ["10.0.0.0/8".to_owned(), INGRESS.to_owned()];
        let trusted = TrustedProxies::parse(&trusted).unwrap();
        let told = |peer: &Peer, headers: &[&str]| {
            let mut map = HeaderMap::new();
            for value in headers {
                map.append(FORWARDED_CERTIFICATE, value.parse().unwrap());
            }
            let identities = trusted.identities(peer, &map);
            identities.map(|identities| identities.to_string())
        };
        let header = format!("Hash=1;URI={WEB}");
        for proxy in [
            peer("10.1.2.3", None),
            peer("10.1.2.3", Some("spiffe://a.example/x")),
            peer("1.2.3.4", Some(INGRESS)),
        ] {
            assert_eq!(told(&proxy, &[&header]).as_deref(), Some(WEB));
            for headers in [&[] as &[&str], &["URI"], &[&header, &header]] {
                assert_eq!(told(&proxy, headers), None, "{headers:?}");
            }
        }
        let other = "spiffe://a.example/other";
        for headers in [&[] as &[&str], &["URI"], &[&header]] {
            assert_eq!(told(&peer("1.2.3.4", None), headers), None);
            assert_eq!(
                told(&peer("1.2.3.4", Some(other)), headers).as_deref(),
                Some(other)
            );
        }
    }
}
