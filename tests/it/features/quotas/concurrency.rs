//! Concurrent calls and processes reach the quotas exactly.

use std::sync::Arc;

use invitations::domain::email_address::EmailAddress;
use invitations::domain::expiry::Expiry;
use invitations::domain::ids::OrganizationId;
use invitations::domain::invitation::{AcceptPolicy, InvitationView};
use invitations::domain::new_invitation::ItemInput;
use invitations::domain::quota::QuotaLimits;
use invitations::domain::reminder::ReminderInput;
use invitations::proto::{BulkCreateRequest, CreateOutcome, OnExisting};
use invitations::service::bulk_create::{BatchTerms, BulkCreate, OnExisting as Existing};
use invitations::service::{ItemOutcome, Service};

use super::{QuotaUsage, address, daily, emails, pending, start, usage};
use crate::support::deadlocks::assert_no_deadlocks;
use crate::support::directory::{membership, organization};
use crate::support::{
    ACME, KEYS, World, bulk_resend_request, created_ids, invite_request, reason, run_concurrently,
    test_actor,
};

#[tokio::test]
async fn concurrent_callers_reach_the_quotas_of_an_organization_and_never_exceed_them() {
    for (quotas, expected) in [(daily(100), 100), (pending(70), 70)] {
        let mut world = start(quotas).await;
        world.may_leave_mail();
        let calls = (0..16).map(|caller| {
            let mut client = world.client();
            let request = invite_request(&emails(&format!("c{caller}-"), 9));
            async move { client.bulk_create(request).await }
        });
        let mut count = 0;
        for response in run_concurrently(calls).await {
            let response = response.unwrap().into_inner();
            count += response.succeeded_count;
            let is_created: Vec<bool> = response
                .results
                .iter()
                .map(|result| result.outcome() == CreateOutcome::Created)
                .collect();
            assert!(
                is_created.is_sorted_by(|one, other| one >= other),
                "the first items are created"
            );
        }
        assert_eq!(count, expected);
        let usage = usage(&world).await;
        assert_eq!(usage.invitations, i64::from(expected));
        assert_eq!(usage.organizations, i64::from(expected));
        assert_no_deadlocks(world.database().await).await;
    }
}

#[tokio::test]
async fn concurrent_organizations_share_the_quota_of_an_address_and_never_exceed_it() {
    let mut world = start(address(10)).await;
    world.may_leave_mail();
    let organizations: Vec<String> = (0..16).map(|number| format!("org{number}")).collect();
    add_organizations(&world, &organizations).await;
    let calls = organizations.iter().enumerate().map(|(index, id)| {
        let mut client = world.client();
        let mut emails = emails("shared", 20);
        if index % 2 == 1 {
            emails.reverse();
        }
        emails.push(format!("own{index}@example.net"));
        let request = BulkCreateRequest {
            organization_id: id.clone(),
            ..invite_request(&emails)
        };
        async move { client.bulk_create(request).await }
    });
    let mut count = 0;
    for response in run_concurrently(calls).await {
        let response = response.unwrap().into_inner();
        assert_eq!(response.results[20].outcome(), CreateOutcome::Created);
        count += response.succeeded_count;
    }
    assert_eq!(count, 20 * 10 + 16);
    let used: i32 = sqlx::query_scalar("SELECT max(used) FROM address_quotas")
        .fetch_one(&mut world.database().await)
        .await
        .unwrap();
    assert_eq!(used, 10);
    assert_no_deadlocks(world.database().await).await;
}

/// Adds organizations whose admin is `ada`.
async fn add_organizations(world: &World, ids: &[String]) {
    let organizations = ids.iter().map(|id| organization(id, "Many")).collect();
    world.upsert_organizations(organizations).await;
    let memberships = ids.iter().map(|id| membership(id, "ada", "admin"));
    world.upsert_memberships(memberships.collect()).await;
}

/// A request for the use case, for a process without a server.
fn use_case_request(emails: &[String]) -> BulkCreate {
    let item = |email: &String| ItemInput {
        key: String::new(),
        email: EmailAddress::parse(email).unwrap().given().to_owned(),
        role: String::new(),
        inviter_user_id: String::new(),
        redirect_url: String::new(),
        public_metadata: Some(serde_json::Map::new()),
        private_metadata: Some(serde_json::Map::new()),
        expiry: Expiry::Default,
        notify: true,
        locale: String::new(),
        message: String::new(),
        accept_policy: Some(AcceptPolicy::InvitedEmail),
        reminder_lead: ReminderInput::Unset,
    };
    BulkCreate {
        terms: BatchTerms {
            actor: test_actor(),
            request_id: None,
            request_hash: [0; 32],
            organization_id: OrganizationId::parse(ACME).unwrap(),
            inviter_user_id: "ada".to_owned(),
            on_existing: Existing::Fail,
            atomic: false,
            validate_only: false,
            return_link: false,
            view: InvitationView::Basic,
        },
        items: emails.iter().map(item).collect(),
    }
}

#[tokio::test]
async fn processes_that_share_a_database_share_its_quotas() {
    let quotas = QuotaLimits {
        organization_pending: Some(45),
        organization_daily: Some(40),
        address_daily: Some(2),
        ..QuotaLimits::OFF
    };
    let mut world = start(quotas).await;
    world.may_leave_mail();
    let services: Vec<Arc<Service>> = (0..2)
        .map(|_| Arc::new(world.service_with(KEYS, quotas)))
        .collect();
    let calls = (0..16).map(|number| {
        let service = Arc::clone(&services[number % 2]);
        let request = use_case_request(&emails(&format!("c{number}-"), 4));
        async move { service.run(request).await }
    });
    let mut count = 0;
    for batch in run_concurrently(calls).await {
        let results = batch.unwrap().results;
        let created = results
            .iter()
            .filter(|it| it.outcome == ItemOutcome::Created);
        count += created.count();
    }
    assert_eq!(count, 40);
    let expected = QuotaUsage {
        invitations: 40,
        messages: 40,
        organizations: 40,
        addresses: 40,
    };
    assert_eq!(usage(&world).await, expected);
}

#[tokio::test]
async fn concurrent_calls_on_the_same_invitations_and_quotas_do_not_deadlock() {
    let quotas = QuotaLimits {
        organization_pending: Some(60),
        organization_daily: Some(1_000),
        address_daily: Some(7),
        ..QuotaLimits::OFF
    };
    let mut world = start(quotas).await;
    world.may_leave_mail();
    let shared = emails("s", 50);
    let ids = created_ids(&world.invite(&shared).await);
    let calls = (0..16).map(|number| {
        let mut client = world.client();
        let (mut ids, mut all) = (ids.clone(), shared.clone());
        all.extend(emails(&format!("own{number}-"), 3));
        if number % 2 == 0 {
            ids.reverse();
            all.reverse();
        }
        async move {
            let on_existing = match number % 4 {
                0 => {
                    let request = bulk_resend_request(&ids);
                    return client.bulk_resend(request).await.map(drop);
                }
                1 => OnExisting::Resend,
                2 => OnExisting::Replace,
                _ => OnExisting::Return,
            };
            let request = BulkCreateRequest {
                on_existing: on_existing.into(),
                ..invite_request(&all)
            };
            client.bulk_create(request).await.map(drop)
        }
    });
    let mut succeeded = 0;
    for response in run_concurrently(calls).await {
        match response {
            Ok(()) => succeeded += 1,
            refused => assert_eq!(reason(refused), "CONFLICT"),
        }
    }
    assert!(succeeded > 0);
    let (pending, used): (i64, i32) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM invitations WHERE state = 'pending'), (SELECT max(used) FROM address_quotas)",
    )
    .fetch_one(&mut world.database().await)
    .await
    .unwrap();
    assert!(pending <= 60 && used <= 7, "{pending} {used}");
    assert_no_deadlocks(world.database().await).await;
}
