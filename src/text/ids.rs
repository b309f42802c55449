//! Long rows of numbers, in memory or in a file that is mapped into it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Mmap, UncheckedAdvice};

/// Numbers one after the other.
#[derive(Clone, Debug)]
pub enum Ids {
    /// In memory.
    Memory(Vec<u32>),
    /// In a file, of which the system keeps in memory what there is room for.
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
    /// Maps a file of numbers as this machine writes them.
    ///
    /// # Errors
    /// Where the file cannot be mapped, or holds no whole numbers.
    pub fn map(file: &File) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        if bytes == 0 {
            return Ok(Self::default());
        }
        if bytes % 4 != 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds no whole numbers"));
        }
        // SAFETY: nobody writes to such a file once it is complete: it has no name any more, or
        // lies in the cache, whose files are only ever made and removed.
        Ok(Self::Mapped(Arc::new(unsafe { Mmap::map(file)? })))
    }

    /// Gives back the memory of what was read of a file; it stays in the system's own cache of the
    /// file as long as there is room.
    pub fn release(&self) {
        if let Self::Mapped(map) = self {
            // SAFETY: the file is not written to, so that whatever is read again is the same. That
            // the system does not heed the advice does no harm.
            let _ = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
        }
    }
}

/// Takes numbers one piece after the other.
#[derive(Debug)]
pub enum IdsWriter {
    /// Into memory.
    Memory(Vec<u32>),
    /// Into a file.
    File(BufWriter<File>),
}

impl IdsWriter {
    /// Writes to a new file at `path`.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn file(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Self::File(BufWriter::with_capacity(1 << 20, file)))
    }

    /// Writes to a file without a name in `folder`, which goes with the last use of it.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn nameless(folder: &Path) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".ids.{}.{number}", std::process::id()));
        let _ = fs::remove_file(&path);
        let writer = Self::file(&path)?;
        fs::remove_file(&path)?;
        Ok(writer)
    }

    /// Adds numbers.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn push(&mut self, ids: &[u32]) -> io::Result<()> {
        match self {
            Self::Memory(all) => all.extend_from_slice(ids),
            Self::File(file) => file.write_all(bytemuck::cast_slice(ids))?,
        }
        Ok(())
    }

    /// All numbers.
    ///
    /// # Errors
    /// Where the file cannot be written or mapped.
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
    fn a_file_holds_what_memory_holds() {
        let folder = tempfile::tempdir().unwrap();
        let numbers: Vec<u32> = (0..1_000).map(|number| number * 4_000_003).collect();
        for mut writer in [
            IdsWriter::Memory(Vec::new()),
            IdsWriter::file(&folder.path().join("ids")).unwrap(),
            IdsWriter::nameless(folder.path()).unwrap(),
        ] {
            for piece in numbers.chunks(300) {
                writer.push(piece).unwrap();
            }
            let ids = writer.finish().unwrap();
            assert_eq!(*ids, numbers);
            ids.release();
            assert_eq!(*ids, numbers);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(IdsWriter::nameless(folder.path()).unwrap().finish().unwrap().is_empty());
        fs::write(folder.path().join("cut"), [1, 2, 3, 4, 5]).unwrap();
        assert!(Ids::map(&File::open(folder.path().join("cut")).unwrap()).is_err());
    }
}
