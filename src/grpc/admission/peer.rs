//! The identities of the client of a call: from the certificate of the peer, or from the header of a trusted proxy.
//!
//! Adds [`PeerIdentities`] to the extensions of a request if there are any. [`authentication`](super::authentication) uses
//! them for calls without an `authorization` header.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, Request};
use tower::{Layer, Service};

use crate::grpc::admission::peer_identities::PeerIdentities;
use crate::grpc::admission::trusted_proxies::TrustedProxies;
use crate::grpc::admission::xfcc;

/// The header in which a proxy forwards the certificate of its client.
const FORWARDED_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) ip: Option<IpAddr>,
    /// The identities in the client certificate of the handshake.
    pub(crate) certificate: Option<Arc<PeerIdentities>>,
}

#[derive(Debug, Clone)]
pub(crate) struct PeerLayer {
    trusted: Arc<TrustedProxies>,
}

impl PeerLayer {
    pub(crate) fn new(trusted: TrustedProxies) -> Self {
        Self {
            trusted: Arc::new(trusted),
        }
    }
}

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
        // No service uses the header.
        request.headers_mut().remove(FORWARDED_CERTIFICATE);
        if let Some(identities) = identities {
            request.extensions_mut().insert(identities);
        }
        self.inner.call(request)
    }
}

impl TrustedProxies {
    /// The identities of the client: for a trusted proxy those in its header and never its own, for other peers their own.
    ///
    /// A header that is malformed, or repeated, gives none.
    fn identities(&self, peer: &Peer, headers: &HeaderMap) -> Option<Arc<PeerIdentities>> {
        if !self.has(peer.ip, peer.certificate.as_deref()) {
            if headers.contains_key(FORWARDED_CERTIFICATE) {
                let ip = peer.ip.map(tracing::field::display);
                tracing::debug!(
                    peer.ip = ip,
                    "a peer that is no trusted proxy sent the certificate of a client; it is ignored"
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
    fn a_proxy_calls_for_its_clients_and_other_peers_call_for_themselves() {
        let trusted = ["10.0.0.0/8".to_owned(), INGRESS.to_owned()];
        let trusted = TrustedProxies::parse(&trusted).unwrap();
        let identified = |peer: &Peer, headers: &[&str]| {
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
            assert_eq!(identified(&proxy, &[&header]).as_deref(), Some(WEB));
            for headers in [&[] as &[&str], &["URI"], &[&header, &header]] {
                assert_eq!(identified(&proxy, headers), None, "{headers:?}");
            }
        }
        let other = "spiffe://a.example/other";
        for headers in [&[] as &[&str], &["URI"], &[&header]] {
            assert_eq!(identified(&peer("1.2.3.4", None), headers), None);
            assert_eq!(
                identified(&peer("1.2.3.4", Some(other)), headers).as_deref(),
                Some(other)
            );
        }
    }
}
