//! What the yardstick of BulkCreate is worth: the statement over the program's pool beside the same statement by psql.
//!
//! If the pool were slow, BulkCreate would look good beside it.

use invitations::store::Store;

use crate::arguments::Arguments;
use crate::contest::{Contest, Outcome, Turn, hold};
use crate::database::Database;
use crate::meter::Meter;
use crate::people::People;
use crate::pool;
use crate::psql::{self, Psql};

/// Rows of a statement.
const SIZES: [usize; 3] = [10, 100, 1_000];
/// The five executions after which Postgres keeps a plan, and one.
const WARM_UP_ROUNDS: usize = 6;
const ROUNDS: usize = 31;
const QUICK_ROUNDS: usize = 3;

/// The pool and psql.
struct Yardstick<'a> {
    size: usize,
    store: &'a Store,
    psql: &'a mut Psql,
    people: &'a mut People,
}

/// Measures it; also tells how many invitations were written.
pub(crate) async fn run(
    database: &Database,
    store: &Store,
    mut people: People,
    arguments: &Arguments,
) -> anyhow::Result<(Vec<Outcome>, usize)> {
    // Neither has a process of its own.
    let mut meter = Meter::new(database, None).await?;
    let mut psql = Psql::start(database.url())?;
    let mut outcomes = Vec::new();
    let mut written = 0;
    for size in SIZES {
        let rounds = arguments.rounds(WARM_UP_ROUNDS, ROUNDS, QUICK_ROUNDS);
        let mut contest = Yardstick {
            size,
            store,
            psql: &mut psql,
            people: &mut people,
        };
        outcomes.push(hold(&mut contest, database, &mut meter, rounds).await?);
        written += arguments.sides() * size * (rounds.warm_up + rounds.timed);
    }
    psql.stop()?;
    Ok((outcomes, written))
}

impl Contest for Yardstick<'_> {
    const SAME_ROWS: &'static [&'static str] = &["invitations", "outbox", "invitation_events"];

    fn name(&self) -> &'static str {
        "the statement"
    }

    fn reference_name(&self) -> &'static str {
        "psql"
    }

    fn size(&self) -> usize {
        self.size
    }

    fn callers(&self) -> usize {
        1
    }

    async fn ours(&mut self) -> anyhow::Result<Turn> {
        let batch = self.people.batch(self.size)?;
        let took = pool::insert(self.store, batch).await?;
        Ok(Turn {
            items: self.size,
            took,
            latencies: vec![took],
        })
    }

    async fn reference(&mut self) -> anyhow::Result<Turn> {
        let statement = psql::insert_many(&self.people.batch(self.size)?)?;
        let took = self.psql.time(&statement)?;
        Ok(Turn {
            items: self.size,
            took,
            latencies: vec![took],
        })
    }
}
