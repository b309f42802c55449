//! Atomic creation and replacement of files and directories. The content of a file has no name until it is
//! complete, so that it disappears with a process that is killed; where the file system does not support
//! this, and for directories, it is in a temporary one with a unique name.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::files::{create_parent_directory, parent_directory, sync_directory};
pub use super::incomplete_file::temporary_directory;
use super::incomplete_file::{IncompleteFile, RANDOM_LENGTH, SUFFIX, prefix};

/// Writes a file that a user has named, like [`replace_output`].
///
/// # Errors
/// Returns an error if the file cannot be written. An old file is then unchanged.
pub fn write_output(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    replace_output(path, |file| Ok(file.write_all(bytes)?))
}

/// Creates or atomically replaces a file that a user has named, like [`replace_file`], and creates its
/// missing parent directories. Writes to a FIFO, a device or an open file of this process, such as
/// `/dev/stdout`, instead of replacing it.
///
/// # Errors
/// Returns an error if `fill` fails or the file cannot be written. An old file is then unchanged.
pub fn replace_output(
    path: &Path,
    fill: impl FnOnce(&mut File) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if let Target::File(_) = target(path).with_context(|| cannot_write(path))? {
        create_parent_directory(path)?;
        return replace_file(path, fill);
    }
    let write = || -> anyhow::Result<()> {
        // `fill` may need to seek.
        let mut content = tempfile::tempfile()?;
        fill(&mut content)?;
        content.rewind()?;
        io::copy(&mut content, &mut open_stream(path)?)?;
        Ok(())
    };
    write().with_context(|| cannot_write(path))
}

/// Writes `bytes` to `path` atomically: readers see either the old file or the new one.
///
/// # Errors
/// Returns an error if the file cannot be written. The old file is then unchanged.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    replace_file(path, |file| Ok(file.write_all(bytes)?))
}

/// Creates or atomically replaces the file `path`, or the file to which the link `path` leads. `fill`
/// writes the content.
///
/// # Errors
/// Returns an error if `fill` fails or the file cannot be renamed. The old file is then unchanged.
pub fn replace_file(
    path: &Path,
    fill: impl FnOnce(&mut File) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let write = || -> anyhow::Result<()> {
        let path = target(path)?.file_or(path);
        let mut incomplete = IncompleteFile::create(&path)?;
        fill(incomplete.file_mut())?;
        if let Ok(replaced) = fs::metadata(&path) {
            incomplete.file().set_permissions(replaced.permissions())?;
        }
        incomplete.file().sync_all()?;
        incomplete.replace(&path)?;
        sync_directory(parent_directory(&path))
    };
    write().with_context(|| cannot_write(path))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write \"{}\"", path.display())
}

/// Checks that there is nothing at `path`, before the work for a new file or directory begins.
///
/// # Errors
/// Returns an error that asks for another name.
pub fn ensure_new(path: &Path) -> anyhow::Result<()> {
    if path.exists() { Err(exists(path)) } else { Ok(()) }
}

fn exists(path: &Path) -> anyhow::Error {
    anyhow!("\"{}\" already exists; choose another name", path.display())
}

/// Creates the file `path` and its missing parent directories, the file atomically. `fill` writes the
/// content.
///
/// # Errors
/// Returns an error if `fill` fails or the file cannot be created. Whatever is at `path`, even if another
/// process creates it in the meantime, stays as it is.
pub fn create_file(
    path: &Path,
    fill: impl FnOnce(&mut File) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let write = || -> anyhow::Result<()> {
        create_parent_directory(path)?;
        let target = target(path)?.file_or(path);
        let mut incomplete = IncompleteFile::create(&target)?;
        fill(incomplete.file_mut())?;
        incomplete.file().sync_all()?;
        incomplete.name(&target).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => exists(path),
            _ => error.into(),
        })?;
        sync_directory(parent_directory(&target))
    };
    write().with_context(|| cannot_write(path))
}

/// Creates the directory `path`. `fill` writes its files to an empty temporary directory. The parent
/// directory must exist.
///
/// # Errors
/// Returns an error if `fill` fails or the directory cannot be created. Whatever is at `path`, even if
/// another process creates it in the meantime, stays as it is.
pub fn create_directory(
    path: &Path,
    fill: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let cannot_create = || format!("cannot create \"{}\"", path.display());
    let target = target(path).with_context(cannot_create)?.file_or(path);
    let temporary = temporary_directory(&target)?;
    fill(temporary.path())?;
    let rename = || -> anyhow::Result<()> {
        sync_content(temporary.path())?;
        match renameat_with(CWD, temporary.path(), CWD, &target, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(exists(path)),
            // Without the flag, a rename replaces an empty directory at most.
            Err(error) if is_unsupported(error) => fs::rename(temporary.path(), &target)?,
            Err(error) => return Err(error.into()),
        }
        sync_directory(parent_directory(&target))
    };
    rename().with_context(cannot_create)
}

/// Creates or replaces the directory `path`, or the directory to which the link `path` leads. `fill`
/// writes its files to an empty temporary directory. The parent directory must exist.
///
/// # Errors
/// Returns an error if `path` is not a directory, `fill` fails or the directory cannot be renamed. The
/// old directory is then unchanged.
pub fn replace_directory(
    path: &Path,
    fill: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let cannot_replace = || format!("cannot replace \"{}\"", path.display());
    let target = target(path).with_context(cannot_replace)?.file_or(path);
    if target.exists() && !target.is_dir() {
        bail!("\"{}\" is not a directory; remove it", path.display());
    }
    let temporary = temporary_directory(&target)?;
    fill(temporary.path())?;
    rename_directory(temporary.path(), &target).with_context(cannot_replace)
    // Now `temporary` is the old directory, or the incomplete new one after a failure. It is removed.
}

fn rename_directory(temporary: &Path, path: &Path) -> anyhow::Result<()> {
    sync_content(temporary)?;
    if !path.exists() {
        fs::rename(temporary, path)?;
    } else {
        match renameat_with(CWD, temporary, CWD, path, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            // The file system does not support an atomic exchange, so `path` is missing between the
            // two renames. `restore_directory` repairs this after a crash.
            Err(error) if is_unsupported(error) => {
                let backup = backup_path(path);
                let _ = fs::remove_dir_all(&backup);
                fs::rename(path, &backup)?;
                fs::rename(temporary, path)?;
                fs::remove_dir_all(&backup)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    sync_directory(parent_directory(path))
}

/// Returns true if the file system does not support the flags of a rename.
fn is_unsupported(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::NOTSUP)
}

/// Writes a directory and its files to the disk.
fn sync_content(directory: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        File::open(entry?.path())?.sync_all()?;
    }
    sync_directory(directory)
}

/// Returns true if there is a backup of the directory `path`, which a process is replacing or was replacing
/// when it was killed.
pub fn has_backup(path: &Path) -> bool {
    backup_path(path).exists()
}

/// Restores the directory `path` from its backup if a process was killed while replacing it.
pub fn restore_directory(path: &Path) {
    if !path.exists() {
        // Fails if there is no backup, which is the usual case.
        let _ = fs::rename(backup_path(path), path);
    } else {
        let _ = fs::remove_dir_all(backup_path(path));
    }
}

/// Removes the temporary files and directories in `directory` that killed processes have left, if
/// `is_own` returns true for the name of the file or directory that they were to replace. No process may
/// be writing there.
pub fn remove_temporaries(directory: &Path, is_own: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_temporary = name.to_str().and_then(replaced_name).is_some_and(&is_own);
        if is_temporary {
            // Leftovers do no harm.
            let _ = match entry.file_type() {
                Ok(kind) if kind.is_dir() => fs::remove_dir_all(entry.path()),
                _ => fs::remove_file(entry.path()),
            };
        }
    }
}

/// Returns the name of the file or directory that a temporary one was to replace.
pub fn replaced_name(temporary: &str) -> Option<&str> {
    let name = temporary.strip_prefix('.')?.strip_suffix(SUFFIX)?;
    match name.rsplit_once('.') {
        Some((name, random)) if is_random(random) => Some(name),
        // Earlier versions added nothing random.
        _ => Some(name),
    }
}

fn is_random(part: &str) -> bool {
    part.len() == RANDOM_LENGTH && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// File to write for a path.
enum Target {
    /// A regular file, a directory, or a path at which there is nothing.
    File(PathBuf),
    /// A FIFO, a device, or an open file of this process.
    Stream,
}

impl Target {
    fn file_or(self, path: &Path) -> PathBuf {
        match self {
            Self::File(path) => path,
            Self::Stream => path.to_owned(),
        }
    }
}

/// Opens a stream for writing. Opened anew, the file to which stdout leads would have a position of its own,
/// and both would overwrite each other.
fn open_stream(path: &Path) -> io::Result<File> {
    let opened = File::options().append(true).open(path)?;
    let stdout = rustix::stdio::stdout();
    let (other, ours) = (rustix::fs::fstat(&opened)?, rustix::fs::fstat(stdout)?);
    match (other.st_dev, other.st_ino) == (ours.st_dev, ours.st_ino) {
        true => Ok(File::from(stdout.try_clone_to_owned()?)),
        false => Ok(opened),
    }
}

/// Returns true if [`replace_output`] writes to what is at `path` instead of replacing it.
pub fn is_stream(path: &Path) -> bool {
    matches!(target(path), Ok(Target::Stream))
}

/// Follows symbolic links from `path`.
fn target(path: &Path) -> io::Result<Target> {
    const MAX_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let kind = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata.file_type(),
            Err(_) => return Ok(Target::File(path)),
        };
        if kind.is_file() || kind.is_dir() {
            return Ok(Target::File(path));
        }
        let directory = parent_directory(&path).canonicalize()?;
        if !kind.is_symlink() || directory.starts_with("/proc") {
            return Ok(Target::Stream);
        }
        path = directory.join(fs::read_link(&path)?);
    }
    Err(io::Error::other("too many symbolic links"))
}

/// Returns the path to which a directory is moved while it is replaced.
fn backup_path(path: &Path) -> PathBuf {
    path.with_file_name(prefix(path) + "old")
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::thread;

    use rustix::fs::{Mode, mkfifoat};

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn is_link(path: &Path) -> bool {
        fs::symlink_metadata(path).unwrap().is_symlink()
    }

    #[test]
    fn a_file_is_replaced_without_leftovers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        write_atomic(&path, b"old").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(directory.path()), ["a.json"]);
        let error = write_atomic(&directory.path().join("no/b"), b"x").unwrap_err();
        assert!(format!("{error:#}").contains("no/b"));
    }

    #[test]
    fn a_new_file_or_directory_replaces_nothing_that_appears_in_the_meantime() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        create_file(&path("file"), |file| Ok(file.write_all(b"new")?)).unwrap();
        create_directory(&path("directory"), |inside| Ok(fs::write(inside.join("a"), "new")?))
            .unwrap();
        assert_eq!(fs::read(path("file")).unwrap(), b"new");
        assert_eq!(names(&path("directory")), ["a"]);
        for name in ["taken", "taken.npz"] {
            let appear = || Ok(fs::write(path(name), "mine")?);
            let created = match name {
                "taken" => create_directory(&path(name), |_| appear()),
                _ => create_file(&path(name), |_| appear()),
            };
            let error = format!("{:#}", created.unwrap_err());
            assert!(error.contains("already exists; choose another name"), "{error}");
            assert_eq!(fs::read(path(name)).unwrap(), b"mine");
        }
        let error = create_directory(&path("empty"), |_| Ok(fs::create_dir(path("empty"))?));
        assert!(error.is_err() && ensure_new(&path("empty")).is_err());
        assert_eq!(names(directory.path()), ["directory", "empty", "file", "taken", "taken.npz"]);
    }

    #[test]
    fn files_have_the_permissions_of_other_files_or_of_the_replaced_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
        fs::write(path("other"), "").unwrap();
        write_atomic(&path("new"), b"").unwrap();
        assert_eq!(mode("new"), mode("other"));
        fs::set_permissions(path("other"), Permissions::from_mode(0o600)).unwrap();
        write_atomic(&path("other"), b"").unwrap();
        assert_eq!(mode("other"), 0o600);
        fs::create_dir(path("directory")).unwrap();
        replace_directory(&path("exported"), |_| Ok(())).unwrap();
        assert_eq!(mode("exported"), mode("directory"));
    }

    #[test]
    fn links_are_kept_and_their_targets_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("file"), "old").unwrap();
        symlink("file", path("link")).unwrap();
        symlink("link", path("second")).unwrap();
        symlink("missing", path("dangling")).unwrap();
        write_output(&path("second"), b"new").unwrap();
        write_output(&path("dangling"), b"new").unwrap();
        assert_eq!(fs::read(path("file")).unwrap(), b"new");
        assert_eq!(fs::read(path("missing")).unwrap(), b"new");
        symlink("real", path("best")).unwrap();
        for content in ["one", "two"] {
            let fill = |inside: &Path| Ok(fs::write(inside.join(content), "")?);
            replace_directory(&path("best"), fill).unwrap();
        }
        assert_eq!(names(&path("real")), ["two"]);
        assert!(["link", "second", "dangling", "best"].iter().all(|link| is_link(&path(link))));
        symlink("loop", path("loop")).unwrap();
        assert!(write_output(&path("loop"), b"new").is_err());
    }

    #[test]
    fn an_output_is_written_to_a_fifo_or_an_open_file_that_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        mkfifoat(CWD, path("fifo"), Mode::RUSR | Mode::WUSR).unwrap();
        let fifo = path("fifo");
        let reader = thread::spawn(move || fs::read(fifo).unwrap());
        write_output(&path("fifo"), b"content").unwrap();
        assert_eq!(reader.join().unwrap(), b"content");

        let open = File::create(path("open")).unwrap();
        let descriptor = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
        fs::write(path("open"), "start ").unwrap();
        write_output(Path::new(&descriptor), b"end").unwrap();
        assert_eq!(fs::read(path("open")).unwrap(), b"start end");
        write_output(Path::new("/dev/null"), b"gone").unwrap();
        assert_eq!(names(directory.path()), ["fifo", "open"]);
    }

    #[test]
    fn only_own_temporaries_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for file in [".best.x1Y2z3.tmp", ".best.tmp", ".other.tmp", ".best.notes", "best.tmp"] {
            fs::write(path(file), "").unwrap();
        }
        fs::create_dir_all(path(".last.abcdef.tmp/inside")).unwrap();
        write_atomic(&path("other"), b"").unwrap();
        remove_temporaries(directory.path(), |name| ["best", "last"].contains(&name));
        assert_eq!(names(directory.path()), [".best.notes", ".other.tmp", "best.tmp", "other"]);
    }

    #[test]
    fn a_directory_is_restored_from_its_backup() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("best");
        for _ in 0..2 {
            fs::create_dir(backup_path(&path)).unwrap();
            restore_directory(&path);
            assert_eq!(names(directory.path()), ["best"]);
        }
    }

    #[test]
    fn a_directory_is_replaced_or_stays_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("best");
        let fill = |content: &'static str| {
            move |inside: &Path| Ok(fs::write(inside.join(content), content)?)
        };
        replace_directory(&path, fill("one")).unwrap();
        replace_directory(&path, fill("two")).unwrap();
        assert_eq!(names(&path), ["two"]);
        let failed = replace_directory(&path, |inside| {
            fs::write(inside.join("half"), "x")?;
            anyhow::bail!("disk full")
        });
        assert!(failed.unwrap_err().to_string().contains("disk full"));
        assert_eq!(names(&path), ["two"]);
        assert_eq!(names(directory.path()), ["best"]);
        fs::write(directory.path().join("file"), "mine").unwrap();
        let error = replace_directory(&directory.path().join("file"), |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("is not a directory"), "{error}");
    }
}
