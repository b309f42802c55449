//! Writing an event file.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use protobuf::Message;
use tensorboard_proto::event::Event;
use tensorboard_proto::summary::Summary;
use tensorboard_rs::record_writer::RecordWriter;
use tensorboard_rs::summary::scalar;

use crate::io::files::create_directory;

/// Prefix by which TensorBoard recognizes event files.
pub(super) const FILE_PREFIX: &str = "events.out.tfevents";

/// Writes to an event file of its own.
pub struct EventWriter {
    path: PathBuf,
    records: RecordWriter<BufWriter<File>>,
    file: File,
}

impl EventWriter {
    /// Creates an event file in a directory, and the directory if it does not exist.
    ///
    /// # Errors
    /// Returns an error if the directory or the file cannot be created or written.
    pub fn create(directory: &Path, now: SystemTime) -> anyhow::Result<Self> {
        create_directory(directory)?;
        let (path, file) = create_file(directory, unix_seconds(now) as u64)?;
        let clone =
            file.try_clone().with_context(|| format!("cannot use \"{}\"", path.display()))?;
        let records = RecordWriter::new(BufWriter::new(file));
        let mut writer = Self { path, records, file: clone };
        let mut event = Event::new();
        event.set_wall_time(unix_seconds(now));
        event.set_file_version("brain.Event:2".into());
        writer.write(&event)?;
        writer.flush()?;
        Ok(writer)
    }

    /// Adds a point to the curve `tag`.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn scalar(
        &mut self,
        tag: &str,
        value: f64,
        step: u64,
        now: SystemTime,
    ) -> anyhow::Result<()> {
        self.summary(scalar(tag, value as f32), step, now)
    }

    /// Adds a summary built by [`super::summaries`].
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn summary(&mut self, summary: Summary, step: u64, now: SystemTime) -> anyhow::Result<()> {
        let mut event = Event::new();
        event.set_wall_time(unix_seconds(now));
        event.set_step(step as i64);
        event.set_summary(summary);
        self.write(&event)
    }

    /// Flushes the buffer, so that readers see everything written so far.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        self.records.flush().with_context(|| self.write_error())
    }

    /// Flushes the buffer and waits until the data is on disk.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn sync(&mut self) -> anyhow::Result<()> {
        self.flush()?;
        self.file.sync_data().with_context(|| self.write_error())
    }

    fn write(&mut self, event: &Event) -> anyhow::Result<()> {
        let bytes = event.write_to_bytes().context("cannot encode a TensorBoard event")?;
        self.records.write(&bytes).with_context(|| self.write_error())
    }

    fn write_error(&self) -> String {
        format!("cannot write TensorBoard events to \"{}\"", self.path.display())
    }
}

/// TensorBoard reads the files of a directory in the order of their names. The leading seconds make that
/// the order of creation: they are later than those of all other files, also of those that another
/// process has created in this second.
fn create_file(directory: &Path, seconds: u64) -> anyhow::Result<(PathBuf, File)> {
    let process = std::process::id();
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let latest = entries.filter_map(|entry| seconds_of(&entry.file_name().to_string_lossy())).max();
    let seconds = latest.map_or(seconds, |latest| seconds.max(latest.saturating_add(1)));
    let mut number: u64 = 0;
    loop {
        let name = format!("{FILE_PREFIX}.{seconds:010}.lstmtext.{process}.{number}");
        let path = directory.join(name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot create \"{}\"", path.display()));
            }
        }
    }
}

/// Returns the seconds in the name of an event file of lstmtext.
fn seconds_of(name: &str) -> Option<u64> {
    let (seconds, rest) = name.strip_prefix(FILE_PREFIX)?.strip_prefix('.')?.split_once('.')?;
    rest.starts_with("lstmtext.").then(|| seconds.parse().ok()).flatten()
}

/// Converts a time to seconds since 1970, as event files store it.
pub fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes that resume a run may start in the same second, and their ids may start over.
    #[test]
    fn a_file_is_read_after_those_of_other_processes() {
        let directory = tempfile::tempdir().unwrap();
        let other = directory.path().join(format!("{FILE_PREFIX}.1700000000.lstmtext.99999999.0"));
        fs::write(&other, "").unwrap();
        for seconds in [1_600_000_000, 1_700_000_000, 1_800_000_000] {
            let (path, _) = create_file(directory.path(), seconds).unwrap();
            assert!(path > other, "{path:?}");
            let digits = seconds_of(&path.file_name().unwrap().to_string_lossy()).unwrap();
            assert!(digits >= seconds && digits > 1_700_000_000);
        }
    }

    #[test]
    fn two_writers_in_one_second_have_two_files() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let mut writers: Vec<EventWriter> =
            (0..3).map(|_| EventWriter::create(directory.path(), now).unwrap()).collect();
        for (number, writer) in writers.iter_mut().enumerate() {
            writer.scalar("loss", number as f64, 1, now).unwrap();
            writer.flush().unwrap();
        }
        let sizes: Vec<u64> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes.len(), 3);
        assert!(sizes.iter().all(|size| *size == sizes[0] && *size > 60), "{sizes:?}");
    }

    #[test]
    fn a_missing_directory_is_created_but_not_its_parents() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        EventWriter::create(&directory.path().join("train"), now).unwrap();
        let deep = directory.path().join("a/b");
        let error = EventWriter::create(&deep, now).err().unwrap();
        assert!(format!("{error:#}").contains(&*deep.to_string_lossy()));
    }
}
