//! Getting a published archive: a verified, resumable download and an
//! extraction that trusts nothing the archive says.
//!
//! Neither half knows which data set it handles, and neither prints: progress
//! goes to a callback, everything else into the returned error.

mod archive;
mod download;

pub use archive::{Extracted, Limits, extract_tar_gz};
pub use download::{Download, Patience, download};

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

const BUFFER_BYTES: usize = 64 * 1024;

/// Which end of a copy failed: a lost connection or a damaged archive is
/// another matter than a full disk.
enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

/// Copies everything, calling `copied` with the bytes so far after each piece.
fn copy(
    from: &mut dyn Read,
    to: &mut dyn Write,
    copied: &mut dyn FnMut(u64),
) -> Result<u64, CopyError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut total = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Read(error)),
        };
        to.write_all(&buffer[..count]).map_err(CopyError::Write)?;
        total += count as u64;
        copied(total);
    }
}

/// Keeps a second run of the program off `file` for as long as it stays open.
fn lock(file: &File, path: &Path) -> Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => bail!(
            "{} is in use by another run of this program; wait until that one has ended",
            path.display()
        ),
        // Some network file systems cannot lock. Going on without one risks a
        // spoilt download, which the checksum finds; refusing helps nobody.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// `path` with `suffix` added to its last component, so in the same directory.
fn sibling(path: &Path, suffix: &str) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        bail!("{} does not name a file or folder", path.display());
    };
    let mut name = OsString::from(name);
    name.push(suffix);
    Ok(path.with_file_name(name))
}
