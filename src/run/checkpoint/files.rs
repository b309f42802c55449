//! The open files of a checkpoint. A training may replace the checkpoint while it is read; then files that
//! belong together are those of the same directory, and stay readable once they are open.

use std::fs::{self, File};
use std::io::Seek;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::de::DeserializeOwned;

use crate::io::files;

/// Maximum number of times that a checkpoint is opened again because it has been replaced.
const MAX_ATTEMPTS: usize = 20;

/// Calls `read` with the open directory `path`. If that fails because a training has replaced the directory
/// in the meantime, calls it again with the new one.
///
/// # Errors
/// Returns the error of `read`, or an error if the directory cannot be opened.
pub(super) fn with_directory<T>(
    path: &Path,
    read: impl Fn(&Directory) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut attempts = 1;
    loop {
        let directory = Directory::open(path)?;
        match read(&directory) {
            Err(_) if attempts < MAX_ATTEMPTS && directory.is_replaced() => attempts += 1,
            result => return result,
        }
    }
}

/// An open directory.
pub(super) struct Directory {
    path: PathBuf,
    opened: File,
}

impl Directory {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let opened = File::open(path);
        let opened = opened.with_context(|| format!("cannot read \"{}\"", path.display()))?;
        Ok(Self { path: path.to_owned(), opened })
    }

    /// Returns true if the path no longer leads to this directory.
    fn is_replaced(&self) -> bool {
        let opened = self.opened.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
        let current = fs::metadata(&self.path).map(|metadata| (metadata.dev(), metadata.ino()));
        opened.is_ok() && opened.ok() != current.ok()
    }

    /// Opens a file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened or is not a regular file.
    pub(super) fn file(&self, name: &str) -> anyhow::Result<OpenFile> {
        let path = self.path.join(name);
        let file = files::open_at(&self.opened, name);
        let file = file.with_context(|| format!("cannot read \"{}\"", path.display()))?;
        Ok(OpenFile { path, file })
    }
}

/// An open file. Every call reads it from its start.
pub(super) struct OpenFile {
    path: PathBuf,
    file: File,
}

impl OpenFile {
    /// Path under which it was opened, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file, positioned at its start.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub(super) fn start(&self) -> anyhow::Result<&File> {
        (&self.file).rewind().with_context(|| self.unreadable())?;
        Ok(&self.file)
    }

    /// Returns the size in bytes.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub(super) fn bytes(&self) -> anyhow::Result<u64> {
        Ok(self.file.metadata().with_context(|| self.unreadable())?.len())
    }

    /// Computes the SHA-256.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub(super) fn sha256(&self) -> anyhow::Result<String> {
        files::sha256(self.start()?).with_context(|| self.unreadable())
    }

    /// Reads at most `limit` bytes.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or exceeds the limit.
    pub(super) fn read(&self, limit: u64) -> anyhow::Result<Vec<u8>> {
        files::read_open(self.start()?, limit).with_context(|| self.unreadable())
    }

    /// Reads and parses JSON of at most `limit` bytes.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or parsed.
    pub(super) fn json<T: DeserializeOwned>(&self, limit: u64) -> anyhow::Result<T> {
        serde_json::from_slice(&self.read(limit)?)
            .with_context(|| format!("cannot parse \"{}\"", self.path.display()))
    }

    fn unreadable(&self) -> String {
        format!("cannot read \"{}\"", self.path.display())
    }
}
