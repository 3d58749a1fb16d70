//! A limit on the memory of a process, beyond which the kernel kills it, as a container has.

use std::fs;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::support::server_process::ServerProcess;

/// The folders of the memory controller in version 1 and version 2 of cgroups, with the file of the limit.
const CONTROLLERS: [(&str, &str); 2] = [
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
    ("/sys/fs/cgroup", "memory.max"),
];

/// A cgroup that is removed when it is dropped, after its process has ended.
pub(crate) struct MemoryCgroup {
    folder: PathBuf,
}

impl MemoryCgroup {
    /// Returns `None` if this user may not limit the memory of processes.
    pub(crate) fn create(bytes_max: usize) -> Option<Self> {
        CONTROLLERS.into_iter().find_map(|(parent, limit)| {
            let folder = Path::new(parent).join(format!("invitations-{}", Uuid::new_v4().simple()));
            fs::create_dir(&folder).ok()?;
            let cgroup = Self { folder };
            let limit = cgroup.folder.join(limit);
            // The kernel creates the files of a cgroup. In another file system, there is none.
            if !limit.exists() {
                return None;
            }
            fs::write(limit, bytes_max.to_string()).ok()?;
            Some(cgroup)
        })
    }

    /// Moves a process into the cgroup.
    pub(crate) fn add(&self, process: &ServerProcess) {
        let pid = process.pid().to_string();
        fs::write(self.folder.join("cgroup.procs"), pid).unwrap();
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        // A process that was just killed stays in its cgroup for a moment.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
