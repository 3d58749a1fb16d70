//! The wrong clock of a server process. Needs the library libfaketime, which `scripts/test` installs.

use std::fs;
use std::path::PathBuf;

use crate::support::deployment::Deployment;

/// The wall clock of a process. Its monotonic clocks are right.
pub(crate) struct FakeClock {
    file: String,
    library: String,
}

impl FakeClock {
    /// A clock that is wrong by an offset such as `+3m` or `-10m`. The name is that of a file of the deployment.
    pub(crate) fn create(deployment: &Deployment, name: &str, offset: &str) -> Self {
        let clock = Self {
            file: deployment.path(name).to_str().unwrap().to_owned(),
            library: library().to_str().unwrap().to_owned(),
        };
        clock.set(offset);
        clock
    }

    /// Sets the clock. It jumps in the running process, too.
    pub(crate) fn set(&self, offset: &str) {
        let new = format!("{}.new", self.file);
        fs::write(&new, offset).unwrap();
        fs::rename(new, &self.file).unwrap();
    }

    /// The settings of a process with this clock, which override the usual ones as these do.
    pub(crate) fn settings<'a>(&'a self, others: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own = [
            ("LD_PRELOAD", self.library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.as_str()),
            ("FAKETIME_NO_CACHE", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        [&own, others].concat()
    }
}

fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap();
    let mut paths =
        folders.map(|folder| folder.unwrap().path().join("faketime/libfaketimeMT.so.1"));
    paths
        .find(|path| path.is_file())
        .expect("libfaketime is missing; `scripts/install-packages libfaketime` installs it")
}
