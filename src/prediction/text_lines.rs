//! Lines of a file, a pipe or stdin, as they arrive.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::Context;

use crate::io::input::{
    Decoding, Survey, TextReader, advice, conversion, open_stream, without_line_ending,
};
use crate::io::spool::is_stdin;
use crate::output::note;
use crate::system::threads;

/// Number of bytes that are read ahead, and maximum size of a batch. A single longer line is read too.
const MAX_BYTES: usize = 32 << 20;

/// Lines that another thread reads ahead.
pub struct TextLines {
    name: String,
    lines: Receiver<io::Result<Line>>,
    ahead: Arc<Ahead>,
    /// Number of lines that were returned.
    count: usize,
    invalid: usize,
    /// The lines need not be waited for.
    is_regular: bool,
    /// A line that did not fit in the previous batch.
    left: Option<io::Result<Line>>,
}

struct Line {
    text: String,
    /// Advice on a line that is not valid UTF-8, empty unless it is the first one.
    invalid: Option<String>,
}

impl TextLines {
    /// Opens a file or a pipe, or stdin for `-`, and starts to read it, at most `ahead` lines and a
    /// bounded number of bytes in advance.
    ///
    /// # Errors
    /// Returns an error if it cannot be opened or decoded.
    pub fn open(path: &Path, decoding: Decoding, ahead: usize) -> anyhow::Result<Self> {
        let file = (!is_stdin(path)).then(|| path.to_owned());
        Self::spawn(file, open_stream(path, decoding)?, decoding, ahead)
    }

    fn spawn(
        path: Option<PathBuf>,
        mut source: TextReader,
        decoding: Decoding,
        lines_ahead: usize,
    ) -> anyhow::Result<Self> {
        let name = path.as_ref().map_or("stdin".into(), |path| path.display().to_string());
        let (sender, lines) = sync_channel(lines_ahead);
        let is_regular = path.as_ref().is_some_and(|path| path.is_file());
        let ahead = Arc::new(Ahead::default());
        let (counter, file) = (ahead.clone(), path);
        threads::spawn("read", move || {
            let mut survey = Some(Survey::default());
            let mut next = || read_line(&mut source, file.as_deref(), decoding, &mut survey);
            while let Some(line) = next().transpose() {
                let failed = line.is_err();
                counter.add(line.as_ref().map_or(0, |line| line.text.len()));
                if sender.send(line).is_err() || failed {
                    return;
                }
            }
        })?;
        Ok(Self { name, lines, ahead, count: 0, invalid: 0, is_regular, left: None })
    }

    /// Number of lines that were returned.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Waits for a line, then takes all that are already available, up to `limit`; of a regular file, takes
    /// `limit` lines if it has as many. Returns `None` at the end.
    ///
    /// # Errors
    /// Returns an error if a line cannot be read or is too long.
    pub fn next_batch(&mut self, limit: usize) -> anyhow::Result<Option<Vec<String>>> {
        let Some(first) = self.left.take().or_else(|| self.lines.recv().ok()) else {
            return Ok(None);
        };
        let (mut texts, mut bytes, mut next) = (Vec::new(), 0, Some(first));
        while let Some(line) = next {
            let length = line.as_ref().map_or(0, |line| line.text.len());
            // An error waits until the lines before it have been returned.
            let ends = line.is_err() || bytes + length > MAX_BYTES;
            if ends && !texts.is_empty() {
                self.left = Some(line);
                break;
            }
            let line = line.with_context(|| format!("cannot read {}", self.name))?;
            self.ahead.remove(length);
            bytes += length;
            self.count += 1;
            if let Some(advice) = line.invalid {
                self.invalid += 1;
                if self.invalid == 1 {
                    note(format!(
                        "{}:{}: the line is not valid UTF-8; bytes that cannot be read become \u{FFFD}; {advice}",
                        self.name, self.count
                    ));
                }
            }
            texts.push(line.text);
            next = match texts.len() < limit {
                true if self.is_regular => self.lines.recv().ok(),
                true => self.lines.try_recv().ok(),
                false => None,
            };
        }
        Ok(Some(texts))
    }

    /// Number of lines so far that are not valid UTF-8.
    pub fn invalid(&self) -> usize {
        self.invalid
    }
}

/// Reads a line of the file at `path`, or of stdin. Invalid UTF-8 becomes replacement characters, so that
/// every line gets a prediction. `survey` has the lines before the first invalid one.
fn read_line(
    source: &mut TextReader,
    path: Option<&Path>,
    decoding: Decoding,
    survey: &mut Option<Survey>,
) -> io::Result<Option<Line>> {
    let mut bytes = Vec::new();
    if source.read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    bytes.truncate(without_line_ending(&bytes).len());
    if let Some(survey) = survey {
        survey.add(&bytes);
    }
    Ok(Some(match String::from_utf8(bytes) {
        Ok(text) => Line { text, invalid: None },
        Err(error) => {
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let advice = survey.take().map_or(String::new(), |survey| match path {
                // The lines to come tell more.
                Some(path) if path.is_file() => conversion(Some(path), decoding),
                _ => advice(&survey, path, decoding),
            });
            Line { text, invalid: Some(advice) }
        }
    }))
}

/// Bytes that were read ahead.
#[derive(Default)]
struct Ahead {
    bytes: Mutex<usize>,
    removed: Condvar,
}

impl Ahead {
    /// Adds `bytes` as soon as there is room for them.
    fn add(&self, bytes: usize) {
        let is_full = |ahead: &mut usize| *ahead > 0 && *ahead + bytes > MAX_BYTES;
        let waited = self.removed.wait_while(self.lock(), is_full);
        *waited.unwrap_or_else(PoisonError::into_inner) += bytes;
    }

    fn remove(&self, bytes: usize) {
        *self.lock() -= bytes;
        self.removed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn lines(content: Vec<u8>, limit: usize) -> Vec<Vec<String>> {
        let mut lines =
            TextLines::spawn(None, Box::new(Cursor::new(content)), Decoding::AUTO, 4).unwrap();
        std::iter::from_fn(|| lines.next_batch(limit).unwrap()).collect()
    }

    #[test]
    fn lines_are_returned_in_order() {
        let content: String = (0..100).map(|number| format!("{number}\r\n")).collect();
        let batches = lines(content.into_bytes(), 3);
        assert!(batches.iter().all(|batch| (1..=3).contains(&batch.len())));
        let expected: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        assert_eq!(batches.concat(), expected);
    }

    #[test]
    fn batches_of_long_lines_are_bounded() {
        let line = vec![b'a'; MAX_BYTES / 2 + 1];
        let content = [&line[..], b"\n"].concat().repeat(3);
        let batches = lines(content, 100);
        assert_eq!(batches.len(), 3);
    }
}
