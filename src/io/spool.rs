//! Temporary copies of streams, for readers that read a file more than once. A copy has no name in the
//! file system, so that nothing stays behind when the process is killed. It is opened under the name of
//! its stream, which messages therefore show.

use std::collections::BTreeMap;
use std::env;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, ensure};

use super::limits::{Limit, LimitedReader, Limits};

/// Copies by the names of their streams.
static COPIES: Mutex<BTreeMap<PathBuf, Arc<File>>> = Mutex::new(BTreeMap::new());

fn copies() -> MutexGuard<'static, BTreeMap<PathBuf, Arc<File>>> {
    COPIES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns true if `path` is `-`, which stands for stdin where a file is expected.
pub fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// A temporary copy of stdin, a pipe or a device. Dropping it deletes the copy.
pub struct Spooled {
    name: PathBuf,
}

impl Spooled {
    /// Copies a stream, `-` for stdin. Returns `None` if `path` can be read in place or does not exist.
    ///
    /// # Errors
    /// Returns an error if the stream cannot be copied, or if it or a line exceeds its limit.
    pub fn of(path: &Path, limits: Limits) -> anyhow::Result<Option<Self>> {
        // A file that is redirected to /dev/stdin has no name that tells its format.
        let is_stream = |path: &Path| {
            let is_file = |file: Metadata| file.is_file() && !path.starts_with("/dev");
            path.metadata().is_ok_and(|metadata| !metadata.is_dir() && !is_file(metadata))
        };
        let (name, shown, source): (_, _, Box<dyn Read>) = if is_stdin(path) {
            (PathBuf::from("stdin"), "stdin".to_owned(), Box::new(io::stdin()))
        } else if is_stream(path) {
            let shown = format!("\"{}\"", path.display());
            let file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
            (path.to_owned(), shown, Box::new(file))
        } else {
            return Ok(None);
        };
        let (limit, lines) = (limits.unpacked, Limits { unpacked: Limit::NONE, ..limits });
        // A compressed stream has line breaks by chance, far more often than the limit demands.
        let mut source = LimitedReader::new(source, lines).take(limit.bytes.saturating_add(1));
        let mut copy = || -> io::Result<(File, u64)> {
            let mut file = tempfile::tempfile()?;
            let bytes = io::copy(&mut source, &mut file)?;
            Ok((file, bytes))
        };
        let (file, bytes) = copy().with_context(|| {
            format!("cannot copy {shown} to a file in \"{}\"", env::temp_dir().display())
        })?;
        ensure!(bytes <= limit.bytes, limit.exceeded(&shown));
        copies().insert(name.clone(), Arc::new(file));
        Ok(Some(Self { name }))
    }

    /// Name of the stream. Under this name, [`open`](super::input::open) reads the copy.
    pub fn path(&self) -> &Path {
        &self.name
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        copies().remove(&self.name);
    }
}

/// Returns true if `path` is the name of a stream that has been copied.
pub fn is_spooled(path: &Path) -> bool {
    copies().contains_key(path)
}

/// Opens the copy of the stream with this name, if there is one.
pub fn open_copy(path: &Path) -> Option<impl Read + Send + 'static> {
    let file = copies().get(path)?.clone();
    Some(CopyReader { file, position: 0 })
}

/// Returns the copy of the stream with this name, if there is one. All such files share one position.
pub fn copied_file(path: &Path) -> Option<io::Result<File>> {
    copies().get(path).map(|file| file.try_clone())
}

/// A reader with a position of its own, because a copy may be read by several readers.
struct CopyReader {
    file: Arc<File>,
    position: u64,
}

impl Read for CopyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(buffer, self.position)?;
        self.position += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;
    use crate::io::input;

    #[test]
    fn a_stream_is_read_again_under_its_name_until_its_copy_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("data.csv");
        mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
        let write = |bytes: &'static [u8]| {
            let fifo = fifo.clone();
            thread::spawn(move || fs::write(fifo, bytes).unwrap())
        };
        let limit = Limit { bytes: 8, field: None };
        let limits = Limits { unpacked: limit, ..Limits::NONE };
        let writer = write(b"12345678");
        let spooled = Spooled::of(&fifo, limits).unwrap().unwrap();
        writer.join().unwrap();
        assert_eq!(spooled.path(), fifo);
        for _ in 0..2 {
            let text = input::read_text(spooled.path(), 8).unwrap();
            assert_eq!(text, "12345678");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        drop(spooled);
        assert!(!is_spooled(&fifo) && input::open(&fifo).is_err());
        let writer = write(b"123456789");
        let error = Spooled::of(&fifo, limits).err().unwrap().to_string();
        assert!(error.contains("exceeds"), "{error}");
        writer.join().unwrap();
        let writer = write(b"12\n1234");
        let lines = Limits { line: Limit { bytes: 3, field: None }, ..Limits::NONE };
        let error = format!("{:#}", Spooled::of(&fifo, lines).err().unwrap());
        assert!(error.contains("line 2 exceeds"), "{error}");
        writer.join().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        for name in ["file", "none", ""] {
            assert!(Spooled::of(&directory.path().join(name), limits).unwrap().is_none());
        }
    }
}
