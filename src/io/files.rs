//! Files and folders that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// Writes `bytes` to `path`: readers see the old file or the new one, never a part.
///
/// # Errors
/// Where the file cannot be written; the old one is untouched then.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    replace_file(path, |temporary| Ok(fs::write(temporary, bytes)?))
}

/// Makes or replaces the file `path` with what `fill` writes to the path that it is given.
///
/// # Errors
/// Where `fill` fails or the file cannot be put in place; the old one is untouched then.
pub fn replace_file(
    path: &Path,
    fill: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let temporary = temporary_beside(path);
    let put_in_place = || {
        File::open(&temporary)?.sync_all()?;
        fs::rename(&temporary, path)
    };
    let written = fill(&temporary)
        .and_then(|()| put_in_place().map_err(anyhow::Error::from))
        .and_then(|()| sync_directory(parent_directory(path)));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(|| format!("cannot write \"{}\"", path.display()))
}

/// Makes or replaces the folder `path` with what `fill` writes into an empty one. The folder that it
/// lies in has to be there: one that vanished is not made anew.
///
/// # Errors
/// Where `fill` fails or the folder cannot be put in place; the old one is untouched then.
pub fn replace_directory(
    path: &Path,
    fill: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let temporary = temporary_beside(path);
    let _ = fs::remove_dir_all(&temporary);
    fs::create_dir(&temporary)
        .with_context(|| format!("cannot make the folder \"{}\"", temporary.display()))?;
    let result = fill(&temporary).and_then(|()| {
        put_in_place(&temporary, path)
            .with_context(|| format!("cannot put \"{}\" in place", path.display()))
    });
    // What is left there is the old folder, or a new one that failed.
    let _ = fs::remove_dir_all(&temporary);
    result
}

fn put_in_place(temporary: &Path, path: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(temporary)? {
        File::open(entry?.path())?.sync_all()?;
    }
    sync_directory(temporary)?;
    if !path.exists() {
        fs::rename(temporary, path)?;
    } else {
        match renameat_with(CWD, temporary, CWD, path, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            // A file system that cannot exchange: the old folder is out of place for a moment.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                let old = set_aside(path);
                let _ = fs::remove_dir_all(&old);
                fs::rename(path, &old)?;
                fs::rename(temporary, path)?;
                fs::remove_dir_all(&old)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    sync_directory(parent_directory(path))
}

/// Puts back the folder `path` where a process was killed after it set it aside.
pub fn restore_directory(path: &Path) {
    // With nothing set aside there is nothing to put back.
    if !path.exists() {
        let _ = fs::rename(set_aside(path), path);
    }
}

/// Where a folder waits while another takes its place.
fn set_aside(path: &Path) -> PathBuf {
    temporary_beside(path).with_extension("old")
}

/// A hidden name in the same folder, so that a rename stays on one file system. It is always the
/// same, so that what a killed process left there is cleared by the next.
fn temporary_beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

/// Makes the folder that is to hold `path`, and those above it.
///
/// # Errors
/// Where one cannot be made.
pub fn create_parent_directory(path: &Path) -> anyhow::Result<()> {
    let folder = parent_directory(path);
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder \"{}\"", folder.display()))
}

/// The folder that holds `path`.
pub fn parent_directory(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes the names in a folder, of a file renamed into it, say, outlive a power cut.
///
/// # Errors
/// Where the folder cannot be flushed.
pub fn sync_directory(folder: &Path) -> anyhow::Result<()> {
    File::open(folder)
        .and_then(|opened| opened.sync_all())
        .with_context(|| format!("cannot flush the folder \"{}\"", folder.display()))
}

/// The SHA-256 of a file's content, in lower-case hexadecimal.
///
/// # Errors
/// Where the file cannot be read.
pub fn sha256_of(path: &Path) -> anyhow::Result<String> {
    let digest = File::open(path).and_then(sha256);
    digest.with_context(|| format!("cannot read \"{}\"", path.display()))
}

/// The SHA-256 of what is left to read, in lower-case hexadecimal.
///
/// # Errors
/// Where it cannot be read.
pub fn sha256(mut content: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_atomic(&path, b"old").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a.json"]);
        let error = write_atomic(&folder.path().join("no/b"), b"x").unwrap_err();
        assert!(format!("{error:#}").contains("no/b"));
    }

    #[test]
    fn a_folder_that_was_set_aside_is_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("best");
        fs::create_dir(set_aside(&path)).unwrap();
        restore_directory(&path);
        assert_eq!(names(folder.path()), ["best"]);
        fs::create_dir(set_aside(&path)).unwrap();
        restore_directory(&path);
        assert_eq!(names(folder.path()), [".best.old", "best"]);
    }

    #[test]
    fn a_folder_is_replaced_whole_or_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("best");
        let fill = |content: &'static str| {
            move |inside: &Path| Ok(fs::write(inside.join(content), content)?)
        };
        replace_directory(&path, fill("one")).unwrap();
        replace_directory(&path, fill("two")).unwrap();
        assert_eq!(names(&path), ["two"]);
        let broken = replace_directory(&path, |inside| {
            fs::write(inside.join("half"), "x")?;
            anyhow::bail!("disk full")
        });
        assert!(broken.unwrap_err().to_string().contains("disk full"));
        assert_eq!(names(&path), ["two"]);
        assert_eq!(names(folder.path()), ["best"]);
    }
}
