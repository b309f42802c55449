//! Extraction of an untrusted `.tar.gz`.
//!
//! Everything is extracted to a new staging directory next to the target, which is renamed to the
//! target when it is complete. It starts empty and never contains a link, so no path can lead out
//! of it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};

use super::files::{CopyError, copy, lock, sibling};
use crate::io::files::{open, parent_directory, sync_directory};
use crate::system::threads;

/// Block size of a tar file. Headers and contents are padded to it.
const BLOCK_BYTES: u64 = 512;

/// Size of the two empty blocks that end a tar file.
const END_MARKER_BYTES: u64 = 2 * BLOCK_BYTES;

/// Maximum size of an entry apart from its content: headers, a long name, padding.
const OVERHEAD_BYTES: u64 = 4096;

/// Number of threads that flush files. File systems combine concurrent flushes: 100,000 files take
/// seconds this way, and minutes one by one.
const FLUSH_THREADS: usize = 16;

/// Maximum length of a name in an error message.
const MAX_SHOWN_NAME: usize = 200;

/// Limits on the contents of an archive.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of files and directories.
    pub max_entries: u64,
    /// Maximum total size of the files in bytes.
    pub max_bytes: u64,
}

/// Result of an extraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extracted {
    /// Number of files, not counting directories.
    pub files: u64,
    /// Total size of the files in bytes.
    pub bytes: u64,
}

/// Extracts the only top-level directory, `top`, of a `.tar.gz` file as the new directory `into`.
///
/// Permissions and times in the archive are ignored. `progress` is called after each file with the
/// number of files so far. The staging directory is `INTO.extracting`; a leftover of a killed run
/// is removed first.
///
/// # Errors
/// Returns an error and leaves nothing at `into` if
/// - `into` already exists,
/// - the archive is unreadable, damaged, truncated, without files, or being extracted by another
///   run,
/// - an entry is a link or a special file, occurs twice or exceeds `limits`,
/// - a name is absolute, contains `..` or a control character, is not valid UTF-8 or is outside
///   `top`,
/// - the disk cannot be written.
pub fn extract_tar_gz(
    archive: &Path,
    top: &str,
    into: &Path,
    limits: &Limits,
    progress: &mut dyn FnMut(u64),
) -> Result<Extracted> {
    let source = open(archive).with_context(|| format!("cannot open {}", archive.display()))?;
    lock(&source, archive)?;
    refuse_existing(into)?;
    let staging = prepare_staging(into)?;
    let outcome = Extraction {
        archive,
        top,
        staging: &staging,
        limits,
        directories: HashSet::new(),
        files: Vec::new(),
        bytes: 0,
    }
    .run(&source, progress)
    .and_then(|extracted| {
        put_in_place(&staging, into)?;
        Ok(extracted)
    });
    if outcome.is_err() {
        // The first error is the one to report. The next run removes any leftovers.
        let _ = fs::remove_dir_all(&staging);
    }
    outcome
}

fn refuse_existing(into: &Path) -> Result<()> {
    // `exists` would follow a symbolic link.
    match fs::symlink_metadata(into) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot access {}", into.display())),
        Ok(_) => bail!("{} already exists; delete it to extract the archive again", into.display()),
    }
}

/// Creates the empty staging directory.
fn prepare_staging(into: &Path) -> Result<PathBuf> {
    let staging = sibling(into, ".extracting")?;
    // This does not follow symbolic links, neither here nor inside.
    match fs::remove_dir_all(&staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| {
                format!("cannot remove {}, a leftover of an interrupted run", staging.display())
            });
        }
        _ => {}
    }
    fs::create_dir_all(parent_directory(into))
        .and_then(|()| fs::create_dir(&staging))
        .with_context(|| format!("cannot create the directory {}", staging.display()))?;
    Ok(staging)
}

fn put_in_place(staging: &Path, into: &Path) -> Result<()> {
    fs::rename(staging, into)
        .with_context(|| format!("cannot rename {} to {}", staging.display(), into.display()))?;
    sync_directory(parent_directory(into))
}

/// State of an extraction.
struct Extraction<'a> {
    archive: &'a Path,
    top: &'a str,
    staging: &'a Path,
    limits: &'a Limits,
    /// Created directories relative to the staging directory, which is the empty path.
    directories: HashSet<PathBuf>,
    /// Extracted files relative to the staging directory.
    files: Vec<PathBuf>,
    bytes: u64,
}

impl Extraction<'_> {
    fn run(mut self, source: &File, progress: &mut dyn FnMut(u64)) -> Result<Extracted> {
        // The staging directory.
        self.directories.insert(PathBuf::new());
        self.unpack(source, progress)?;
        ensure!(!self.files.is_empty(), "{} contains no files", self.archive.display());
        self.flush()?;
        Ok(Extracted { files: self.files.len() as u64, bytes: self.bytes })
    }

    fn unpack(&mut self, source: &File, progress: &mut dyn FnMut(u64)) -> Result<()> {
        let unzipped = MultiGzDecoder::new(BufReader::new(source));
        let mut tar = Archive::new(LimitedReader::new(unzipped, self.stream_limit()));
        let mut last = "its beginning".to_owned();
        let mut end = 0;
        let entries = tar.entries().map_err(|error| self.unreadable(error, &last))?;
        for entry in entries {
            let mut entry = entry.map_err(|error| self.unreadable(error, &last))?;
            last = shown(&entry.path_bytes());
            self.entry(&mut entry)
                .with_context(|| format!("{}: cannot extract {last}", self.archive.display()))?;
            progress(self.files.len() as u64);
            end = end_of(&entry);
        }
        self.check_end(tar.into_inner(), end, &last)
    }

    /// Reads on to the checksum of the gzip stream, and checks that the tar file was not truncated
    /// between two entries before it was compressed.
    fn check_end(&self, mut stream: LimitedReader<impl Read>, end: u64, last: &str) -> Result<()> {
        io::copy(&mut stream, &mut io::sink()).map_err(|error| self.unreadable(error, last))?;
        if stream.position() < end.saturating_add(END_MARKER_BYTES) {
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the end marker is missing");
            return Err(self.unreadable(error, last));
        }
        Ok(())
    }

    /// Maximum size of the uncompressed archive, so that metadata and padding are limited too.
    fn stream_limit(&self) -> u64 {
        let overhead = self.limits.max_entries.saturating_add(256).saturating_mul(OVERHEAD_BYTES);
        self.limits.max_bytes.saturating_add(overhead)
    }

    fn unreadable(&self, error: io::Error, last: &str) -> anyhow::Error {
        let archive = self.archive.display();
        let context = if error.kind() == io::ErrorKind::FileTooLarge {
            format!("{archive} is not the expected archive (error after {last})")
        } else {
            format!(
                "{archive} is damaged or truncated (error after {last}); delete it and download it again"
            )
        };
        anyhow::Error::new(error).context(context)
    }

    fn entry(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<()> {
        let kind = match entry.header().entry_type() {
            EntryType::Regular => return self.file(entry),
            EntryType::Directory => {
                let path = self.path_below_top(&entry.path_bytes())?;
                return self.create_directories(&path);
            }
            // Metadata of the whole archive.
            EntryType::XGlobalHeader => return Ok(()),
            EntryType::Symlink => "a symbolic link",
            EntryType::Link => "a hard link",
            _ => "neither a file nor a directory",
        };
        bail!("it is {kind}; only files and directories are extracted");
    }

    fn file(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<()> {
        let path = self.path_below_top(&entry.path_bytes())?;
        let Some(directory) = path.parent() else {
            bail!("it must be a directory, but is a file");
        };
        self.create_directories(directory)?;
        self.check_new_entry()?;
        let size = entry.size();
        ensure!(
            size <= self.limits.max_bytes - self.bytes,
            "its {size} bytes exceed the limit of {} bytes for this archive",
            self.limits.max_bytes
        );
        let target = self.staging.join(&path);
        let mut file = File::create_new(&target).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => anyhow!("it occurs twice in the archive"),
            _ => anyhow!(error).context(format!("cannot create {}", target.display())),
        })?;
        let copied = copy(entry, &mut file, &mut |_| {}).map_err(|error| match error {
            CopyError::Read(error) => {
                anyhow!(error).context("the archive is damaged; delete it and download it again")
            }
            CopyError::Write(error) => {
                anyhow!(error).context(format!("cannot write {}", target.display()))
            }
        })?;
        ensure!(
            copied == size,
            "the archive is truncated after {copied} of {size} bytes; delete it and download it \
             again"
        );
        self.bytes += size;
        self.files.push(path);
        Ok(())
    }

    /// Creates the missing directories of a path one by one. Each must be new or already created
    /// here, so none can be anything else.
    fn create_directories(&mut self, path: &Path) -> Result<()> {
        if self.directories.contains(path) {
            return Ok(());
        }
        let mut directory = PathBuf::new();
        for component in path.components() {
            directory.push(component);
            if self.directories.contains(&directory) {
                continue;
            }
            self.check_new_entry()?;
            let target = self.staging.join(&directory);
            fs::create_dir(&target)
                .with_context(|| format!("cannot create the directory {}", target.display()))?;
            self.directories.insert(directory.clone());
        }
        Ok(())
    }

    /// Checks that another entry is within the limit.
    fn check_new_entry(&self) -> Result<()> {
        let entries = (self.files.len() + self.directories.len()) as u64;
        // The staging directory is counted in place of the new entry.
        ensure!(
            entries <= self.limits.max_entries,
            "the archive exceeds the limit of {} files and directories",
            self.limits.max_entries
        );
        Ok(())
    }

    /// Returns the path of an entry relative to the staging directory.
    fn path_below_top(&self, name: &[u8]) -> Result<PathBuf> {
        let name = std::str::from_utf8(name).context("its name is not valid UTF-8")?;
        // File systems reject NUL, and other control characters are unsafe to print.
        ensure!(
            !name.contains(char::is_control),
            "its name contains a NUL or another control character"
        );
        let mut path = PathBuf::new();
        for component in Path::new(name).components() {
            match component {
                Component::Normal(part) => path.push(part),
                Component::CurDir => {}
                Component::ParentDir => bail!("its name contains \"..\""),
                Component::RootDir | Component::Prefix(_) => bail!("its name is an absolute path"),
            }
        }
        match path.strip_prefix(self.top) {
            Ok(below) => Ok(below.to_path_buf()),
            Err(_) => bail!("it is outside the archive's top-level directory {:?}", self.top),
        }
    }

    /// Flushes everything to disk, so that a power failure cannot keep the rename that follows but
    /// lose the contents.
    fn flush(&self) -> Result<()> {
        let share = self.files.len().div_ceil(FLUSH_THREADS).max(1);
        thread::scope(|scope| {
            let flush =
                |files| threads::spawn_scoped(scope, "flush", move || self.flush_files(files));
            let workers: Vec<_> = self.files.chunks(share).map(flush).collect::<Result<_>>()?;
            workers.into_iter().try_for_each(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|_| Err(anyhow!("a thread that flushes files panicked")))
            })
        })?;
        self.directories.iter().try_for_each(|path| sync_directory(&self.staging.join(path)))
    }

    fn flush_files(&self, files: &[PathBuf]) -> Result<()> {
        for file in files {
            let path = self.staging.join(file);
            // Some systems only flush files that are open for writing.
            File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.sync_all())
                .with_context(|| format!("cannot flush {}", path.display()))?;
        }
        Ok(())
    }
}

/// Formats the name of an entry for an error message: quoted, escaped and shortened.
fn shown(name: &[u8]) -> String {
    let start = &name[..name.len().min(MAX_SHOWN_NAME)];
    format!("{:?}", String::from_utf8_lossy(start))
}

/// Returns the position of the next header, or of the end marker, in the tar file.
fn end_of(entry: &Entry<'_, impl Read>) -> u64 {
    entry
        .raw_file_position()
        .saturating_add(entry.size())
        .checked_next_multiple_of(BLOCK_BYTES)
        .unwrap_or(u64::MAX)
}

/// A reader that fails after `limit` bytes.
struct LimitedReader<R> {
    inner: R,
    limit: u64,
    left: u64,
}

impl<R> LimitedReader<R> {
    fn new(inner: R, limit: u64) -> Self {
        Self { inner, limit, left: limit }
    }

    fn position(&self) -> u64 {
        self.limit - self.left
    }
}

impl<R: Read> Read for LimitedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it unpacks to more than {} bytes", self.limit),
            )
        })?;
        Ok(count)
    }
}
