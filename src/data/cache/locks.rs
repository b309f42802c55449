//! Locks of temporary directories, which show whether their process has ended.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

/// Age at which the temporary directory of a killed process is removed on a file system without locks.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// Locks a directory that this process has created. Returns `None` if another process removes it. Does not lock it on a
/// file system without locks.
///
/// # Errors
/// Returns an error if it cannot be opened.
pub fn lock(directory: &Path) -> anyhow::Result<Option<File>> {
    let opened = match File::open(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| format!("cannot read \"{}\"", directory.display()))?,
    };
    let is_removed = match opened.try_lock() {
        Ok(()) | Err(TryLockError::Error(_)) => !directory.exists(),
        Err(TryLockError::WouldBlock) => true,
    };
    Ok((!is_removed).then_some(opened))
}

/// Removes the temporary directories of killed processes.
pub fn remove_abandoned(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let is_temporary = entry.file_name().to_string_lossy().starts_with(".tokens-");
        let lock = is_temporary.then(|| lock_abandoned(&entry.path())).flatten();
        if lock.is_some() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Locks a temporary directory whose process has ended: it has released its lock. Returns `None` for others.
fn lock_abandoned(directory: &Path) -> Option<File> {
    let opened = File::open(directory).ok()?;
    let is_abandoned = match opened.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        // The file system does not support locks.
        Err(TryLockError::Error(_)) => {
            let age = opened.metadata().and_then(|metadata| metadata.modified());
            age.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > ABANDONED))
        }
    };
    is_abandoned.then_some(opened)
}
