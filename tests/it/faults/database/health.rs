//! Health is the truth while the database answers but does not commit writes.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use invitations::clock::MockClock;
use invitations::proto::BulkCreateRequest;
use invitations::service::{NotReady, Service};
use invitations::store::{Store, StoreConfig};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::background_calls::print_line;
use crate::support::database::{Database, count};
use crate::support::deployment::{Deployment, client, directory_client, is_serving};
use crate::support::invariants::assert_invariants;
use crate::support::postgres_cluster::PostgresCluster;
use crate::support::services::context;
use crate::support::waiting::wait_until;
use crate::support::{
    KEYS, START, invite_request, new_request_id, numbered_emails, upsert_user_request,
};

/// A service with short timeouts over a migrated database.
fn service(url: &str) -> Service {
    let config = StoreConfig {
        connections_max: 2,
        acquire_timeout: Duration::from_secs(20),
        statement_timeout: Duration::from_secs(2),
        lock_timeout: Duration::from_millis(500),
    };
    let store = Store::new(url, config).unwrap();
    Service::new(store, context(&Arc::new(MockClock::new(START)), KEYS))
}

#[tokio::test]
async fn health_notices_a_locked_missing_or_outdated_table() {
    let database = Database::create().await;
    let service = service(&database.url());
    service.probe().await.unwrap();
    let mut blocker = database.connect().await;
    // The lock of CREATE INDEX.
    blocker
        .execute("BEGIN; LOCK TABLE outbox IN SHARE MODE")
        .await
        .unwrap();
    assert!(matches!(service.probe().await, Err(NotReady::Failed(_))));
    blocker.execute("ROLLBACK").await.unwrap();
    service.probe().await.unwrap();
    for (change, undo) in [
        (
            "ALTER TABLE suppressions RENAME TO gone",
            "ALTER TABLE gone RENAME TO suppressions",
        ),
        (
            "UPDATE _sqlx_migrations SET success = false WHERE version = 3",
            "UPDATE _sqlx_migrations SET success = true",
        ),
    ] {
        blocker.execute(change).await.unwrap();
        assert!(service.probe().await.is_err(), "{change}");
        blocker.execute(undo).await.unwrap();
        service.probe().await.unwrap();
    }
    // A newer version has migrated the database.
    blocker
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'newer', true, '', 0)",
        )
        .await
        .unwrap();
    service.probe().await.unwrap();
    Store::migrate(&database.url()).await.unwrap();
}

#[tokio::test]
async fn commits_that_wait_for_a_standby_are_not_acknowledged_and_health_notices() {
    let cluster = PostgresCluster::start().await;
    let url = cluster.url().await;
    Store::migrate(&url).await.unwrap();
    let deployment = Deployment::with_database(Database::create_empty().await).await;
    let settings = [
        ("INVITATIONS_DATABASE_URL", url.as_str()),
        ("INVITATIONS_DATABASE_STATEMENT_TIMEOUT", "2s"),
        ("INVITATIONS_ROLE", "api"),
    ];
    let (_running, channel) = deployment.serve_populated(&settings).await;
    let mut database = cluster.connect().await;
    let mut set_standby = async |name: &str| {
        let statement = format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'");
        database.execute(AssertSqlSafe(statement)).await.unwrap();
        database.execute("SELECT pg_reload_conf()").await.unwrap();
    };
    let write = async |id: &str| {
        directory_client(&channel)
            .upsert_users(upsert_user_request(id))
            .await
    };
    set_standby("nobody").await;
    let mut failed = None;
    // The sessions reload the configuration a moment later.
    while failed.is_none() {
        failed = write("new").await.err();
    }
    let failed = failed.unwrap();
    assert_eq!(failed.code(), Code::Unavailable, "{failed:?}");
    assert!(failed.get_error_details().retry_info().is_some());
    let service = service(&url);
    assert!(matches!(service.probe().await, Err(NotReady::Failed(_))));
    set_standby("").await;
    service.probe().await.unwrap();
    write("new").await.unwrap();
}

/// A file system of memory, with a limited size.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Returns `None` if this user may not mount.
    fn mount(folder: &Path, owner: u32) -> Option<Self> {
        fs::create_dir(folder).unwrap();
        let options = format!("size=64m,mode=700,uid={owner}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder)
            .output();
        let is_mounted = mounted.is_ok_and(|output| output.status.success());
        is_mounted.then(|| Self {
            folder: folder.to_owned(),
        })
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        let zeros = vec![0; 64 * 1024];
        while filler.write_all(&zeros).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.folder).output();
        drop(unmounted);
    }
}

/// Asserts that a call that does not fit on the disk is refused and sends no email, and that it can be repeated.
async fn assert_calls_leave_nothing_on_a_full_disk(url: &str, disk: &SmallDisk) {
    let deployment = Deployment::with_database(Database::create_empty().await).await;
    let (_running, channel) = deployment
        .serve_populated(&[("INVITATIONS_DATABASE_URL", url)])
        .await;
    let request = BulkCreateRequest {
        request_id: new_request_id(),
        // More than fits into the free space of pages that exist.
        ..invite_request(&numbered_emails("p", "b.co", 0..500))
    };
    let create = async || client(&channel).bulk_create(request.clone()).await;
    disk.fill();
    let refused = create().await.err().unwrap();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.get_error_details().retry_info().is_some());
    wait_until("NOT_SERVING", async || !is_serving(&channel).await).await;
    let mut database = PgConnection::connect(url).await.unwrap();
    assert_eq!(count(&mut database, "invitations").await, 0);
    assert_eq!(deployment.relay.attempt_count(), 0);

    fs::remove_file(disk.filler()).unwrap();
    wait_until("SERVING", async || is_serving(&channel).await).await;
    assert_eq!(create().await.unwrap().into_inner().failed_count, 0);
    wait_until("the emails to be sent", async || {
        let mut database = PgConnection::connect(url).await.unwrap();
        count(&mut database, "outbox WHERE state = 'sent'").await == 500
    })
    .await;
    assert_invariants(&mut database, &deployment.relay.received(), 0).await;
}

/// F14 of the fault plan.
#[tokio::test]
async fn health_and_calls_notice_a_full_disk() {
    let cluster = PostgresCluster::start().await;
    let owner = fs::metadata(cluster.data()).unwrap().uid();
    let folder = cluster.data().with_file_name("small");
    let Some(disk) = SmallDisk::mount(&folder, owner) else {
        print_line("this user may not mount a file system; the test did nothing");
        return;
    };
    let mut admin = cluster.connect().await;
    let folder = folder.display();
    for statement in [
        format!("CREATE TABLESPACE small LOCATION '{folder}'"),
        "CREATE DATABASE on_small_disk TABLESPACE small".to_owned(),
    ] {
        admin.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    let url = cluster.url().await.replace("/postgres?", "/on_small_disk?");
    Store::migrate(&url).await.unwrap();
    let service = service(&url);
    for _ in 0..2 {
        service.probe().await.unwrap();
        disk.fill();
        assert!(matches!(service.probe().await, Err(NotReady::Failed(_))));
        fs::remove_file(disk.filler()).unwrap();
    }
    service.probe().await.unwrap();
    assert_calls_leave_nothing_on_a_full_disk(&url, &disk).await;
    // The server has files open there.
    admin
        .execute("DROP DATABASE on_small_disk WITH (FORCE)")
        .await
        .unwrap();
}
