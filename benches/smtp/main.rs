//! Mails a second into a relay that takes everything, a command at a time and with commands sent ahead.
//!
//! `BENCH_SMTP` names the relay, which must offer PIPELINING, such as Postfix's sink:
//!
//!     smtp-sink 127.0.0.1:2525 1000 &   # as root with -u nobody
//!     BENCH_SMTP=127.0.0.1:2525 cargo bench --bench smtp
//!
//! Each number is the better of two rounds, over connections that are open already; a mail is composed once and sent again
//! and again. "near" is the relay as it is, "far" the same at a distance of 20 ms.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark is configured by its environment, times itself and reports to a terminal"
)]

#[path = "../common/delay.rs"]
mod delay;

use std::env;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use futures::future::try_join_all;
use invitations::domain::brand::Brand;
use invitations::domain::email_address::EmailAddress;
use invitations::mail::message::{ComposedMail, Composer, InvitationMail, MailKind, Sender};
use invitations::mail::smtp::{SmtpConfig, SmtpLimits, SmtpTimeouts, SmtpTls, SmtpTransport};
use invitations::mail::transport::{Session, Transport};
use time::macros::datetime;

const ROUND_TRIP: Duration = Duration::from_millis(20);
const CONNECTIONS: [usize; 3] = [1, 4, 16];
/// Mails over each connection in a round, near and far.
const MAILS: [usize; 2] = [500, 50];
const ROUNDS: usize = 2;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let near: SocketAddr = env::var("BENCH_SMTP")
        .context("BENCH_SMTP: the address of a relay that takes everything")?
        .parse()?;
    let far = delay::listen(near, ROUND_TRIP).await?;
    let mail = Arc::new(mail()?);
    println!("mails of {} bytes a second", mail.bytes().len());
    println!("relay  connections  lockstep  pipelined  ratio");
    for (name, address, mails) in [("near", near, MAILS[0]), ("far", far, MAILS[1])] {
        for connections in CONNECTIONS {
            let mut rates = [0.0_f64; 2];
            for _ in 0..ROUNDS {
                for (rate, pipelining) in rates.iter_mut().zip([false, true]) {
                    let mut sessions = open(address, pipelining, connections)?;
                    send(&mut sessions, &mail, 1).await?;
                    let start = Instant::now();
                    send(&mut sessions, &mail, mails).await?;
                    let seconds = start.elapsed().as_secs_f64();
                    let count = u32::try_from(mails * connections)?;
                    *rate = rate.max(f64::from(count) / seconds);
                }
            }
            let [lockstep, pipelined] = rates;
            let ratio = pipelined / lockstep;
            println!("{name:5}  {connections:11}  {lockstep:8.0}  {pipelined:9.0}  {ratio:5.2}");
        }
    }
    Ok(())
}

fn open(address: SocketAddr, pipelining: bool, connections: usize) -> anyhow::Result<Vec<Session>> {
    let transport = SmtpTransport::new(SmtpConfig {
        host: address.ip().to_string(),
        port: address.port(),
        tls: SmtpTls::None,
        extra_roots_pem: None,
        credentials: None,
        hello_name: "bench.acme.example".to_owned(),
        pipelining,
        timeouts: SmtpTimeouts::default(),
        limits: SmtpLimits {
            messages_per_connection: u32::MAX,
            ..SmtpLimits::default()
        },
    })?;
    let transport = Transport::Smtp(transport);
    Ok((0..connections).map(|_| transport.open()).collect())
}

/// Sends a number of mails over each session, each session in a task of its own.
async fn send(
    sessions: &mut Vec<Session>,
    mail: &Arc<ComposedMail>,
    mails: usize,
) -> anyhow::Result<()> {
    let lanes = sessions.drain(..).map(|mut session| {
        let mail = Arc::clone(mail);
        tokio::spawn(async move {
            for _ in 0..mails {
                session.send(&mail).await?;
            }
            anyhow::Ok(session)
        })
    });
    for session in try_join_all(lanes).await? {
        sessions.push(session?);
    }
    Ok(())
}

fn mail() -> anyhow::Result<ComposedMail> {
    let sender = Sender::parse("Acme", "invites@acme.example", None)?;
    let mail = InvitationMail {
        kind: MailKind::Invitation,
        brand: Brand::default(),
        message_id: "inv.1.1.1@acme.example".to_owned(),
        date: datetime!(2026-11-22 19:00 UTC),
        to: EmailAddress::parse("reader@example.com")
            .map_err(|_| anyhow!("the address is no address"))?,
        organization_name: "Northwind".to_owned(),
        inviter_name: Some("Ada".to_owned()),
        role: "member".to_owned(),
        note: None,
        link: "https://app.acme.example/i#token".to_owned().into(),
        expires_at: datetime!(2026-12-22 19:00 UTC),
        locale: "en".to_owned(),
        envelope_from: None,
        unsubscribe_url: None,
    };
    Ok(Composer::new(sender)?.compose(&mail)?)
}
