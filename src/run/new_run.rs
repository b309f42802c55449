//! A new run, until it begins.

use std::fs;
use std::path::{Path, PathBuf};

use super::directory::RunDirectory;
use super::lock::{self, Lock};
use crate::events;

/// A new run. Unless it begins, everything that it has written is removed when it is dropped.
#[derive(Debug)]
pub struct NewRun {
    directory: RunDirectory,
    lock: Option<Lock>,
}

impl NewRun {
    /// Creates and locks the directory of a new run, and writes the resolved configuration.
    ///
    /// # Errors
    /// Returns an error if the directory already contains a run, if another process trains in it, or if
    /// it cannot be written.
    pub fn create(path: &Path, config_yaml: &str) -> anyhow::Result<Self> {
        let new = Self::lock(path)?;
        new.directory.write_config(config_yaml)?;
        Ok(new)
    }

    /// Creates and locks the directory of a new run, which has no configuration yet.
    ///
    /// # Errors
    /// Returns the errors of [`NewRun::create`].
    pub fn lock(path: &Path) -> anyhow::Result<Self> {
        let directory = RunDirectory::open(path);
        let lock = directory.create()?;
        Self::of_free(directory, lock)
    }

    /// Writes the resolved configuration of a new run to a directory that `lock` locks.
    ///
    /// # Errors
    /// Returns an error if the directory already contains a run, or cannot be written.
    pub fn create_in(
        directory: RunDirectory,
        lock: Lock,
        config_yaml: &str,
    ) -> anyhow::Result<Self> {
        let new = Self::of_free(directory, lock)?;
        new.directory.write_config(config_yaml)?;
        Ok(new)
    }

    fn of_free(directory: RunDirectory, lock: Lock) -> anyhow::Result<Self> {
        directory.ensure_free()?;
        directory.remove_temporaries();
        Ok(Self { directory, lock: Some(lock) })
    }

    /// Directory of the run.
    pub fn directory(&self) -> &RunDirectory {
        &self.directory
    }

    /// Paths to remove, in this order, if the process ends before the run has event files.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let files = [self.directory.config(), self.directory.path().join(lock::FILE)];
        files.into_iter().chain(self.directories())
    }

    /// The run directory, and the directory of all runs if it is in `runs/`.
    fn directories(&self) -> impl Iterator<Item = PathBuf> {
        let path = self.directory.path();
        let runs = path.parent().filter(|parent| parent.ends_with("runs"));
        [Some(path), runs].into_iter().flatten().map(Path::to_owned)
    }

    /// Keeps the run. Returns its lock.
    pub fn begin(mut self) -> Option<Lock> {
        self.lock.take()
    }
}

impl Drop for NewRun {
    fn drop(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        // A directory with a configuration can be resumed, whatever else is left in it.
        if events::remove(self.directory.path()).is_ok() {
            let _ = fs::remove_file(self.directory.config());
        }
        drop(lock);
        for directory in self.directories() {
            // Fails if the directory contains files of the user, or other runs.
            let _ = fs::remove_dir(directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        drop(NewRun::create(directory.path(), "a: 1\n").unwrap().begin());
        let error = NewRun::create(directory.path(), "a: 2\n").unwrap_err().to_string();
        assert!(error.contains("--resume"), "{error}");
    }

    #[test]
    fn a_locked_directory_is_not_free_even_before_it_has_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let run = RunDirectory::open(&directory.path().join("run"));
        let lock = run.create().unwrap();
        let error = NewRun::create(run.path(), "a: 1\n").unwrap_err().to_string();
        assert!(error.contains("another lstmtext"), "{error}");
        drop(NewRun::create_in(run.clone(), lock, "a: 1\n").unwrap());
        assert!(!run.path().exists());
    }

    #[test]
    fn a_run_that_does_not_begin_removes_its_event_files() {
        let directory = tempfile::tempdir().unwrap();
        let new = NewRun::create(&directory.path().join("run"), "a: 1\n").unwrap();
        let path = new.directory().path().to_owned();
        for directory in [path.clone(), path.join("train")] {
            events::EventWriter::create(&directory, std::time::SystemTime::UNIX_EPOCH).unwrap();
        }
        drop(new);
        assert!(!path.exists());
    }

    #[test]
    fn files_of_the_user_are_never_overwritten_or_removed() {
        for name in ["config.yaml", "error.txt", "events.out.tfevents.1.host"] {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join(name), "mine").unwrap();
            assert!(NewRun::create(directory.path(), "a: 1\n").is_err());
            assert_eq!(fs::read_to_string(directory.path().join(name)).unwrap(), "mine");
        }
    }

    #[test]
    fn discarding_a_run_removes_only_its_own_files() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("notes.txt"), "mine").unwrap();
        drop(NewRun::create(directory.path(), "a: 1\n").unwrap());
        let left: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["notes.txt"]);
    }
}
