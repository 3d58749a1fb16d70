//! The number of files and sockets that the process may have open.

/// Raises the soft limit to the hard limit. Many systems start processes with a soft limit of 1,024, which is less than
/// the limits of the ports add up to.
pub(crate) fn raise_file_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) => tracing::debug!(process.files_max = files, "raised the limit of open files"),
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
}
