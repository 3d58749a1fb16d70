//! BulkCreate over several processes of the service beside one, on the same database: what another replica gains where it
//! shares the machine with the first and with Postgres.

use crate::arguments::Arguments;
use crate::bulk_create;
use crate::contest::{Contest, Outcome, Turn, hold};
use crate::database::Database;
use crate::meter::Meter;
use crate::people::People;
use crate::service::{Client, Service};

/// Processes, beside one.
const PROCESSES: [usize; 2] = [2, 4];
/// Items of a call, and calls of each caller in a turn.
const SIZES: [(usize, usize); 2] = [(10, 20), (1_000, 2)];
const CALLERS: usize = 8;
const WARM_UP_ROUNDS: usize = 1;
const ROUNDS: usize = 9;
const QUICK_ROUNDS: usize = 2;

/// The same callers, spread over several processes and at one.
struct Replicas {
    name: &'static str,
    size: usize,
    calls: usize,
    of_all: Vec<Client>,
    of_one: Vec<Client>,
    people: People,
}

/// Measures it in a database of its own.
pub(crate) async fn run(server_url: &str, arguments: &Arguments) -> anyhow::Result<Vec<Outcome>> {
    let database = Database::create(server_url).await?;
    // Of several processes none is the service.
    let mut meter = Meter::new(&database, None).await?;
    let mut services = vec![Service::start(&database).await?];
    let mut people = People::new();
    let mut outcomes = Vec::new();
    for processes in PROCESSES {
        while services.len() < processes {
            services.push(Service::start(&database).await?);
        }
        for (size, calls) in SIZES {
            let mut contest = Replicas {
                name: name(processes),
                size,
                calls,
                of_all: clients(&services).await?,
                of_one: clients(&services[..1]).await?,
                people,
            };
            let rounds = arguments.rounds(WARM_UP_ROUNDS, ROUNDS, QUICK_ROUNDS);
            outcomes.push(hold(&mut contest, &database, &mut meter, rounds).await?);
            people = contest.people;
        }
    }
    drop(meter);
    for service in services {
        service.stop().await?;
    }
    database.drop().await?;
    Ok(outcomes)
}

const fn name(processes: usize) -> &'static str {
    match processes {
        2 => "BulkCreate, 2 processes",
        _ => "BulkCreate, 4 processes",
    }
}

/// As many callers in any case, in turn at each of the processes.
async fn clients(services: &[Service]) -> anyhow::Result<Vec<Client>> {
    let mut clients = Vec::new();
    for service in services.iter().cycle().take(CALLERS) {
        clients.push(service.client().await?);
    }
    Ok(clients)
}

impl Contest for Replicas {
    const SAME_ROWS: &'static [&'static str] = &["invitations", "outbox", "invitation_events"];

    fn name(&self) -> &'static str {
        self.name
    }

    fn reference_name(&self) -> &'static str {
        "one process"
    }

    fn size(&self) -> usize {
        self.size
    }

    fn callers(&self) -> usize {
        CALLERS
    }

    async fn ours(&mut self) -> anyhow::Result<Turn> {
        bulk_create::turn(&self.of_all, &mut self.people, self.size, self.calls).await
    }

    async fn reference(&mut self) -> anyhow::Result<Turn> {
        bulk_create::turn(&self.of_one, &mut self.people, self.size, self.calls).await
    }
}
