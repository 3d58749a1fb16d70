//! Two that do the same work in turn, and what came of it.
//!
//! Each round both have a turn, in changing order, so that whatever else the machine does falls on both. What is compared
//! is each round with itself: its ratio knows nothing of a machine that was slower a minute ago.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures::future::try_join_all;

use crate::database::{Counts, Database};
use crate::machine;
use crate::meter::{Meter, Reading};

/// One turn of either.
pub(crate) struct Turn {
    /// How many things were done.
    pub(crate) items: usize,
    /// From the beginning of the first call to the end of the last.
    pub(crate) took: Duration,
    /// How long each call took.
    pub(crate) latencies: Vec<Duration>,
}

/// What of a turn is compared with the other's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compared {
    /// How many things a second.
    Rates,
    /// How long half of the calls take.
    Medians,
}

/// The two.
pub(crate) trait Contest {
    /// What is compared.
    const COMPARED: Compared = Compared::Rates;
    /// The tables in which both leave the same number of rows, which is looked at once. Of an operation that writes
    /// nothing: none.
    const SAME_ROWS: &'static [&'static str];

    /// What it is called in the table.
    fn name(&self) -> &'static str;
    /// What the reference is called there.
    fn reference_name(&self) -> &'static str;
    /// How many things a call is about.
    fn size(&self) -> usize;
    /// How many call at the same time.
    fn callers(&self) -> usize;
    /// The service does it.
    async fn ours(&mut self) -> anyhow::Result<Turn>;
    /// The reference does it.
    async fn reference(&mut self) -> anyhow::Result<Turn>;
}

/// How long one takes.
#[derive(Default)]
pub(crate) struct Times {
    latencies: Vec<Duration>,
    rates: Vec<f64>,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) reference_name: &'static str,
    pub(crate) size: usize,
    pub(crate) callers: usize,
    pub(crate) ours: Times,
    pub(crate) reference: Times,
    /// One for each round: 1 is as fast as the reference, less is slower.
    pub(crate) ratios: Vec<f64>,
    /// Whether it writes.
    pub(crate) writes: bool,
    /// What ours cost altogether, and for how many things.
    pub(crate) spent: Reading,
    pub(crate) items: usize,
    /// Rows that ours made, for one thing.
    pub(crate) rows: Option<f64>,
    pub(crate) memory_peak_kib: Option<u64>,
    pub(crate) load: Option<f64>,
}

/// How often both have their turn.
#[derive(Clone, Copy)]
pub(crate) struct Rounds {
    /// Before it counts: connections, caches, plans. Rows are compared in the first one, if there is one.
    pub(crate) warm_up: usize,
    /// That count.
    pub(crate) timed: usize,
    /// Whether the reference has none, so that a profile shows the service alone.
    pub(crate) is_alone: bool,
}

/// Has both take their turns.
pub(crate) async fn hold<C: Contest>(
    contest: &mut C,
    database: &Database,
    meter: &mut Meter,
    rounds: Rounds,
) -> anyhow::Result<Outcome> {
    let mut rows = None;
    for round in 0..rounds.warm_up {
        if rounds.is_alone {
            contest.ours().await?;
        } else if round == 0 && !C::SAME_ROWS.is_empty() {
            rows = Some(compare_rows(contest, database).await?);
        } else {
            contest.ours().await?;
            contest.reference().await?;
        }
    }
    let mut outcome = Outcome {
        name: contest.name(),
        reference_name: contest.reference_name(),
        size: contest.size(),
        callers: contest.callers(),
        ours: Times::default(),
        reference: Times::default(),
        ratios: Vec::new(),
        writes: !C::SAME_ROWS.is_empty(),
        spent: Reading::default(),
        items: 0,
        rows,
        memory_peak_kib: None,
        load: None,
    };
    meter.reset_memory_peak();
    for round in 0..rounds.timed {
        let is_second = round % 2 == 1;
        let mut reference = None;
        if is_second && !rounds.is_alone {
            reference = Some(contest.reference().await?);
        }
        let before = meter.read().await?;
        let ours = contest.ours().await?;
        outcome.spent += meter.read().await? - before;
        if !is_second && !rounds.is_alone {
            reference = Some(contest.reference().await?);
        }
        outcome.add(C::COMPARED, ours, reference)?;
    }
    outcome.memory_peak_kib = meter.memory_peak_kib();
    outcome.load = machine::load();
    // What takes long should show that it lives, and a run that breaks should not have been for nothing.
    let (name, size, callers) = (outcome.name, outcome.size, outcome.callers);
    let (rate, ratio) = (outcome.ours.rate(), quantile(&outcome.ratios, 0.5));
    if rounds.is_alone {
        eprintln!("{name} of {size} by {callers}: {rate:.0}/s");
    } else {
        let reference = outcome.reference.rate();
        eprintln!(
            "{name} of {size} by {callers}: {rate:.0}/s beside {reference:.0}/s, ratio {ratio:.2}"
        );
    }
    Ok(outcome)
}

/// Has both take a turn that is not timed, and sees to it that they leave the same; returns how many rows ours makes for
/// one thing.
async fn compare_rows<C: Contest>(contest: &mut C, database: &Database) -> anyhow::Result<f64> {
    let start = database.counts().await?;
    let items = contest.ours().await?.items;
    let middle = database.counts().await?;
    contest.reference().await?;
    let end = database.counts().await?;
    for table in C::SAME_ROWS {
        let (ours, theirs) = (made(&start, &middle, table), made(&middle, &end, table));
        ensure!(
            ours == theirs && ours > 0,
            "{}: {ours} rows in {table} beside {theirs}",
            contest.name()
        );
    }
    let rows: i64 = start.keys().map(|table| made(&start, &middle, table)).sum();
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    Ok(rows as f64 / items as f64)
}

fn made(before: &Counts, after: &Counts, table: &str) -> i64 {
    let count = |counts: &Counts| counts.get(table).copied().unwrap_or_default();
    count(after) - count(before)
}

/// Runs jobs at the same time, each in a task of its own; each tells how long its calls took.
pub(crate) async fn together<J>(
    items: usize,
    jobs: impl IntoIterator<Item = J>,
) -> anyhow::Result<Turn>
where
    J: Future<Output = anyhow::Result<Vec<Duration>>> + Send + 'static,
{
    let started = Instant::now();
    let tasks: Vec<_> = jobs.into_iter().map(tokio::spawn).collect();
    let ended = try_join_all(tasks).await?;
    let took = started.elapsed();
    let mut latencies = Vec::new();
    for job in ended {
        latencies.extend(job?);
    }
    Ok(Turn {
        items,
        took,
        latencies,
    })
}

impl Outcome {
    /// Adds a round.
    fn add(
        &mut self,
        compared: Compared,
        ours: Turn,
        reference: Option<Turn>,
    ) -> anyhow::Result<()> {
        self.items += ours.items;
        if let Some(reference) = reference {
            ensure!(
                ours.items == reference.items,
                "{} things were done beside {}",
                ours.items,
                reference.items
            );
            self.ratios.push(match compared {
                Compared::Rates => ours.rate() / reference.rate(),
                Compared::Medians => reference.median() / ours.median(),
            });
            self.reference.add(reference);
        }
        self.ours.add(ours);
        Ok(())
    }
}

impl Turn {
    fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let items = self.items as f64;
        items / self.took.as_secs_f64()
    }

    fn median(&self) -> f64 {
        quantile(&seconds(&self.latencies), 0.5)
    }
}

impl Times {
    fn add(&mut self, mut turn: Turn) {
        self.rates.push(turn.rate());
        self.latencies.append(&mut turn.latencies);
    }

    /// Things a second, in the round in the middle; no number if there was none.
    pub(crate) fn rate(&self) -> f64 {
        quantile(&self.rates, 0.5)
    }

    /// The time within which a share of the calls of all rounds ended, in milliseconds; nothing if no call was timed.
    pub(crate) fn millis(&self, share: f64) -> Option<f64> {
        (!self.latencies.is_empty()).then(|| quantile(&seconds(&self.latencies), share) * 1_000.0)
    }
}

fn seconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(Duration::as_secs_f64).collect()
}

/// The value that a share of the values do not exceed.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index of a list"
    )]
    let index = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
