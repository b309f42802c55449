//! Large arrays of ids, in memory or in memory-mapped files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Mmap, UncheckedAdvice};

/// An array of ids.
#[derive(Clone, Debug)]
pub enum Ids {
    /// Ids in memory.
    Memory(Vec<u32>),
    /// Ids in a memory-mapped file, which the operating system pages in and out.
    Mapped(Arc<Mmap>),
}

impl Default for Ids {
    fn default() -> Self {
        Self::Memory(Vec::new())
    }
}

impl Deref for Ids {
    type Target = [u32];
    fn deref(&self) -> &[u32] {
        match self {
            Self::Memory(ids) => ids,
            Self::Mapped(map) => bytemuck::cast_slice(map),
        }
    }
}

impl PartialEq for Ids {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Ids {
    /// Maps a file of ids in native byte order.
    ///
    /// # Errors
    /// Returns an error if the file cannot be mapped or its size is not a multiple of 4 bytes.
    pub fn map(file: &File) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        if bytes == 0 {
            return Ok(Self::default());
        }
        if bytes % 4 != 0 {
            let message = "the size is not a multiple of 4 bytes";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        // SAFETY: Nobody writes to the file once it is complete. It is either unlinked or in the
        // token cache, whose files are only created and removed.
        Ok(Self::Mapped(Arc::new(unsafe { Mmap::map(file)? })))
    }

    /// Releases the memory of mapped ids. They stay in the page cache as long as there is room.
    pub fn release(&self) {
        if let Self::Mapped(map) = self {
            // SAFETY: The file does not change, so reading a page again gives the same ids. An error
            // means that the advice was not followed, which does no harm.
            let _ = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
        }
    }
}

/// Writes an array of ids in several calls.
#[derive(Debug)]
pub enum IdsWriter {
    /// Writes to memory.
    Memory(Vec<u32>),
    /// Writes to a file.
    File(BufWriter<File>),
}

impl IdsWriter {
    /// Writes to a new file at `path`.
    ///
    /// # Errors
    /// Returns an error if the file cannot be created.
    pub fn file(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Self::File(BufWriter::with_capacity(1 << 20, file)))
    }

    /// Writes to an unlinked file in `directory`, which disappears when it is no longer used.
    ///
    /// # Errors
    /// Returns an error if the file cannot be created.
    pub fn unlinked_file(directory: &Path) -> io::Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!(".ids.{}.{number}", std::process::id()));
        let _ = fs::remove_file(&path);
        let writer = Self::file(&path)?;
        fs::remove_file(&path)?;
        Ok(writer)
    }

    /// Appends ids.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn push(&mut self, ids: &[u32]) -> io::Result<()> {
        match self {
            Self::Memory(all) => all.extend_from_slice(ids),
            Self::File(file) => file.write_all(bytemuck::cast_slice(ids))?,
        }
        Ok(())
    }

    /// Returns all ids.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written or mapped.
    pub fn finish(self) -> io::Result<Ids> {
        match self {
            Self::Memory(ids) => Ok(Ids::Memory(ids)),
            Self::File(file) => Ids::map(&file.into_inner()?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_memory_hold_the_same_ids() {
        let directory = tempfile::tempdir().unwrap();
        let expected: Vec<u32> = (0..1_000).map(|number| number * 4_000_003).collect();
        for mut writer in [
            IdsWriter::Memory(Vec::new()),
            IdsWriter::file(&directory.path().join("ids")).unwrap(),
            IdsWriter::unlinked_file(directory.path()).unwrap(),
        ] {
            for chunk in expected.chunks(300) {
                writer.push(chunk).unwrap();
            }
            let ids = writer.finish().unwrap();
            assert_eq!(*ids, expected);
            ids.release();
            assert_eq!(*ids, expected);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(IdsWriter::unlinked_file(directory.path()).unwrap().finish().unwrap().is_empty());
        fs::write(directory.path().join("cut"), [1, 2, 3, 4, 5]).unwrap();
        assert!(Ids::map(&File::open(directory.path().join("cut")).unwrap()).is_err());
    }
}
