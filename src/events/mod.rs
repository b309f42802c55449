//! TensorBoard event files.
//!
//! tensorboard-rs's own writers name a file by the second, so that two of them overwrite each
//! other, panic in a thread of theirs when the disk is full, and know little besides scalars. Its
//! record format and messages are used here; the file is ours, and [`summaries`] has the rest.

pub mod summaries;

use std::fs::{self, File, OpenOptions};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use protobuf::Message;
use tensorboard_proto::event::Event;
use tensorboard_proto::summary::Summary;
use tensorboard_rs::record_writer::RecordWriter;
use tensorboard_rs::summary::scalar;

use crate::io::files::write_atomic;
use summaries::SESSION_PREFIX;

/// TensorBoard takes files for event files by this.
const FILE_PREFIX: &str = "events.out.tfevents";
/// What surrounds the data of a record.
const FRAME_BYTES: usize = 16;

/// The tag of the configuration among the texts.
pub const CONFIG_TAG: &str = "config";

/// Writes to one event file, which no other writer shares.
pub struct EventWriter {
    path: PathBuf,
    records: RecordWriter<BufWriter<File>>,
    file: File,
}

impl EventWriter {
    /// Makes a new event file in `folder`.
    ///
    /// # Errors
    /// Where the file cannot be made or written.
    pub fn create(folder: &Path, now: SystemTime) -> anyhow::Result<Self> {
        let (path, file) = create_new(folder, seconds(now) as u64)?;
        let same =
            file.try_clone().with_context(|| format!("cannot use \"{}\"", path.display()))?;
        let records = RecordWriter::new(BufWriter::new(file));
        let mut writer = Self { path, records, file: same };
        let mut event = Event::new();
        event.set_wall_time(seconds(now));
        event.set_file_version("brain.Event:2".into());
        writer.write(&event)?;
        writer.flush()?;
        Ok(writer)
    }

    /// Adds a value to the curve `tag`.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn scalar(
        &mut self,
        tag: &str,
        value: f64,
        step: u64,
        now: SystemTime,
    ) -> anyhow::Result<()> {
        self.summary(scalar(tag, value as f32), step, now)
    }

    /// Adds whatever [`summaries`] makes.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn summary(&mut self, summary: Summary, step: u64, now: SystemTime) -> anyhow::Result<()> {
        let mut event = Event::new();
        event.set_wall_time(seconds(now));
        event.set_step(step as i64);
        event.set_summary(summary);
        self.write(&event)
    }

    /// Hands everything written so far to readers.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        self.records.flush().with_context(|| self.unwritable())
    }

    /// Hands everything written so far to the disk.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn sync(&mut self) -> anyhow::Result<()> {
        self.flush()?;
        self.file.sync_data().with_context(|| self.unwritable())
    }

    fn write(&mut self, event: &Event) -> anyhow::Result<()> {
        let bytes = event.write_to_bytes().context("cannot encode a TensorBoard event")?;
        self.records.write(&bytes).with_context(|| self.unwritable())
    }

    fn unwritable(&self) -> String {
        format!("cannot write TensorBoard events to \"{}\"", self.path.display())
    }
}

/// TensorBoard reads the files of a folder in the order of their names; the seconds in front and
/// the number behind keep it the order of their making.
fn create_new(folder: &Path, seconds: u64) -> anyhow::Result<(PathBuf, File)> {
    let process = std::process::id();
    let mut number: u64 = 0;
    loop {
        let path = folder.join(format!("{FILE_PREFIX}.{seconds:010}.lstmtext.{process}.{number}"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make \"{}\"", path.display()));
            }
        }
    }
}

/// Whether `folder` has an event file.
pub fn any_in(folder: &Path) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| is_event_file(&entry.path()))
}

fn is_event_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(FILE_PREFIX))
}

/// A point of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scalar {
    /// Steps since the run began.
    pub step: u64,
    /// What was measured.
    pub value: f64,
}

/// The curves with these tags in the event files of `folder`, in the order of their steps. What
/// is no number is left out, and so is a record that is not finished yet.
///
/// # Errors
/// Where a file cannot be read.
pub fn scalars<const N: usize>(folder: &Path, tags: [&str; N]) -> anyhow::Result<[Vec<Scalar>; N]> {
    let mut curves = [const { Vec::new() }; N];
    for path in event_files(folder)? {
        let bytes =
            fs::read(&path).with_context(|| format!("cannot read \"{}\"", path.display()))?;
        for event in records(&bytes).filter_map(|record| event_of(record).ok()) {
            let step = u64::try_from(event.get_step()).unwrap_or(0);
            for value in event.get_summary().get_value() {
                let Some(curve) = tags.iter().position(|tag| value.get_tag() == *tag) else {
                    continue;
                };
                let value = f64::from(value.get_simple_value());
                if value.is_finite() {
                    curves[curve].push(Scalar { step, value });
                }
            }
        }
    }
    for curve in &mut curves {
        curve.sort_by_key(|scalar| scalar.step);
    }
    Ok(curves)
}

/// The event files in `folder`, in the order of their making.
fn event_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("cannot read the folder \"{}\"", folder.display()))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>();
    let mut paths: Vec<PathBuf> = paths.context("cannot read the folder of the run")?;
    paths.retain(|path| is_event_file(path));
    paths.sort();
    Ok(paths)
}

/// When the first event file in `folder` was made, in seconds since 1970: its name says so.
pub fn begun(folder: &Path) -> Option<u64> {
    let made = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_prefix(FILE_PREFIX)?.split('.').nth(1)?.parse().ok()
    };
    fs::read_dir(folder).ok()?.flatten().filter_map(made).min()
}

/// Takes everything after `step` out of the event files in `folder`, since a resumed run writes it
/// again, and so it does what a run says when it begins and ends. A last record that a killed run
/// left unfinished goes too.
///
/// # Errors
/// Where a file cannot be read or written.
pub fn drop_after(folder: &Path, step: u64) -> anyhow::Result<()> {
    for path in event_files(folder)? {
        let bytes =
            fs::read(&path).with_context(|| format!("cannot read \"{}\"", path.display()))?;
        let kept: Vec<&[u8]> = records(&bytes)
            .filter(|record| event_of(record).is_ok_and(|event| stays(&event, step)))
            .collect();
        let kept = kept.concat();
        if kept.len() < bytes.len() {
            write_atomic(&path, &kept)?;
        }
    }
    Ok(())
}

/// Whether a run that goes on after `step` leaves an event as it is.
fn stays(event: &Event, step: u64) -> bool {
    let mut tags = event.get_summary().get_value().iter().map(|value| value.get_tag());
    event.get_step() <= step as i64
        && !tags.any(|tag| tag == CONFIG_TAG || tag.starts_with(SESSION_PREFIX))
}

/// The whole records of an event file, frames included: length (8 bytes), its checksum (4), data,
/// its checksum (4).
fn records(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = u64::from_le_bytes(*rest.first_chunk::<8>()?);
        let end = usize::try_from(length).ok()?.checked_add(FRAME_BYTES)?;
        let (record, tail) = rest.split_at_checked(end)?;
        rest = tail;
        Some(record)
    })
}

fn event_of(record: &[u8]) -> Result<Event, protobuf::ProtobufError> {
    Event::parse_from_bytes(&record[12..record.len() - 4])
}

/// A time as TensorBoard counts it, in seconds since 1970.
pub fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_writers_in_one_second_have_two_files() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let mut writers: Vec<EventWriter> =
            (0..3).map(|_| EventWriter::create(folder.path(), now).unwrap()).collect();
        for (number, writer) in writers.iter_mut().enumerate() {
            writer.scalar("loss", number as f64, 1, now).unwrap();
            writer.flush().unwrap();
        }
        let sizes: Vec<u64> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes.len(), 3);
        assert!(sizes.iter().all(|size| *size == sizes[0] && *size > 60), "{sizes:?}");
    }

    #[test]
    fn curves_are_read_again_in_the_order_of_their_steps() {
        let folder = tempfile::tempdir().unwrap();
        for (seconds, steps) in [(20, [3, 4]), (10, [1, 2])] {
            let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            let mut writer = EventWriter::create(folder.path(), now).unwrap();
            for step in steps {
                writer.scalar("loss", step as f64 / 2.0, step, now).unwrap();
                writer.scalar("speed", if step == 2 { f64::NAN } else { 7.0 }, step, now).unwrap();
            }
            writer.flush().unwrap();
            let bytes = fs::read(&writer.path).unwrap();
            fs::write(&writer.path, [&bytes[..], &bytes[..9]].concat()).unwrap();
        }
        let [speed, loss, none] = scalars(folder.path(), ["speed", "loss", "none"]).unwrap();
        let scalar = |step, value| Scalar { step, value };
        assert_eq!(loss, [scalar(1, 0.5), scalar(2, 1.0), scalar(3, 1.5), scalar(4, 2.0)]);
        assert_eq!(speed, [scalar(1, 7.0), scalar(3, 7.0), scalar(4, 7.0)]);
        assert_eq!(none, []);
    }

    #[test]
    fn a_run_was_begun_when_its_first_file_was_made() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(begun(folder.path()), None);
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        for seconds in [1_795_287_768, 1_795_287_000, 1_795_288_000] {
            EventWriter::create(folder.path(), at(seconds)).unwrap();
        }
        fs::write(folder.path().join("events.out.tfevents.mine"), "").unwrap();
        assert_eq!(begun(folder.path()), Some(1_795_287_000));
    }

    #[test]
    fn steps_after_a_checkpoint_are_taken_out() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let mut writer = EventWriter::create(folder.path(), now).unwrap();
        for step in 1..=5 {
            writer.scalar("loss", step as f64, step, now).unwrap();
        }
        writer.flush().unwrap();
        let path = writer.path.clone();
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], &[7, 0, 0]].concat()).unwrap();
        drop_after(folder.path(), 3).unwrap();
        let kept = fs::read(&path).unwrap();
        assert!(whole.starts_with(&kept));
        let steps: Vec<i64> = records(&kept).map(|r| event_of(r).unwrap().get_step()).collect();
        assert_eq!(steps, [0, 1, 2, 3]);
    }

    #[test]
    fn what_a_run_says_when_it_begins_and_ends_is_taken_out() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let mut writer = EventWriter::create(folder.path(), now).unwrap();
        let start = summaries::session_start([], 1.0);
        let end = summaries::session_end(summaries::RunStatus::Success, 2.0);
        let config = summaries::text(CONFIG_TAG, "", "train: {}");
        let sample = summaries::text("predictions", "", "a text");
        for (summary, step) in [(start, 0), (config, 0), (sample, 4), (end, 5)] {
            writer.summary(summary, step, now).unwrap();
        }
        writer.flush().unwrap();
        drop_after(folder.path(), 5).unwrap();
        let kept = fs::read(&writer.path).unwrap();
        let events: Vec<Event> = records(&kept).map(|record| event_of(record).unwrap()).collect();
        assert_eq!(events.iter().map(Event::get_step).collect::<Vec<_>>(), [0, 4]);
        assert_eq!(events[0].get_file_version(), "brain.Event:2");
        assert_eq!(events[1].get_summary().get_value()[0].get_tag(), "predictions");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let error =
            EventWriter::create(Path::new("/nowhere/at/all"), SystemTime::now()).err().unwrap();
        assert!(format!("{error:#}").contains("/nowhere/at/all"));
    }
}
