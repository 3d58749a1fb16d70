//! Accept beside its statement alone, `store::subjects::accept`, sent by pgbench over as many connections as there are
//! callers. Everybody is invited by one organization and accepts once, as a user whom the directory does not know.
//!
//! Each caller has a connection of its own, as pgbench has; and once all share one, as the threads of a service and what
//! stands behind a proxy do.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use invitations::domain::audit::AuditAction;
use invitations::proto::AcceptRequest;

use crate::arguments::Arguments;
use crate::contest::{Contest, Outcome, Turn, hold, together};
use crate::database::Database;
use crate::meter::Meter;
use crate::people::ORGANIZATION;
use crate::pgbench;
use crate::seed::{self, Seed};
use crate::service::{Client, Service, authorized};
use crate::statement;

/// Where the statement stands.
const SOURCE: &str = include_str!("../../src/store/subjects.rs");
/// People whom the organization has invited.
const PEOPLE: usize = 200_000;
const QUICK_PEOPLE: usize = 10_000;
const LOADS: [Load; 4] = [
    Load::apart(1, 1_000),
    Load::apart(8, 375),
    Load::apart(32, 188),
    Load::together(32, 188),
];
/// Of a smoke run.
const QUICK_LOADS: [Load; 4] = [
    Load::apart(1, 200),
    Load::apart(8, 50),
    Load::apart(32, 13),
    Load::together(32, 13),
];
const ROUNDS: usize = 5;
const QUICK_ROUNDS: usize = 2;

/// Who calls.
#[derive(Clone, Copy)]
struct Load {
    callers: usize,
    /// How often each of them accepts in a turn.
    calls: usize,
    /// Whether they share a connection.
    is_shared: bool,
}

struct Accept<'a> {
    database: &'a Database,
    seed: &'a Seed,
    clients: Vec<Client>,
    load: Load,
    statement: &'a str,
    /// Who is next.
    next: usize,
}

/// Measures it in a database of its own.
pub(crate) async fn run(server_url: &str, arguments: &Arguments) -> anyhow::Result<Vec<Outcome>> {
    let database = Database::create(server_url).await?;
    let service = Service::start(&database).await?;
    let mut meter = Meter::new(&database, Some(service.pid())).await?;
    let (people, loads) = if arguments.quick {
        (QUICK_PEOPLE, QUICK_LOADS)
    } else {
        (PEOPLE, LOADS)
    };
    let seed = Seed::plant(&database, people).await?;
    let statement = in_sql()?;
    let rounds = arguments.rounds(1, ROUNDS, QUICK_ROUNDS);
    let mut outcomes = Vec::new();
    let mut next = 0;
    for load in loads {
        let mut contest = Accept {
            database: &database,
            seed: &seed,
            clients: load.clients(&service).await?,
            load,
            statement: &statement,
            next,
        };
        outcomes.push(hold(&mut contest, &database, &mut meter, rounds).await?);
        next = contest.next;
    }
    // Of both sides, whatever a member needs: an invitation that ended, whose mail is not sent, and an event of it.
    let accepted = database
        .count(
            "SELECT count(*) FROM invitations i
               JOIN memberships m ON m.organization_id = i.organization_id AND m.user_id = i.ended_by_user_id
                                 AND m.invitation_id = i.id
               JOIN outbox o ON o.invitation_id = i.id AND o.state = 'canceled'
               JOIN audit_events e ON e.invitation_id = i.id AND e.action = 'accept' AND e.outcome = 'OK'
               JOIN user_emails u ON u.user_id = m.user_id AND u.email_normalized = i.email_normalized
              WHERE i.state = 'accepted' AND i.organization_id = 'acme'",
        )
        .await?;
    ensure!(
        usize::try_from(accepted)? == next,
        "{accepted} accepted where {next} were timed"
    );
    drop(meter);
    service.stop().await?;
    database.drop().await?;
    Ok(outcomes)
}

impl Load {
    const fn apart(callers: usize, calls: usize) -> Self {
        Self {
            callers,
            calls,
            is_shared: false,
        }
    }

    const fn together(callers: usize, calls: usize) -> Self {
        Self {
            is_shared: true,
            ..Self::apart(callers, calls)
        }
    }

    /// A client for each caller.
    async fn clients(self, service: &Service) -> anyhow::Result<Vec<Client>> {
        if self.is_shared {
            Ok(vec![service.client().await?; self.callers])
        } else {
            service.clients(self.callers).await
        }
    }
}

impl Accept<'_> {
    fn take(&mut self) -> anyhow::Result<usize> {
        let first = self.next;
        self.next += self.load.callers * self.load.calls;
        ensure!(self.next <= self.seed.count(), "too few people are invited");
        Ok(first)
    }
}

impl Contest for Accept<'_> {
    const SAME_ROWS: &'static [&'static str] = &[
        "memberships",
        "users",
        "user_emails",
        "audit_events",
        "invitation_events",
    ];

    fn name(&self) -> &'static str {
        if self.load.is_shared {
            "Accept, one connection"
        } else {
            "Accept"
        }
    }

    fn reference_name(&self) -> &'static str {
        "pgbench"
    }

    fn size(&self) -> usize {
        1
    }

    fn callers(&self) -> usize {
        self.load.callers
    }

    async fn ours(&mut self) -> anyhow::Result<Turn> {
        let mut first = self.take()?;
        let mut jobs = Vec::new();
        for client in &self.clients {
            let mut requests = Vec::new();
            for number in first..first + self.load.calls {
                requests.push(authorized(request(self.seed, number)?)?);
            }
            first += self.load.calls;
            let mut client = client.clone();
            jobs.push(async move {
                let mut latencies = Vec::new();
                for request in requests {
                    let started = Instant::now();
                    let response = client.accept(request).await?.into_inner();
                    latencies.push(started.elapsed());
                    ensure!(!response.already_member, "somebody was a member before");
                }
                Ok(latencies)
            });
        }
        together(self.load.calls * self.load.callers, jobs).await
    }

    async fn reference(&mut self) -> anyhow::Result<Turn> {
        let run = pgbench::Run {
            first: self.take()?,
            url: self.database.url(),
            statement: self.statement,
            connections: self.load.callers,
            transactions: self.load.calls,
        };
        run.turn()
    }
}

fn request(seed: &Seed, number: usize) -> anyhow::Result<AcceptRequest> {
    let person = seed::person(number);
    Ok(AcceptRequest {
        token: seed.token(number)?,
        user_id: person.user_id,
        user_name: "Grace Hopper".to_owned(),
        user_emails: vec![person.email],
    })
}

/// The statement for the person of the number `:n`, as the service sends it for them.
fn in_sql() -> anyhow::Result<String> {
    let person = seed::person_in_sql(":n");
    let emails = format!("ARRAY[{}]::text[]", person.email);
    let parameters = [
        format!("'{ORGANIZATION}'::text"),
        person.id,
        "1".to_owned(),
        person.user_id.clone(),
        "'Grace Hopper'::text".to_owned(),
        emails.clone(),
        "now()".to_owned(),
        emails,
        seed::event_id_in_sql(":n"),
        format!("'{}'::text", AuditAction::Accept.as_str()),
        "'OK'::text".to_owned(),
        "'bench'::text".to_owned(),
        person.user_id,
        // The version that it had: whatever it says, the statement does the same.
        "'1'::text".to_owned(),
    ];
    let text = statement::text(SOURCE, "store::subjects::accept")?;
    statement::fill(text, &parameters).context("the statement of Accept has changed")
}
