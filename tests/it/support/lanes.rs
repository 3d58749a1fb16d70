//! Delivery over lanes to the relay of a test.

use std::time::Duration;

use invitations::delivery::{
    AmbiguousPolicy, DeliveryConfig, DomainCaps, LaneConfig, LaneTransport,
};
use invitations::mail::smtp::{SmtpConfig, SmtpLimits, SmtpTimeouts, SmtpTls, SmtpTransport};
use invitations::mail::transport::Transport;

use crate::support::relay::Relay;

/// A lane of four connections to a relay.
pub(crate) fn lane(relay: &Relay) -> LaneConfig {
    LaneConfig {
        name: "relay".to_owned(),
        weight: 1,
        transport: LaneTransport::PerMessage {
            transport: transport(relay),
            connections: 4,
        },
        rate_max: None,
        domain_caps: DomainCaps::default(),
        // The clock of a test stands still, so a pause would never end.
        pause: Duration::ZERO,
    }
}

pub(crate) fn delivery_config(lanes: Vec<LaneConfig>) -> DeliveryConfig {
    DeliveryConfig {
        lanes,
        lease_duration: Duration::from_mins(2),
        poll_interval: Duration::from_secs(1),
        drain_timeout: Duration::from_secs(5),
        ambiguous: AmbiguousPolicy::Retry,
    }
}

fn transport(relay: &Relay) -> Transport {
    let config = SmtpConfig {
        host: "127.0.0.1".to_owned(),
        port: relay.port(),
        tls: SmtpTls::None,
        extra_roots_pem: None,
        credentials: None,
        hello_name: "invitations.example.com".to_owned(),
        pipelining: true,
        timeouts: SmtpTimeouts::default(),
        limits: SmtpLimits::default(),
    };
    Transport::Smtp(SmtpTransport::new(config).unwrap())
}
