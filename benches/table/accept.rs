//! Accept, compared with the statement of `store::acceptances::accept` alone, over as many connections as there are callers.
//!
//! Each invitation is accepted once, by a user whom the directory does not know. Each caller has a connection of its own.
//! In one row all callers share one connection to the server, like the threads of a client.

use std::cell::Cell;
use std::sync::Arc;

use anyhow::ensure;
use invitations::clock::{Clock as _, SystemClock};
use invitations::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use invitations::domain::ids::IdSource;
use invitations::domain::invitation::StateName;
use invitations::domain::keyring::Keyring;
use invitations::proto::AcceptRequest;
use invitations::store::Connection;
use invitations::store::acceptances::{self, Acceptance};
use invitations::store::subjects::Subject;
use sqlx::PgConnection;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::bench::Bench;
use crate::comparison::{Comparison, Metric};
use crate::load::run_callers;
use crate::seed::{self, KEY_ID, KEYS, ORGANIZATION, SeededInvitation};
use crate::server_process::ServerProcess;

const INVITATIONS: usize = 200_000;
const QUICK_INVITATIONS: usize = 10_000;
/// Callers, calls of each caller in a round, calls in a quick round, and whether all callers share one connection.
const LOADS: [(usize, usize, usize, bool); 4] = [
    (1, 1_000, 200, false),
    (8, 375, 50, false),
    (32, 188, 13, false),
    (32, 188, 13, true),
];
const ROUNDS: usize = 5;
const QUICK_ROUNDS: usize = 2;
const USER_NAME: &str = "Grace Hopper";

pub(crate) async fn run(bench: &mut Bench<'_>) -> anyhow::Result<()> {
    let server = ServerProcess::start_api(&bench.database).await?;
    let keyring = Keyring::parse(KEYS)?;
    let invitations = bench.arguments.pick(INVITATIONS, QUICK_INVITATIONS);
    seed::insert_invitations(&bench.database, Uuid::from_u128(1), 0..invitations).await?;
    bench.database.vacuum().await?;
    let numbers = Cell::new(0);
    let next = || numbers.replace(numbers.get() + 1);
    for (callers, calls, quick_calls, is_shared) in LOADS {
        let calls = bench.arguments.pick(calls, quick_calls);
        let clients = if is_shared {
            vec![server.client().await?; callers]
        } else {
            server.clients(callers).await?
        };
        let mut connections = Vec::new();
        for _ in 0..callers {
            connections.push(Arc::new(Mutex::new(bench.database.connect().await?)));
        }
        let comparison = Comparison {
            operation: if is_shared {
                "Accept, one connection"
            } else {
                "Accept"
            },
            reference: "the statement",
            size: 1,
            callers,
            metric: Metric::Rate,
            inserts_into: &["memberships", "users", "user_emails", "audit_events"],
            warm_up_rounds: 1,
            rounds: bench.arguments.pick(ROUNDS, QUICK_ROUNDS),
            process: server.pid(),
        };
        let service = async || {
            let request = || request(&keyring, next());
            run_callers(
                &clients,
                calls,
                1,
                request,
                |mut client, request| async move {
                    let response = client.accept(request).await?.into_inner();
                    ensure!(!response.already_member, "the user was a member before");
                    Ok(())
                },
            )
            .await
        };
        let reference = async || {
            run_callers(
                &connections,
                calls,
                1,
                || Ok(next()),
                |connection, number| async move {
                    accept_by_statement(&mut *connection.lock().await, number).await
                },
            )
            .await
        };
        bench.compare(comparison, service, reference).await?;
    }
    server.stop().await
}

fn request(keyring: &Keyring, number: usize) -> anyhow::Result<AcceptRequest> {
    let seeded = SeededInvitation::new(number);
    Ok(AcceptRequest {
        target: Some(invitations::proto::accept_request::Target::Token(
            seed::token(keyring, number)?,
        )),
        user_id: seeded.user_id,
        user_name: USER_NAME.to_owned(),
        verified_emails: vec![seeded.email],
        ..Default::default()
    })
}

/// Runs the statement with the values that the service binds, as a transaction of its own.
async fn accept_by_statement(connection: &mut PgConnection, number: usize) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let seeded = SeededInvitation::new(number);
    let id = Uuid::parse_str(&seeded.id)?;
    let subject = Subject {
        id,
        organization_id: ORGANIZATION.to_owned(),
        is_organization_deleted: false,
        is_organization_suspended: false,
        generation: 1,
        nonce: seed::nonce(number),
        key_id: i16::from(KEY_ID),
        email_normalized: seeded.email.clone(),
        state: StateName::Pending.as_str().to_owned(),
        expires_at: now,
        ended_by_user_id: None,
    };
    let event = AuditEvent {
        id: IdSource::new().next(now),
        created_at: now,
        organization_id: ORGANIZATION.to_owned(),
        action: AuditAction::Accept,
        refusal: None,
        caller: "bench".to_owned(),
        on_behalf_of_user_id: Some(seeded.user_id.clone()),
        subject_user_id: Some(seeded.user_id.clone()),
        invitation_id: Some(id),
        batch_id: None,
        request_id: None,
        counts: AuditCounts::default(),
    };
    let emails = [seeded.email];
    let acceptance = Acceptance {
        subject: &subject,
        user_id: &seeded.user_id,
        user_name: USER_NAME,
        emails_normalized: &emails,
        emails_to_keep: &emails,
        is_policy_ignored: false,
        // Decides about the response of the service alone.
        version: "1",
        event: &event,
    };
    let accepted = acceptances::accept(&mut Connection::new(connection), &acceptance).await?;
    ensure!(accepted.is_accepted, "invitation {number} is not pending");
    Ok(())
}
