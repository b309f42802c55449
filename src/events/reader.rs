//! Reading the event files of a run, and truncating them.

use std::fs;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tensorboard_proto::event::Event;

use super::layout::{CONFIG, FINAL_PREFIXES, SubRun, directories};
use super::records::{Records, parse};
use super::summaries::SESSION_PREFIX;
use super::writer::FILE_PREFIX;
use crate::io::replace::{self, replace_file};

/// A point of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scalar {
    /// Step, counted from the start of the run.
    pub step: u64,
    /// Value at that step.
    pub value: f64,
}

/// Returns an event file in a run directory or one of its sub-runs, if there is any.
pub fn first_file(run: &Path) -> Option<PathBuf> {
    let entries = directories(run).flat_map(|directory| fs::read_dir(directory).ok());
    entries.flatten().flatten().map(|entry| entry.path()).find(|path| is_event_file(path))
}

/// Removes the event files of a run, and the directories of its sub-runs if nothing else is in them.
///
/// # Errors
/// Returns an error if a file cannot be removed.
pub fn remove(run: &Path) -> anyhow::Result<()> {
    for directory in directories(run) {
        for path in event_files(&directory)? {
            fs::remove_file(&path)
                .with_context(|| format!("cannot remove \"{}\"", path.display()))?;
        }
        if directory != run {
            let _ = fs::remove_dir(directory);
        }
    }
    Ok(())
}

/// Removes the temporary files that a killed process has left in [`truncate_to_step`].
pub fn remove_temporaries(run: &Path) {
    for directory in directories(run) {
        replace::remove_temporaries(&directory, |name| name.starts_with(FILE_PREFIX));
    }
}

fn is_event_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(FILE_PREFIX))
}

/// Returns the creation time of the first event file in a run directory, in seconds since 1970, as the
/// file's name has it.
pub fn start_time(run: &Path) -> Option<u64> {
    let created = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_prefix(FILE_PREFIX)?.split('.').nth(1)?.parse().ok()
    };
    fs::read_dir(run).ok()?.flatten().filter_map(created).min()
}

/// Reads the curves with these tags of a sub-run, each in the order of its steps. Points that earlier
/// versions wrote to the run directory itself are included, so that a run that was started by an earlier
/// version and resumed by this one has whole curves. Values that are not finite are skipped, and so is an
/// incomplete last record.
///
/// # Errors
/// Returns an error if a file cannot be read.
pub fn scalars<const N: usize>(
    run: &Path,
    sub_run: SubRun,
    tags: [&str; N],
) -> anyhow::Result<[Vec<Scalar>; N]> {
    let mut curves = [const { Vec::new() }; N];
    let legacy_tags = tags.map(|tag| sub_run.legacy_tag(tag));
    add_scalars(run, &legacy_tags, &mut curves)?;
    add_scalars(&sub_run.directory(run), &tags, &mut curves)?;
    for curve in &mut curves {
        curve.sort_by_key(|scalar| scalar.step);
    }
    Ok(curves)
}

/// Adds the points that the event files in a directory have for these tags.
fn add_scalars(
    directory: &Path,
    tags: &[impl AsRef<str>],
    curves: &mut [Vec<Scalar>],
) -> anyhow::Result<()> {
    for path in event_files(directory)? {
        let mut records = Records::open(&path)?;
        while let Some(record) = records.next()? {
            let Ok(event) = parse(record) else { continue };
            let step = u64::try_from(event.get_step()).unwrap_or(0);
            for value in event.get_summary().get_value() {
                let Some(curve) = tags.iter().position(|tag| value.get_tag() == tag.as_ref())
                else {
                    continue;
                };
                let value = f64::from(value.get_simple_value());
                if value.is_finite() {
                    curves[curve].push(Scalar { step, value });
                }
            }
        }
    }
    Ok(())
}

/// Removes all points after the step `last` from the event files of a run, or all if it is `None`, since a run
/// resumed from there writes them again. For the same reason, removes the configuration, the session records and the
/// final scores, which every session of a run writes. An incomplete last record, left by a killed process, is removed
/// too.
///
/// # Errors
/// Returns an error if a file cannot be read or written.
pub fn truncate_to_step(run: &Path, last: Option<u64>) -> anyhow::Result<()> {
    directories(run).try_for_each(|directory| retain(&directory, |event| is_kept(event, last)))
}

/// Removes the test scores of a run from `step` on: a process that was killed between the test score and
/// the summary has written one that is written again.
///
/// # Errors
/// Returns an error if a file cannot be read or written.
pub fn remove_test_scores(run: &Path, step: u64) -> anyhow::Result<()> {
    retain(&SubRun::Test.directory(run), |event| {
        event.get_step() < step as i64 || event.get_summary().get_value().is_empty()
    })
}

/// Removes the events that `keep` rejects from the event files in a directory, and incomplete records.
fn retain(directory: &Path, keep: impl Fn(&Event) -> bool) -> anyhow::Result<()> {
    for path in event_files(directory)? {
        let for_each_kept = |visit: &mut dyn FnMut(&[u8]) -> io::Result<()>| -> anyhow::Result<()> {
            let mut records = Records::open(&path)?;
            while let Some(record) = records.next()? {
                if parse(record).is_ok_and(|event| keep(&event)) {
                    visit(record)?;
                }
            }
            Ok(())
        };
        let mut kept = 0;
        for_each_kept(&mut |record| {
            kept += record.len() as u64;
            Ok(())
        })?;
        let size = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        if kept < size {
            replace_file(&path, |file| {
                let mut file = BufWriter::new(file);
                for_each_kept(&mut |record| file.write_all(record))?;
                Ok(file.flush()?)
            })?;
        }
    }
    Ok(())
}

fn is_kept(event: &Event, last: Option<u64>) -> bool {
    let is_of_session = |tag: &str| {
        let is_final = FINAL_PREFIXES.iter().any(|prefix| tag.starts_with(prefix));
        tag == CONFIG || tag.starts_with(SESSION_PREFIX) || is_final
    };
    let mut tags = event.get_summary().get_value().iter().map(|value| value.get_tag());
    let is_version = !event.get_file_version().is_empty();
    is_version || Some(event.get_step()) <= last.map(|step| step as i64) && !tags.any(is_of_session)
}

/// Returns the event files in a directory in the order of their creation; none if there is no such
/// directory.
fn event_files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cannot_read = || format!("cannot read the directory \"{}\"", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(cannot_read)?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>();
    let mut paths: Vec<PathBuf> = paths.with_context(cannot_read)?;
    paths.retain(|path| is_event_file(path));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::events::summaries::{self, RunStatus};
    use crate::events::{EventWriter, LEARNING_RATE, LOSS};

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// Writes a curve in which the value of each step is an eighth of it.
    fn write(directory: &Path, seconds: u64, tag: &str, steps: impl IntoIterator<Item = u64>) {
        let mut writer = EventWriter::create(directory, at(seconds)).unwrap();
        for step in steps {
            writer.scalar(tag, step as f64 / 8.0, step, at(seconds)).unwrap();
        }
        writer.flush().unwrap();
    }

    fn only_file(directory: &Path) -> PathBuf {
        let [file] = &event_files(directory).unwrap()[..] else { panic!("one file") };
        file.clone()
    }

    fn events(path: &Path) -> Vec<Event> {
        let mut records = Records::open(path).unwrap();
        let next = || records.next().unwrap().map(|record| parse(record).unwrap());
        std::iter::from_fn(next).collect()
    }

    fn append(path: &Path, bytes: &[u8]) {
        fs::write(path, [&fs::read(path).unwrap()[..], bytes].concat()).unwrap();
    }

    fn points(steps: impl IntoIterator<Item = u64>) -> Vec<Scalar> {
        let point = |step| Scalar { step, value: step as f64 / 8.0 };
        steps.into_iter().map(point).collect()
    }

    #[test]
    fn curves_are_read_in_the_order_of_their_steps() {
        let run = tempfile::tempdir().unwrap();
        let train = SubRun::Train.directory(run.path());
        write(&train, 20, LOSS, [3, 4]);
        write(&train, 10, LOSS, [1, 2]);
        write(&SubRun::Validation.directory(run.path()), 10, LOSS, [2]);
        let mut writer = EventWriter::create(&train, at(30)).unwrap();
        writer.scalar(LEARNING_RATE, f64::NAN, 1, at(30)).unwrap();
        writer.scalar(LEARNING_RATE, 0.25, 2, at(30)).unwrap();
        writer.flush().unwrap();
        append(&event_files(&train).unwrap()[0], &[9, 0, 0, 0, 0, 0, 0, 0, 1]);
        let [rate, loss, none] =
            scalars(run.path(), SubRun::Train, [LEARNING_RATE, LOSS, "none"]).unwrap();
        assert_eq!(loss, points(1..=4));
        assert_eq!(rate, [Scalar { step: 2, value: 0.25 }]);
        assert_eq!(none, []);
        let [loss] = scalars(run.path(), SubRun::Validation, [LOSS]).unwrap();
        assert_eq!(loss, points([2]));
    }

    #[test]
    fn curves_of_earlier_versions_are_read() {
        let run = tempfile::tempdir().unwrap();
        write(run.path(), 10, "loss/train", 1..=3);
        write(run.path(), 11, "train/learning_rate", 1..=3);
        write(run.path(), 12, "loss/validation", [3]);
        let tags = [LOSS, LEARNING_RATE];
        assert_eq!(
            scalars(run.path(), SubRun::Train, tags).unwrap(),
            [points(1..=3), points(1..=3)]
        );
        assert_eq!(
            scalars(run.path(), SubRun::Validation, tags).unwrap(),
            [points([3]), Vec::new()]
        );
        // Resumed by this version.
        truncate_to_step(run.path(), Some(2)).unwrap();
        write(&SubRun::Train.directory(run.path()), 20, LOSS, 3..=5);
        let [loss] = scalars(run.path(), SubRun::Train, [LOSS]).unwrap();
        assert_eq!(loss, points(1..=5));
    }

    #[test]
    fn event_files_of_sub_runs_belong_to_the_run() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(first_file(run.path()), None);
        fs::create_dir(run.path().join("best")).unwrap();
        write(&run.path().join("best"), 1, LOSS, []);
        assert_eq!(first_file(run.path()), None);
        write(&run.path().join("validation"), 1, LOSS, []);
        assert!(first_file(run.path()).is_some());
    }

    #[test]
    fn a_run_started_when_its_first_file_was_created() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(start_time(run.path()), None);
        for seconds in [1_795_287_000, 1_795_287_768, 1_795_288_000] {
            EventWriter::create(run.path(), at(seconds)).unwrap();
        }
        fs::write(run.path().join("events.out.tfevents.mine"), "").unwrap();
        assert_eq!(start_time(run.path()), Some(1_795_287_000));
    }

    #[test]
    fn steps_after_a_checkpoint_are_removed_from_all_sub_runs() {
        let run = tempfile::tempdir().unwrap();
        for directory in directories(run.path()) {
            write(&directory, 10, LOSS, 1..=5);
            let path = only_file(&directory);
            let complete = fs::read(&path).unwrap();
            append(&path, &[7, 0, 0]);
            truncate_to_step(run.path(), Some(3)).unwrap();
            let kept = fs::read(&path).unwrap();
            assert!(complete.starts_with(&kept));
            let steps: Vec<i64> = events(&path).iter().map(Event::get_step).collect();
            assert_eq!(steps, [0, 1, 2, 3]);
            truncate_to_step(run.path(), None).unwrap();
            assert_eq!(events(&path).len(), 1);
            assert_eq!(events(&path)[0].get_file_version(), "brain.Event:2");
        }
    }

    #[test]
    fn a_test_score_is_removed_before_it_is_written_again() {
        let run = tempfile::tempdir().unwrap();
        let directory = SubRun::Test.directory(run.path());
        for seconds in [10, 20] {
            write(&directory, seconds, LOSS, [30 + seconds]);
        }
        remove_test_scores(run.path(), 50).unwrap();
        let [curve] = scalars(run.path(), SubRun::Test, [LOSS]).unwrap();
        assert_eq!(curve.iter().map(|point| point.step).collect::<Vec<_>>(), [40]);
    }

    #[test]
    fn session_records_final_scores_and_the_configuration_are_removed() {
        let run = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(run.path(), at(10)).unwrap();
        let start = summaries::session_start([], 1.0);
        let end = summaries::session_end(RunStatus::Success, 2.0);
        let config = summaries::text(CONFIG, "", "train: {}");
        let predictions = summaries::text("predictions", "", "a text");
        for (summary, step) in [(start, 0), (config, 0), (predictions, 4), (end, 5)] {
            writer.summary(summary, step, at(10)).unwrap();
        }
        writer.scalar("best/test_loss", 0.5, 5, at(10)).unwrap();
        writer.flush().unwrap();
        truncate_to_step(run.path(), Some(5)).unwrap();
        let events = events(&only_file(run.path()));
        assert_eq!(events.iter().map(Event::get_step).collect::<Vec<_>>(), [0, 4]);
        assert_eq!(events[0].get_file_version(), "brain.Event:2");
        assert_eq!(events[1].get_summary().get_value()[0].get_tag(), "predictions");
    }
}
