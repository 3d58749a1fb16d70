//! An SMTP relay over real TCP that follows the script of a test and records every byte it receives.
//!
//! The relay answers as a working relay unless the script says otherwise. The script has a queue of actions for each
//! step of the conversation; each action is used once, whichever connection reaches the step first. The relay checks
//! nothing except that a message has a recipient. The tests check what the client sent.

mod conversation;
mod script;
mod state;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::certificates::localhost_tls;
use conversation::Conversation;
use script::Script;
use state::RelayState;

pub(crate) use script::{Encryption, RelayAction, SmtpStep};
pub(crate) use state::{ReceivedMessage, RelayConnection};

/// A running relay. It stops when it is dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    certificate_pem: String,
    state: Arc<Mutex<RelayState>>,
    listener: JoinHandle<()>,
}

impl Relay {
    /// Listens on a free port of localhost.
    pub(crate) async fn start(tls: Encryption) -> Self {
        Self::start_with(tls, 2100).await
    }

    /// The same with an expired certificate.
    pub(crate) async fn start_expired(tls: Encryption) -> Self {
        Self::start_with(tls, 2020).await
    }

    async fn start_with(tls: Encryption, certificate_end_year: i32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(RelayState::default()));
        let (acceptor, certificate_pem) = localhost_tls(certificate_end_year);
        let conversation = Conversation {
            state: Arc::clone(&state),
            tls,
            acceptor,
            number: 0,
        };
        let listener = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let conversation = conversation.clone();
                // Tests check how a conversation ends; the relay ignores it.
                tokio::spawn(async move { drop(conversation.run(stream).await) });
            }
        });
        Self {
            address,
            certificate_pem,
            state,
            listener,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The certificate for `localhost` that the relay presents.
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Offers PIPELINING from now on.
    pub(crate) fn offer_pipelining(&self) -> &Self {
        self.change_script(|script| script.offers_pipelining = true)
    }

    /// Always gives this reply to a recipient.
    pub(crate) fn refuse(&self, recipient: &str, reply: &str) -> &Self {
        self.change_script(|script| {
            script
                .refused
                .insert(recipient.to_owned(), reply.to_owned());
        })
    }

    /// Greylists every recipient this many times.
    pub(crate) fn greylist(&self, times: u32) -> &Self {
        self.change_script(|script| script.greylist_times = times)
    }

    /// Queues an action for the next time that a connection reaches a step.
    pub(crate) fn act_once(&self, step: SmtpStep, action: RelayAction) -> &Self {
        self.change_script(|script| script.push(step, action))
    }

    /// Queues a reply for the next time that a connection reaches a step.
    pub(crate) fn reply_once(&self, step: SmtpStep, reply: &str) -> &Self {
        self.act_once(step, RelayAction::Reply(reply.to_owned()))
    }

    /// Acts like this each time that a connection reaches a step, until the relay [recovers](Self::recover).
    pub(crate) fn act_always(&self, step: SmtpStep, action: RelayAction) -> &Self {
        self.change_script(|script| {
            script.usual_actions.insert(step, action);
        })
    }

    /// Replies like this each time that a connection reaches a step, until the relay [recovers](Self::recover).
    pub(crate) fn reply_always(&self, step: SmtpStep, reply: &str) -> &Self {
        self.act_always(step, RelayAction::Reply(reply.to_owned()))
    }

    /// Ends what [`act_always`](Self::act_always) began.
    pub(crate) fn recover(&self) -> &Self {
        self.change_script(|script| script.usual_actions.clear())
    }

    /// Closes each connection with 421 when it begins a message beyond this many.
    pub(crate) fn close_after(&self, messages: usize) -> &Self {
        self.change_script(|script| script.messages_per_connection = Some(messages))
    }

    /// Refuses a connection with 421 while this many others are open.
    pub(crate) fn limit_connections(&self, count: usize) -> &Self {
        self.change_script(|script| script.connections_max = Some(count))
    }

    /// Keeps nothing of messages but their recipients and ids, because a test sends very many.
    pub(crate) fn forget_bytes(&self) -> &Self {
        self.change_script(|script| script.forgets_bytes = true)
    }

    fn change_script(&self, change: impl FnOnce(&mut Script)) -> &Self {
        change(&mut self.state.lock().unwrap().script);
        self
    }

    /// Waits until this many messages were received.
    pub(crate) async fn wait_until_received(&self, count: usize) {
        let message_received = Arc::clone(&self.state.lock().unwrap().message_received);
        loop {
            let next = message_received.notified();
            if self.received_count() >= count {
                return;
            }
            next.await;
        }
    }

    /// All connections so far, in the order in which they were made.
    pub(crate) fn connections(&self) -> Vec<RelayConnection> {
        self.state.lock().unwrap().connections.clone()
    }

    /// All messages that were received up to their final dot, whatever the relay replied to them.
    pub(crate) fn received(&self) -> Vec<ReceivedMessage> {
        self.state.lock().unwrap().received.clone()
    }

    /// How often a client began a message or failed to get that far.
    pub(crate) fn attempt_count(&self) -> usize {
        let connections = self.connections();
        let counts = connections.iter().map(|connection| {
            let begun = connection.verbs.iter().filter(|verb| *verb == "MAIL");
            begun.count().max(1)
        });
        counts.sum()
    }

    pub(crate) fn received_count(&self) -> usize {
        self.state.lock().unwrap().received.len()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listener.abort();
    }
}
