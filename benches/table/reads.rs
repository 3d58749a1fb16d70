//! Get, List, Preview and GetBatch beside a call that does nothing: health of the same server, by the same callers.
//!
//! What is compared are the times that half of the calls take. Each call is answered before the next one of its caller.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures::future::BoxFuture;
use invitations::proto::{GetBatchRequest, GetRequest, ListRequest, PreviewRequest};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::arguments::Arguments;
use crate::bulk_create;
use crate::contest::{Compared, Contest, Outcome, Turn, hold, together};
use crate::database::Database;
use crate::meter::Meter;
use crate::people::{ORGANIZATION, People};
use crate::seed::{self, Seed};
use crate::service::{Client, Service, authorized};

/// Invitations of the organization.
const PEOPLE: usize = 1_000_000;
const QUICK_PEOPLE: usize = 10_000;
/// Invitations of the batch.
const BATCH: usize = 10_000;
/// Invitations on a page, and on those that are turned on the way to the middle.
const PAGE: usize = 100;
const LARGE_PAGE: i32 = 1_000;
const CALLERS: [usize; 2] = [1, 8];
/// Calls of each caller in a turn.
const CALLS: usize = 500;
const QUICK_CALLS: usize = 50;
const ROUNDS: usize = 7;
const QUICK_ROUNDS: usize = 2;
/// Goes far from one person to the next, and comes to all of them.
const STRIDE: usize = 7_919;

/// What is read.
#[derive(Clone)]
enum Read {
    Get,
    Preview,
    GetBatch { id: String },
    List { name: &'static str, token: String },
}

struct Reads<'a> {
    read: Read,
    seed: &'a Seed,
    clients: Vec<Client>,
    channels: Vec<Channel>,
    calls: usize,
    /// Whose turn it is.
    next: usize,
}

/// Measures them in a database of their own.
pub(crate) async fn run(server_url: &str, arguments: &Arguments) -> anyhow::Result<Vec<Outcome>> {
    let database = Database::create(server_url).await?;
    let service = Service::start(&database).await?;
    let mut meter = Meter::new(&database, Some(service.pid())).await?;
    let people = if arguments.quick {
        QUICK_PEOPLE
    } else {
        PEOPLE
    };
    let seed = Seed::plant(&database, people).await?;
    let middle = middle_page(service.client().await?, people / 2).await?;
    let batch = batch(service.client().await?).await?;
    let reads = [
        Read::Get,
        Read::Preview,
        Read::GetBatch { id: batch },
        Read::List {
            name: "List, first page",
            token: String::new(),
        },
        Read::List {
            name: "List, page in the middle",
            token: middle,
        },
    ];
    let mut outcomes = Vec::new();
    for read in reads {
        for callers in CALLERS {
            let mut channels = Vec::new();
            for _ in 0..callers {
                channels.push(service.channel().await?);
            }
            let mut contest = Reads {
                read: read.clone(),
                seed: &seed,
                clients: service.clients(callers).await?,
                channels,
                calls: if arguments.quick { QUICK_CALLS } else { CALLS },
                next: 0,
            };
            let rounds = arguments.rounds(1, ROUNDS, QUICK_ROUNDS);
            outcomes.push(hold(&mut contest, &database, &mut meter, rounds).await?);
        }
    }
    drop(meter);
    service.stop().await?;
    database.drop().await?;
    Ok(outcomes)
}

/// A batch that was made by a call of its own.
async fn batch(mut client: Client) -> anyhow::Result<String> {
    let request = bulk_create::request(People::new().emails(BATCH));
    let response = client.bulk_create(authorized(request)?).await?.into_inner();
    Ok(response.batch_id)
}

/// The token of the page that begins after so many invitations.
async fn middle_page(mut client: Client, after: usize) -> anyhow::Result<String> {
    let mut token = String::new();
    let mut passed = 0;
    while passed < after {
        let request = ListRequest {
            organization_id: ORGANIZATION.to_owned(),
            page_size: LARGE_PAGE,
            page_token: token,
            ..Default::default()
        };
        let page = client.list(authorized(request)?).await?.into_inner();
        ensure!(!page.next_page_token.is_empty(), "the list ended too early");
        passed += page.invitations.len();
        token = page.next_page_token;
    }
    Ok(token)
}

impl Contest for Reads<'_> {
    const COMPARED: Compared = Compared::Medians;
    const SAME_ROWS: &'static [&'static str] = &[];

    fn name(&self) -> &'static str {
        match &self.read {
            Read::Get => "Get",
            Read::Preview => "Preview",
            Read::GetBatch { .. } => "GetBatch",
            Read::List { name, .. } => name,
        }
    }

    fn reference_name(&self) -> &'static str {
        "health"
    }

    fn size(&self) -> usize {
        match self.read {
            Read::Get | Read::Preview => 1,
            Read::GetBatch { .. } => BATCH,
            Read::List { .. } => PAGE,
        }
    }

    fn callers(&self) -> usize {
        self.clients.len()
    }

    async fn ours(&mut self) -> anyhow::Result<Turn> {
        let mut jobs = Vec::new();
        for client in &self.clients {
            let mut numbers = Vec::new();
            for _ in 0..self.calls {
                self.next = (self.next + STRIDE) % self.seed.count();
                numbers.push(self.next);
            }
            jobs.push(self.read.clone().job(client.clone(), self.seed, &numbers)?);
        }
        together(self.calls * self.clients.len(), jobs).await
    }

    async fn reference(&mut self) -> anyhow::Result<Turn> {
        let mut jobs = Vec::new();
        for channel in &self.channels {
            let mut client = HealthClient::new(channel.clone());
            let calls = self.calls;
            jobs.push(async move {
                let mut latencies = Vec::new();
                for _ in 0..calls {
                    let request = authorized(HealthCheckRequest::default())?;
                    let started = Instant::now();
                    client.check(request).await?;
                    latencies.push(started.elapsed());
                }
                Ok(latencies)
            });
        }
        together(self.calls * self.channels.len(), jobs).await
    }
}

impl Read {
    /// The calls of one caller, about these people.
    fn job(
        self,
        client: Client,
        seed: &Seed,
        numbers: &[usize],
    ) -> anyhow::Result<BoxFuture<'static, anyhow::Result<Vec<Duration>>>> {
        match self {
            Self::Get => {
                let requests = numbers.iter().map(|number| {
                    authorized(GetRequest {
                        organization_id: ORGANIZATION.to_owned(),
                        invitation_id: seed::person(*number).id,
                    })
                });
                timed(requests, move |request| {
                    let mut client = client.clone();
                    async move { Ok(client.get(request).await.map(drop)?) }
                })
            }
            Self::Preview => {
                let requests = numbers.iter().map(|number| {
                    let token = seed.token(*number)?;
                    authorized(PreviewRequest { token })
                });
                timed(requests, move |request| {
                    let mut client = client.clone();
                    async move { Ok(client.preview(request).await.map(drop)?) }
                })
            }
            Self::GetBatch { id } => {
                let requests = numbers.iter().map(|_| {
                    authorized(GetBatchRequest {
                        organization_id: ORGANIZATION.to_owned(),
                        batch_id: id.clone(),
                    })
                });
                timed(requests, move |request| {
                    let mut client = client.clone();
                    async move {
                        let batch = client.get_batch(request).await?.into_inner().batch;
                        let items = batch.map_or(0, |batch| batch.item_count);
                        ensure!(usize::try_from(items)? == BATCH, "a batch is not complete");
                        Ok(())
                    }
                })
            }
            Self::List { token, .. } => {
                let requests = numbers.iter().map(|_| {
                    authorized(ListRequest {
                        organization_id: ORGANIZATION.to_owned(),
                        page_size: i32::try_from(PAGE)?,
                        page_token: token.clone(),
                        ..Default::default()
                    })
                });
                timed(requests, move |request| {
                    let mut client = client.clone();
                    async move {
                        let page = client.list(request).await?.into_inner();
                        ensure!(page.invitations.len() == PAGE, "a page is not full");
                        Ok(())
                    }
                })
            }
        }
    }
}

/// Sends requests that are ready, one after another, and says how long each took.
fn timed<R, A>(
    requests: impl Iterator<Item = anyhow::Result<R>>,
    mut ask: impl FnMut(R) -> A + Send + 'static,
) -> anyhow::Result<BoxFuture<'static, anyhow::Result<Vec<Duration>>>>
where
    R: Send + 'static,
    A: Future<Output = anyhow::Result<()>> + Send,
{
    let requests = requests.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Box::pin(async move {
        let mut latencies = Vec::with_capacity(requests.len());
        for request in requests {
            let started = Instant::now();
            ask(request).await?;
            latencies.push(started.elapsed());
        }
        Ok(latencies)
    }))
}
