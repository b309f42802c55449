//! Reading the records of an event file, one at a time.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use protobuf::Message;
use tensorboard_proto::event::Event;
use tensorboard_rs::masked_crc32c::masked_crc32c;

use crate::io::files::open;

/// Bytes of a record before its data: length (8) and the checksum of the length (4).
const HEADER: u64 = 12;
/// Bytes of a record after its data: their checksum.
const FOOTER: u64 = 4;
/// Largest record that is read. TensorBoard's pictures and tables take a few megabytes.
const MAX_RECORD: u64 = 1 << 28;

/// Records of an event file, up to the first that is incomplete or whose length is damaged.
pub(super) struct Records {
    path: PathBuf,
    file: BufReader<File>,
    record: Vec<u8>,
}

impl Records {
    /// Opens an event file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened, or is no regular file.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = open(path).with_context(|| format!("cannot read \"{}\"", path.display()))?;
        Ok(Self { path: path.to_owned(), file: BufReader::new(file), record: Vec::new() })
    }

    /// Reads the next record.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<&[u8]>> {
        self.record.clear();
        if !self.read(HEADER)? {
            return Ok(None);
        }
        let (length, checksum) = self.record.split_at(8);
        let is_intact = masked_crc32c(length).to_le_bytes() == checksum;
        let length = length.try_into().map(u64::from_le_bytes);
        match length {
            Ok(length) if is_intact && length <= MAX_RECORD && self.read(length + FOOTER)? => {
                Ok(Some(&self.record))
            }
            _ => Ok(None),
        }
    }

    /// Adds the next bytes of the file to the record. Returns false at the end of the file.
    fn read(&mut self, bytes: u64) -> anyhow::Result<bool> {
        let read = self.file.by_ref().take(bytes).read_to_end(&mut self.record);
        let read = read.with_context(|| format!("cannot read \"{}\"", self.path.display()))?;
        Ok(read as u64 == bytes)
    }
}

/// Parses the event of a record.
///
/// # Errors
/// Returns an error if the record is damaged.
pub(super) fn parse(record: &[u8]) -> Result<Event, protobuf::ProtobufError> {
    Event::parse_from_bytes(&record[HEADER as usize..record.len() - FOOTER as usize])
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::events::EventWriter;

    #[test]
    fn records_end_at_the_first_damaged_length() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(directory.path(), SystemTime::now()).unwrap();
        writer.scalar("loss", 1.0, 1, SystemTime::now()).unwrap();
        writer.flush().unwrap();
        let path = std::fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
        let count = || {
            let mut records = Records::open(&path).unwrap();
            std::iter::from_fn(|| records.next().unwrap().map(<[u8]>::len)).count()
        };
        assert_eq!(count(), 2);
        // A hole of zeros, far larger than the memory.
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        assert_eq!(count(), 2);
    }
}
