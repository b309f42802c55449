//! Copying, locking and naming of files.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

const BUFFER_BYTES: usize = 64 * 1024;

/// Error while copying: reading from the connection or archive, or writing to the disk.
pub(super) enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

/// Copies everything. Calls `copied` with the number of bytes so far after each buffer.
pub(super) fn copy(
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

/// Locks `file` against other runs of the program until it is closed.
pub(super) fn lock(file: &File, path: &Path) -> Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => bail!(
            "{} is in use by another run of this program; wait until it has ended",
            path.display()
        ),
        // Some network file systems do not support locks. Without one, two runs may spoil a
        // download, but its checksum reveals that.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Appends `suffix` to the file name of `path`.
pub(super) fn sibling(path: &Path, suffix: &str) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        bail!("{} does not name a file or directory", path.display());
    };
    let mut name = OsString::from(name);
    name.push(suffix);
    Ok(path.with_file_name(name))
}
