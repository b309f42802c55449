//! Extraction of a `.tar.gz` whose author is not trusted.
//!
//! Everything goes into a fresh folder beside the target, which gets the
//! target's name only when it is complete. Since that folder starts empty and
//! no link is ever created in it, no path in it can lead out of it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};

use super::{CopyError, copy, lock, sibling};
use crate::io::files::{parent_directory, sync_directory};

/// What everything in a tar file is padded to.
const BLOCK_BYTES: u64 = 512;

/// The two empty blocks that end every tar file.
const END_MARKER_BYTES: u64 = 2 * BLOCK_BYTES;

/// What a tar file may spend on one entry besides its content: headers, a long
/// name, padding.
const OVERHEAD_BYTES: u64 = 4096;

/// Flushes are mostly waiting, and file systems serve many at the price of
/// one: a hundred thousand files take seconds so, and minutes one by one.
const FLUSHING_THREADS: usize = 16;

/// How much of a name an error shows.
const SHOWN_NAME_BYTES: usize = 200;

/// How much an archive may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Files and folders together.
    pub max_entries: u64,
    /// Bytes of all files together.
    pub max_bytes: u64,
}

/// What an extraction created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extracted {
    /// The number of files, folders not counted.
    pub files: u64,
    /// The bytes in them.
    pub bytes: u64,
}

/// Extracts the folder `top` of a `.tar.gz` file, which must be the only thing
/// at its top level, as the new folder `into`.
///
/// The files get this program's usual permissions and the present time,
/// whatever the archive says. `progress` is called after each file with the
/// number of files so far. Until the end everything is in `INTO.extracting`,
/// which is cleared first if a killed run has left it.
///
/// # Errors
///
/// When `into` exists in any form; when the archive cannot be read, is damaged
/// or cut short, is being extracted by another run, or holds no files; when an
/// entry is a link or a special file, comes twice, goes beyond `limits`, or has
/// a name that is absolute, contains `..` or a control character, is not valid
/// UTF-8 or lies outside `top`; when the disk cannot be written. Nothing is
/// left at `into` then.
pub fn extract_tar_gz(
    archive: &Path,
    top: &str,
    into: &Path,
    limits: &Limits,
    progress: &mut dyn FnMut(u64),
) -> Result<Extracted> {
    let source =
        File::open(archive).with_context(|| format!("cannot open {}", archive.display()))?;
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
        // The error that led here is the one to report, and the next run
        // clears what stays.
        let _ = fs::remove_dir_all(&staging);
    }
    outcome
}

fn refuse_existing(into: &Path) -> Result<()> {
    // Not `exists`, which looks through a symbolic link.
    match fs::symlink_metadata(into) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot look for {}", into.display())),
        Ok(_) => bail!("{} exists already; delete it to extract the archive again", into.display()),
    }
}

/// Creates the empty folder that will become `into`.
fn prepare_staging(into: &Path) -> Result<PathBuf> {
    let staging = sibling(into, ".extracting")?;
    // This does not follow a symbolic link, neither here nor inside.
    match fs::remove_dir_all(&staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| {
                format!("cannot clear {}, which an interrupted run has left", staging.display())
            });
        }
        _ => {}
    }
    fs::create_dir_all(parent_directory(into))
        .and_then(|()| fs::create_dir(&staging))
        .with_context(|| format!("cannot create the folder {}", staging.display()))?;
    Ok(staging)
}

fn put_in_place(staging: &Path, into: &Path) -> Result<()> {
    fs::rename(staging, into)
        .with_context(|| format!("cannot rename {} to {}", staging.display(), into.display()))?;
    sync_directory(parent_directory(into))
}

/// One run over an archive, and what it has created so far.
struct Extraction<'a> {
    archive: &'a Path,
    top: &'a str,
    staging: &'a Path,
    limits: &'a Limits,
    /// Relative to the staging folder, which is the empty path among them.
    directories: HashSet<PathBuf>,
    files: Vec<PathBuf>,
    bytes: u64,
}

impl Extraction<'_> {
    fn run(mut self, source: &File, progress: &mut dyn FnMut(u64)) -> Result<Extracted> {
        // The staging folder exists.
        self.directories.insert(PathBuf::new());
        self.unpack(source, progress)?;
        ensure!(!self.files.is_empty(), "{} holds no files", self.archive.display());
        self.flush()?;
        Ok(Extracted { files: self.files.len() as u64, bytes: self.bytes })
    }

    fn unpack(&mut self, source: &File, progress: &mut dyn FnMut(u64)) -> Result<()> {
        let unzipped = MultiGzDecoder::new(BufReader::new(source));
        let mut tar = Archive::new(Metered::new(unzipped, self.stream_limit()));
        let mut last = "the beginning".to_owned();
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

    /// Reads on to where the checksum is, and makes sure that the tar file was
    /// not cut between two entries before it was compressed.
    fn check_end(&self, mut stream: Metered<impl Read>, end: u64, last: &str) -> Result<()> {
        io::copy(&mut stream, &mut io::sink()).map_err(|error| self.unreadable(error, last))?;
        if stream.position() < end.saturating_add(END_MARKER_BYTES) {
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the end marker is missing");
            return Err(self.unreadable(error, last));
        }
        Ok(())
    }

    /// The most that the archive may unpack to, so that neither metadata nor
    /// padding can be a bomb.
    fn stream_limit(&self) -> u64 {
        let overhead = self.limits.max_entries.saturating_add(256).saturating_mul(OVERHEAD_BYTES);
        self.limits.max_bytes.saturating_add(overhead)
    }

    fn unreadable(&self, error: io::Error, last: &str) -> anyhow::Error {
        let archive = self.archive.display();
        let context = if error.kind() == io::ErrorKind::FileTooLarge {
            format!("{archive} is not the expected archive, seen after {last}")
        } else {
            format!(
                "{archive} is damaged or cut short, seen after {last}; delete it and fetch it again"
            )
        };
        anyhow::Error::new(error).context(context)
    }

    fn entry(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<()> {
        let refused = match entry.header().entry_type() {
            EntryType::Regular => return self.file(entry),
            EntryType::Directory => {
                let path = self.path_below_top(&entry.path_bytes())?;
                return self.create_directories(&path);
            }
            // Remarks on the archive as a whole, which create nothing.
            EntryType::XGlobalHeader => return Ok(()),
            EntryType::Symlink => "a symbolic link",
            EntryType::Link => "a hard link",
            _ => "neither a file nor a folder",
        };
        bail!("it is {refused}, and only files and folders are extracted");
    }

    fn file(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<()> {
        let path = self.path_below_top(&entry.path_bytes())?;
        let Some(folder) = path.parent() else {
            bail!("it should be a folder, but is a file");
        };
        self.create_directories(folder)?;
        self.count_one_more()?;
        let size = entry.size();
        ensure!(
            size <= self.limits.max_bytes - self.bytes,
            "with its {size} bytes the files exceed {} bytes, the limit for this archive",
            self.limits.max_bytes
        );
        let place = self.staging.join(&path);
        let mut file = File::create_new(&place).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => anyhow!("it comes twice in the archive"),
            _ => anyhow!(error).context(format!("cannot create {}", place.display())),
        })?;
        let copied = copy(entry, &mut file, &mut |_| {}).map_err(|error| match error {
            CopyError::Read(error) => {
                anyhow!(error).context("the archive is damaged; delete it and fetch it again")
            }
            CopyError::Write(error) => {
                anyhow!(error).context(format!("cannot write {}", place.display()))
            }
        })?;
        ensure!(
            copied == size,
            "the archive is cut short: {copied} of {size} bytes are there; \
             delete it and fetch it again"
        );
        self.bytes += size;
        self.files.push(path);
        Ok(())
    }

    /// Creates what is missing of a folder's path, one folder at a time: each
    /// must be new or known, so that none can be something else.
    fn create_directories(&mut self, path: &Path) -> Result<()> {
        if self.directories.contains(path) {
            return Ok(());
        }
        let mut folder = PathBuf::new();
        for component in path.components() {
            folder.push(component);
            if self.directories.contains(&folder) {
                continue;
            }
            self.count_one_more()?;
            let place = self.staging.join(&folder);
            fs::create_dir(&place)
                .with_context(|| format!("cannot create the folder {}", place.display()))?;
            self.directories.insert(folder.clone());
        }
        Ok(())
    }

    fn count_one_more(&self) -> Result<()> {
        let entries = (self.files.len() + self.directories.len()) as u64;
        // The staging folder itself is among the directories.
        ensure!(
            entries <= self.limits.max_entries,
            "there are more than {} files and folders, the limit for this archive",
            self.limits.max_entries
        );
        Ok(())
    }

    /// Where an entry of this name goes, relative to the staging folder.
    fn path_below_top(&self, name: &[u8]) -> Result<PathBuf> {
        let name = std::str::from_utf8(name).context("its name is not valid UTF-8")?;
        // No file system takes NUL, and no terminal should be sent the others.
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
            Err(_) => bail!("it lies outside the archive's folder {:?}", self.top),
        }
    }

    /// Brings everything to the disk, so that the rename that follows cannot
    /// outlive the content in a power failure.
    fn flush(&self) -> Result<()> {
        let share = self.files.len().div_ceil(FLUSHING_THREADS).max(1);
        thread::scope(|scope| {
            let workers: Vec<_> = self
                .files
                .chunks(share)
                .map(|files| scope.spawn(move || self.flush_files(files)))
                .collect();
            workers.into_iter().try_for_each(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|_| Err(anyhow!("a thread that flushes files has panicked")))
            })
        })?;
        self.directories.iter().try_for_each(|folder| sync_directory(&self.staging.join(folder)))
    }

    fn flush_files(&self, files: &[PathBuf]) -> Result<()> {
        for file in files {
            let place = self.staging.join(file);
            // Some systems flush only what is open for writing.
            File::options()
                .write(true)
                .open(&place)
                .and_then(|file| file.sync_all())
                .with_context(|| format!("cannot flush {}", place.display()))?;
        }
        Ok(())
    }
}

/// An entry's name as an error may show it: quoted, without control
/// characters, and not longer than a line or two.
fn shown(name: &[u8]) -> String {
    let start = &name[..name.len().min(SHOWN_NAME_BYTES)];
    format!("{:?}", String::from_utf8_lossy(start))
}

/// Where the next entry's header, or the end marker, starts in the tar file.
fn end_of(entry: &Entry<'_, impl Read>) -> u64 {
    entry
        .raw_file_position()
        .saturating_add(entry.size())
        .checked_next_multiple_of(BLOCK_BYTES)
        .unwrap_or(u64::MAX)
}

/// A reader that counts, and fails beyond a number of bytes.
struct Metered<R> {
    inner: R,
    limit: u64,
    left: u64,
}

impl<R> Metered<R> {
    fn new(inner: R, limit: u64) -> Self {
        Self { inner, limit, left: limit }
    }

    fn position(&self) -> u64 {
        self.limit - self.left
    }
}

impl<R: Read> Read for Metered<R> {
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
