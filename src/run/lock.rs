//! Lock of a run directory: a locked file with the id of the process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::io::files::{open, open_with};

/// Name of the file in the directory.
pub(super) const FILE: &str = ".lock";
/// Time to wait for processes that hold the lock only for [`is_locked`].
const TIMEOUT: Duration = Duration::from_millis(200);

/// Lock of a run directory. It is released when it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Locks a directory.
    ///
    /// # Errors
    /// Returns an error if another process holds the lock.
    pub fn acquire(directory: &Path) -> anyhow::Result<Self> {
        Self::acquire_within(directory, TIMEOUT)
    }

    /// Locks a directory, and waits for at most this time until other processes unlock it.
    ///
    /// # Errors
    /// Returns an error if another process still holds the lock.
    pub fn acquire_within(directory: &Path, timeout: Duration) -> anyhow::Result<Self> {
        let path = directory.join(FILE);
        let unusable = || format!("cannot write \"{}\"", path.display());
        let start = Instant::now();
        loop {
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).create(true).truncate(false);
            let mut file = open_with(options, &path).with_context(unusable)?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) if start.elapsed() < timeout => {
                    thread::sleep(TIMEOUT / 40);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    let mut process = String::new();
                    let _ = file.read_to_string(&mut process);
                    bail!(
                        "another lstmtext (process {}) is training in \"{}\"; wait until it ends, or \
                         stop it",
                        process.trim(),
                        directory.display()
                    );
                }
                // The file system does not support locks.
                Err(TryLockError::Error(_)) => return Ok(Self { path, _file: file }),
                Ok(()) => {}
            }
            // The last owner may have removed the file after it was opened here.
            let opened = file.metadata().with_context(unusable)?;
            if fs::metadata(&path).is_ok_and(|current| current.ino() == opened.ino()) {
                file.set_len(0)
                    .and_then(|()| writeln!(file, "{}", std::process::id()))
                    .with_context(unusable)?;
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A leftover file does no harm: it is not locked.
        let _ = fs::remove_file(&self.path);
    }
}

/// Returns true if a process holds the lock of a directory; always `false` on a file system without
/// locks. Writes nothing.
pub fn is_locked(directory: &Path) -> bool {
    let Ok(file) = open(&directory.join(FILE)) else { return false };
    // With a shared lock, any number of processes can check at the same time.
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_once() {
        let directory = tempfile::tempdir().unwrap();
        let lock = Lock::acquire(directory.path()).unwrap();
        let error = Lock::acquire(directory.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("(process {})", std::process::id())), "{error}");
        drop(lock);
        Lock::acquire(directory.path()).unwrap();
    }

    #[test]
    fn checking_for_a_lock_does_not_disturb_training() {
        let directory = tempfile::tempdir().unwrap();
        let is_locked = || is_locked(directory.path());
        assert!(!is_locked());
        assert!(!directory.path().join(FILE).exists());
        let lock = Lock::acquire(directory.path()).unwrap();
        assert!(is_locked() && is_locked());
        drop(lock);
        assert!(!is_locked());

        // A leftover of a killed process.
        fs::write(directory.path().join(FILE), "1\n").unwrap();
        assert!(!is_locked());
        let checking = File::open(directory.path().join(FILE)).unwrap();
        checking.try_lock_shared().unwrap();
        let other = thread::spawn(move || {
            thread::sleep(TIMEOUT / 8);
            drop(checking);
        });
        let _lock = Lock::acquire(directory.path()).unwrap();
        other.join().unwrap();
    }
}
