//! A temporary folder for one test.

use std::path::PathBuf;

pub(crate) struct TestFolder(PathBuf);

impl TestFolder {
    /// Each test must use its own name.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("inbox-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&path).ok();
        Self(path)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
