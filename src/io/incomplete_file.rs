//! Files and directories that are not complete yet. A file has no name until it is complete, if the file system
//! supports that; others have a temporary one.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
use rustix::io::Errno;
use tempfile::{Builder, NamedTempFile, TempDir};

use super::files::parent_directory;

/// Length of the random part of a temporary name.
pub const RANDOM_LENGTH: usize = 6;
/// End of a temporary name.
pub const SUFFIX: &str = ".tmp";

/// Permissions of a new file. The system's umask restricts them, as it does for other files.
const PERMISSIONS: u32 = 0o666;

/// A file whose content is not complete, on the file system of the path that it is to get.
pub enum IncompleteFile {
    /// A file without a name.
    Unnamed(File),
    /// A temporary file.
    Named(NamedTempFile),
}

impl IncompleteFile {
    /// Creates an empty file for `path`, without a name if the file system supports that.
    pub fn create(path: &Path) -> io::Result<Self> {
        match unnamed_file(parent_directory(path)) {
            Ok(file) if is_linkable(&file) => Ok(Self::Unnamed(file)),
            // The system does not know the flag, the file system does not support it, or nothing can name
            // the file later.
            Ok(_) | Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {
                temporary_file(path).map(Self::Named)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the open file.
    pub fn file(&self) -> &File {
        match self {
            Self::Unnamed(file) => file,
            Self::Named(temporary) => temporary.as_file(),
        }
    }

    /// Returns the open file for writing.
    pub fn file_mut(&mut self) -> &mut File {
        match self {
            Self::Unnamed(file) => file,
            Self::Named(temporary) => temporary.as_file_mut(),
        }
    }

    /// Gives the file the name `path`, at which there must be nothing.
    pub fn name(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Unnamed(file) => link(&file, path),
            Self::Named(temporary) => {
                temporary.persist_noclobber(path).map_err(|error| error.error)?;
                Ok(())
            }
        }
    }

    /// Puts the file in the place of `path`.
    pub fn replace(self, path: &Path) -> io::Result<()> {
        let file = match self {
            Self::Unnamed(file) => file,
            Self::Named(temporary) => {
                temporary.persist(path).map_err(|error| error.error)?;
                return Ok(());
            }
        };
        match link(&file, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            linked => return linked,
        }
        // No system call links a file in the place of another, but a rename replaces it.
        let temporary = naming(&prefix(path))
            .make_in(parent_directory(path), |temporary| link(&file, temporary))?;
        temporary.into_temp_path().persist(path).map_err(|error| error.error)
    }
}

fn unnamed_file(directory: &Path) -> Result<File, Errno> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    openat(CWD, directory, flags, Mode::from_raw_mode(PERMISSIONS)).map(File::from)
}

/// Returns the path under which the system shows an open file.
fn descriptor_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Returns true if [`link`] can name a file: `/proc` may be missing.
fn is_linkable(file: &File) -> bool {
    fs::symlink_metadata(descriptor_path(file)).is_ok()
}

/// Gives a file without a name the name `path`, at which there must be nothing.
fn link(file: &File, path: &Path) -> io::Result<()> {
    Ok(linkat(CWD, descriptor_path(file), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// Creates a temporary file in the directory of `path`, so that a rename stays on one file system.
fn temporary_file(path: &Path) -> io::Result<NamedTempFile> {
    let prefix = prefix(path);
    let mut builder = naming(&prefix);
    builder.permissions(Permissions::from_mode(PERMISSIONS)).tempfile_in(parent_directory(path))
}

/// Creates a temporary directory in the directory of `path`, which is to become the directory `path`.
///
/// # Errors
/// Returns an error if the directory cannot be created.
pub fn temporary_directory(path: &Path) -> anyhow::Result<TempDir> {
    let prefix = prefix(path);
    let mut builder = naming(&prefix);
    builder.permissions(Permissions::from_mode(0o777));
    let created = builder.tempdir_in(parent_directory(path));
    created.with_context(|| {
        format!("cannot create a directory in \"{}\"", parent_directory(path).display())
    })
}

/// Names temporary files and directories.
fn naming(prefix: &str) -> Builder<'_, 'static> {
    let mut builder = Builder::new();
    builder.prefix(prefix).rand_bytes(RANDOM_LENGTH).suffix(SUFFIX);
    builder
}

/// Returns the start of the temporary names for a path.
pub fn prefix(path: &Path) -> String {
    format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::io::replace::{create_file, replace_file, replace_output};

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_incomplete_file_has_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        if !unnamed_file(directory.path()).is_ok_and(|file| is_linkable(&file)) {
            eprintln!("skipped: the file system does not support files without a name");
            return;
        }
        fs::write(path("old"), "old").unwrap();
        let fill = |file: &mut File| {
            file.write_all(b"content")?;
            assert_eq!(names(directory.path()), ["old"]);
            Ok(())
        };
        replace_file(&path("old"), fill).unwrap();
        fs::remove_file(path("old")).unwrap();
        fs::write(path("old"), "old").unwrap();
        create_file(&path("new"), fill).unwrap();
        fs::remove_file(path("new")).unwrap();
        replace_output(&path("new"), fill).unwrap();
        assert_eq!(names(directory.path()), ["new", "old"]);
    }

    #[test]
    fn a_file_is_replaced_where_every_file_needs_a_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        for content in ["one", "two"] {
            let mut incomplete = IncompleteFile::Named(temporary_file(&path).unwrap());
            incomplete.file_mut().write_all(content.as_bytes()).unwrap();
            incomplete.replace(&path).unwrap();
            assert_eq!(fs::read(&path).unwrap(), content.as_bytes());
        }
        let incomplete = IncompleteFile::Named(temporary_file(&path).unwrap());
        assert_eq!(incomplete.name(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(names(directory.path()), ["a.json"]);
    }
}
