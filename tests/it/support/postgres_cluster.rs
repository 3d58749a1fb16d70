//! A Postgres cluster of one test. Unlike the shared one it can crash, it can have a standby, and it syncs to disk.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::waiting::wait_until;

/// A cluster that is deleted with its test.
pub(crate) struct PostgresCluster {
    folder: TempDir,
}

impl PostgresCluster {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        // The script keeps its cluster relative to its own location.
        fs::create_dir(folder.path().join("scripts")).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/postgres");
        fs::copy(script, folder.path().join("scripts/postgres")).unwrap();
        let cluster = Self { folder };
        cluster.run("start").await;
        cluster
    }

    /// Starts the cluster after a crash.
    pub(crate) async fn start_again(&self) {
        self.run("start").await;
    }

    /// Starts an asynchronous standby of this cluster.
    pub(crate) async fn start_standby(&self) -> Self {
        let standby = Self::start().await;
        standby.run("stop").await;
        let data = standby.data();
        let owner = fs::metadata(&data).unwrap();
        fs::remove_dir_all(&data).unwrap();
        let program = Path::new(&self.run("bin").await).join("pg_basebackup");
        let mut backup = Command::new(program);
        backup
            .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
            .args(["-U", "invitations", "-h", &self.socket().await])
            .arg("-D")
            .arg(&data)
            .current_dir("/")
            .uid(owner.uid())
            .gid(owner.gid());
        let output = backup.output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        standby.run("start").await;
        standby
    }

    /// Ends the replication to this standby, as a network does that fails between two sites.
    pub(crate) async fn stop_replication(&self) {
        let mut database = self.connect().await;
        for statement in [
            "ALTER SYSTEM SET primary_conninfo = ''",
            "SELECT pg_reload_conf()",
        ] {
            database.execute(statement).await.unwrap();
        }
        wait_until("the replication to end", async || {
            let receivers = sqlx::query_scalar("SELECT count(*) FROM pg_stat_wal_receiver");
            let receivers: i64 = receivers
                .fetch_one(&mut self.connect().await)
                .await
                .unwrap();
            receivers == 0
        })
        .await;
    }

    /// Makes this standby the primary.
    pub(crate) async fn promote(&self) {
        let promoted = sqlx::query_scalar("SELECT pg_promote()");
        let promoted: bool = promoted.fetch_one(&mut self.connect().await).await.unwrap();
        assert!(promoted);
    }

    /// A connection that bypasses the service.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url().await).await.unwrap()
    }

    pub(crate) async fn url(&self) -> String {
        let url = self.run("url").await;
        url.replace("/invitations?", "/postgres?")
    }

    /// The folder of the socket.
    pub(crate) async fn socket(&self) -> String {
        let url = self.url().await;
        let (_, socket) = url.split_once("host=").unwrap();
        socket.replace("%2F", "/")
    }

    /// The folder of the cluster's files.
    pub(crate) fn data(&self) -> PathBuf {
        fs::canonicalize(self.folder.path().join(".data/postgres/data")).unwrap()
    }

    /// Ends the cluster without a clean shutdown.
    pub(crate) async fn crash(&self) {
        let pid = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap().to_owned();
        let killed = Command::new("kill").args(["-QUIT", &pid]).status().await;
        assert!(killed.unwrap().success());
        wait_until("the cluster to end", async || {
            !self.output("status").await.status.success()
        })
        .await;
    }

    async fn run(&self, verb: &str) -> String {
        let output = self.output(verb).await;
        assert!(output.status.success(), "{verb}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    async fn output(&self, verb: &str) -> Output {
        let script = self.folder.path().join("scripts/postgres");
        let command = Command::new(script).arg(verb).output().await;
        command.unwrap()
    }
}

impl Drop for PostgresCluster {
    fn drop(&mut self) {
        let script = self.folder.path().join("scripts/postgres");
        let removing = std::process::Command::new(script).arg("remove").output();
        drop(removing);
    }
}
