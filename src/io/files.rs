//! Opening, reading and writing files, directories, and checksums.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::Context;
use rustix::fs::{Mode, OFlags, openat};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Size limit in bytes of a file of settings or state, such as `config.yaml` and `progress.json`.
pub const SETTINGS_LIMIT: u64 = 1 << 20;
/// Size limit in bytes of a file of records or words, such as `metrics.jsonl` and a vocabulary.
pub const RECORDS_LIMIT: u64 = 1 << 30;
/// Size limit in bytes of a file of arrays, such as weights and event files.
pub const ARRAYS_LIMIT: u64 = 1 << 36;

/// Opens a regular file for reading. Anything else is an error at once, because opening or reading a
/// FIFO or a device can take forever.
///
/// # Errors
/// Returns an error if the file cannot be opened or is not a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    open_with(File::options().read(true), path)
}

/// Opens a regular file for appending, and creates it if it does not exist.
///
/// # Errors
/// Returns an error if the file cannot be opened or is not a regular file.
pub fn append(path: &Path) -> io::Result<File> {
    open_with(File::options().append(true).create(true), path)
}

/// Opens a regular file with these options, like [`open`].
///
/// # Errors
/// Returns an error if the file cannot be opened or is not a regular file.
pub fn open_with(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    // Without O_NONBLOCK, opening a FIFO waits for the process at its other end. The flag does not
    // change how a regular file is read and written.
    let opened = options.custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|error| match fs::metadata(path) {
        // The system calls the socket or the FIFO a missing device.
        Ok(metadata) if error.raw_os_error() == Some(libc::ENXIO) => {
            irregular(metadata.file_type())
        }
        _ => error,
    })?;
    regular(file)
}

/// Opens a regular file for reading, like [`open`], in an open directory.
///
/// # Errors
/// Returns an error if the file cannot be opened or is not a regular file.
pub fn open_at(directory: &File, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    regular(File::from(openat(directory, name, flags, Mode::empty())?))
}

fn regular(file: File) -> io::Result<File> {
    let file_type = file.metadata()?.file_type();
    if file_type.is_file() { Ok(file) } else { Err(irregular(file_type)) }
}

/// Identity of a file and of its content: it differs if the file is replaced or written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    file: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileIdentity {
    /// Returns the identity of the file that has this metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Size of the file in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Returns the error of a path that is not a regular file.
fn irregular(file_type: FileType) -> io::Error {
    let kind = match file_type {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    io::Error::new(ErrorKind::InvalidInput, format!("it is {kind}, expected a regular file"))
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// Returns an error if the file cannot be read, is not a regular file or exceeds the limit.
pub fn read(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    read_limited(path, limit).with_context(|| format!("cannot read \"{}\"", path.display()))
}

/// Reads a file like [`read`]; `None` if it does not exist.
///
/// # Errors
/// See [`read`].
pub fn read_if_exists(path: &Path, limit: u64) -> anyhow::Result<Option<Vec<u8>>> {
    match read_limited(path, limit) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        content => content.map(Some).with_context(|| format!("cannot read \"{}\"", path.display())),
    }
}

/// Reads a file like [`read`]. The error does not name the file.
///
/// # Errors
/// See [`read`].
pub fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_open(&open(path)?, limit)
}

/// Reads the rest of an open file of at most `limit` bytes.
///
/// # Errors
/// Returns an error if the file cannot be read or exceeds the limit.
pub fn read_open(file: &File, limit: u64) -> io::Result<Vec<u8>> {
    let bytes = file.metadata()?.len();
    if bytes > limit {
        let message = format!("it has {bytes} bytes, but at most {limit} bytes are supported");
        return Err(io::Error::new(ErrorKind::FileTooLarge, message));
    }
    let mut content = Vec::new();
    // Unlike an allocation that fails, this is an error and not the end of the process.
    content.try_reserve_exact(bytes as usize).map_err(io::Error::other)?;
    // The file may grow while it is read.
    file.take(limit).read_to_end(&mut content)?;
    Ok(content)
}

/// Writes a file, not atomically.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write \"{}\"", path.display()))
}

/// Returns the content of a JSON file: the indented value and a newline.
///
/// # Errors
/// Returns an error if the value cannot be encoded.
pub fn json_content(value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value).context("cannot encode JSON")?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Creates a directory if it does not exist. Its parent directory must exist.
///
/// # Errors
/// Returns an error if the directory cannot be created.
pub fn create_directory(path: &Path) -> anyhow::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        created => {
            created.with_context(|| format!("cannot create the directory \"{}\"", path.display()))
        }
    }
}

/// Creates a directory and its ancestors, as far as they do not exist.
///
/// # Errors
/// Returns an error if a directory cannot be created.
pub fn create_directories(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path)
        .with_context(|| format!("cannot create the directory \"{}\"", path.display()))
}

/// Creates the parent directory of `path`, with all its ancestors.
///
/// # Errors
/// Returns an error if a directory cannot be created.
pub fn create_parent_directory(path: &Path) -> anyhow::Result<()> {
    create_directories(parent_directory(path))
}

/// Returns the parent directory of `path`, "." if the path is a bare name.
pub fn parent_directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Flushes the entries of a directory to disk, so that files renamed into it survive a power
/// failure.
///
/// # Errors
/// Returns an error if the directory cannot be flushed.
pub fn sync_directory(directory: &Path) -> anyhow::Result<()> {
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .with_context(|| format!("cannot flush the directory \"{}\"", directory.display()))
}

/// Computes the SHA-256 of a file in lower-case hexadecimal.
///
/// # Errors
/// Returns an error if the file cannot be read.
pub fn sha256_of(path: &Path) -> anyhow::Result<String> {
    let digest = open(path).and_then(sha256);
    digest.with_context(|| format!("cannot read \"{}\"", path.display()))
}

/// Computes the SHA-256 of a stream in lower-case hexadecimal.
///
/// # Errors
/// Returns an error if the stream cannot be read.
pub fn sha256(mut content: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, mkfifoat};

    use super::*;

    #[test]
    fn only_regular_files_of_a_sane_size_are_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        mkfifoat(CWD, path("fifo"), Mode::RUSR | Mode::WUSR).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        symlink("/dev/zero", path("link")).unwrap();
        for (name, kind) in
            [("fifo", "a FIFO"), ("socket", "a socket"), ("link", "a device"), (".", "a directory")]
        {
            for opened in [open(&path(name)), append(&path(name))] {
                let error = opened.unwrap_err().to_string();
                assert!(error.contains(kind) || error.contains("directory"), "{name}: {error}");
            }
        }
        fs::write(path("file"), "12345").unwrap();
        symlink("file", path("good")).unwrap();
        assert_eq!(read(&path("good"), 5).unwrap(), b"12345");
        let error = format!("{:#}", read(&path("file"), 4).unwrap_err());
        assert!(error.contains("5 bytes, but at most 4"), "{error}");
        assert_eq!(read_if_exists(&path("none"), 4).unwrap(), None);
        assert!(read_if_exists(&path("fifo"), 4).is_err());
        // A sparse file of any size costs nothing.
        File::create(path("sparse")).unwrap().set_len(ARRAYS_LIMIT + 1).unwrap();
        assert!(read(&path("sparse"), ARRAYS_LIMIT).is_err());
    }
}
