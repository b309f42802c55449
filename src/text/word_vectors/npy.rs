//! Word vectors as a NumPy matrix, with the words in a text file beside it.
//!
//! The format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};

use super::collector::{VectorCollector, wrong_dimension};
use super::lines::Lines;
use crate::io::input::open;

const MAGIC: &[u8] = b"\x93NUMPY";

/// The bytes of a longest header that is read; NumPy's own take 118 for a matrix.
const LONGEST_HEADER: u64 = 1 << 16;

/// Reads `path`, and the words beside it, into `rows`.
pub(super) fn read(path: &Path, rows: &mut VectorCollector) -> anyhow::Result<()> {
    let name = format!("\"{}\"", path.display());
    ensure!(
        path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")),
        "{name} is compressed; decompress the matrix first"
    );
    let mut reader = open(path)?;
    let header = Header::read(&mut reader).map_err(|fault| anyhow!("{name}: {fault}"))?;
    let length = std::fs::metadata(path).with_context(|| format!("cannot read {name}"))?.len();
    header.check(rows.size(), length).map_err(|fault| anyhow!("{name}: {fault}"))?;
    let mut words = Lines::open(&word_list(path)?)?;
    let mut bytes = vec![0; rows.size() * header.number.bytes()];
    for row in 1..=header.rows {
        reader
            .read_exact(&mut bytes)
            .with_context(|| format!("cannot read row {row} of {name}"))?;
        if !words.advance()? {
            bail!("{}, but it ends here", must_match(&words, &name, header.rows));
        }
        if let Some(id) = rows.wanted(words.line()) {
            let taken = header.number.take(rows, id, &bytes);
            taken.map_err(|fault| anyhow!("{name}: row {row}: {fault}"))?;
        }
    }
    if words.advance()? {
        bail!("{}, but it goes on", must_match(&words, &name, header.rows));
    }
    Ok(())
}

fn must_match(words: &Lines, name: &str, rows: u64) -> String {
    let place = words.place();
    format!("{place}expected {rows} words, as many as {name} has rows")
}

/// The list of words that belongs to the matrix `path`.
fn word_list(path: &Path) -> anyhow::Result<PathBuf> {
    let candidates = ["txt", "txt.gz", "txt.zst"].map(|extension| path.with_extension(extension));
    match candidates.iter().find(|candidate| candidate.is_file()) {
        Some(found) => Ok(found.clone()),
        None => bail!(
            "expected the words of \"{}\" in \"{}\" (or .txt.gz, .txt.zst), one on each line; \
             there is no such file",
            path.display(),
            candidates[0].display()
        ),
    }
}

/// How a number is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Float32,
    Float64,
}

impl Number {
    fn of(descr: &str) -> Result<Self, String> {
        match descr {
            "<f4" => Ok(Self::Float32),
            "<f8" => Ok(Self::Float64),
            _ => Err(format!(
                "expected numbers of type \"<f4\" or \"<f8\", found {descr:?}; save it anew with \
                 astype(\"<f4\")"
            )),
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }

    /// Hands the row of a matrix on as the vector of `id`.
    fn take(self, rows: &mut VectorCollector, id: usize, bytes: &[u8]) -> Result<(), String> {
        match self {
            Self::Float32 => {
                let (singles, _) = bytes.as_chunks::<4>();
                rows.take(id, singles.iter().map(|raw| Ok(f32::from_le_bytes(*raw))))
            }
            Self::Float64 => {
                let (doubles, _) = bytes.as_chunks::<8>();
                rows.take(id, doubles.iter().map(|raw| Ok(f64::from_le_bytes(*raw) as f32)))
            }
        }
    }
}

/// What a .npy file begins with.
#[derive(Debug, PartialEq)]
struct Header {
    number: Number,
    rows: u64,
    columns: u64,
    /// The bytes of the header itself.
    offset: u64,
}

impl Header {
    fn read(reader: &mut dyn BufRead) -> Result<Self, String> {
        let mut start = [0; 8];
        read_exact(reader, &mut start)?;
        if !start.starts_with(MAGIC) {
            return Err("expected a .npy file, found another beginning".into());
        }
        let (offset, length) = match start[6] {
            1 => (10, read_number::<2>(reader)?),
            2 | 3 => (12, read_number::<4>(reader)?),
            version => return Err(format!("expected .npy version 1, 2 or 3, found {version}")),
        };
        if length > LONGEST_HEADER {
            return Err(format!(
                "expected a .npy header of at most {LONGEST_HEADER} bytes, found {length}"
            ));
        }
        let mut text = vec![0; length as usize];
        read_exact(reader, &mut text)?;
        let text = std::str::from_utf8(&text).map_err(|_| "the .npy header is no text")?;
        Dictionary::parse(text)?.header(offset + length)
    }

    /// Whether the matrix has `size` columns, and the file the bytes it should have.
    fn check(&self, size: usize, length: u64) -> Result<(), String> {
        if self.columns != size as u64 {
            return Err(wrong_dimension(self.columns, size));
        }
        let row = self.columns.checked_mul(self.number.bytes() as u64);
        let matrix = row.and_then(|row| row.checked_mul(self.rows));
        match matrix.and_then(|matrix| matrix.checked_add(self.offset)) {
            Some(expected) if expected == length => Ok(()),
            Some(expected) => Err(format!(
                "expected {expected} bytes for {} rows of {size}, found {length}; is the file cut \
                 off?",
                self.rows
            )),
            None => Err(format!("{} rows of {size} are more than any file holds", self.rows)),
        }
    }
}

fn read_exact(reader: &mut dyn BufRead, bytes: &mut [u8]) -> Result<(), String> {
    reader.read_exact(bytes).map_err(|error| format!("cannot read the .npy header: {error}"))
}

fn read_number<const BYTES: usize>(reader: &mut dyn BufRead) -> Result<u64, String> {
    let mut bytes = [0; BYTES];
    read_exact(reader, &mut bytes)?;
    Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// The Python dictionary in a header.
#[derive(Default)]
struct Dictionary {
    descr: Option<String>,
    fortran_order: Option<bool>,
    shape: Option<Vec<u64>>,
}

impl Dictionary {
    fn parse(text: &str) -> Result<Self, String> {
        let mut cursor = Cursor { rest: text };
        let mut found = Self::default();
        cursor.list('{', '}', |cursor| {
            let key = cursor.text()?;
            cursor.expect(':')?;
            match key {
                "descr" => found.descr = Some(cursor.text()?.to_owned()),
                "fortran_order" => found.fortran_order = Some(cursor.boolean()?),
                "shape" => found.shape = Some(cursor.shape()?),
                _ => return Err(format!("unknown key {key:?} in the .npy header")),
            }
            Ok(())
        })?;
        match cursor.rest.trim_start() {
            "" => Ok(found),
            _ => Err(cursor.fault("the end of the header")),
        }
    }

    fn header(self, offset: u64) -> Result<Header, String> {
        let missing = |key: &str| format!("the .npy header has no \"{key}\"");
        let number = Number::of(&self.descr.ok_or_else(|| missing("descr"))?)?;
        if self.fortran_order.ok_or_else(|| missing("fortran_order"))? {
            return Err("expected a matrix in C order, found Fortran's; save it anew with \
                        numpy.ascontiguousarray"
                .into());
        }
        match self.shape.ok_or_else(|| missing("shape"))?[..] {
            [rows, columns] => Ok(Header { number, rows, columns, offset }),
            ref shape => Err(format!("expected a matrix [words, numbers], found shape {shape:?}")),
        }
    }
}

/// Reads the few Python literals that a header may hold.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn eat(&mut self, mark: char) -> bool {
        self.rest = self.rest.trim_start();
        let tail = self.rest.strip_prefix(mark);
        self.rest = tail.unwrap_or(self.rest);
        tail.is_some()
    }

    fn expect(&mut self, mark: char) -> Result<(), String> {
        self.eat(mark).then_some(()).ok_or_else(|| self.fault(&format!("'{mark}'")))
    }

    fn fault(&self, expected: &str) -> String {
        let found: String = self.rest.trim_start().chars().take(20).collect();
        format!("expected {expected} in the .npy header, found {found:?}")
    }

    /// What stands between `open` and `close`, with commas between and perhaps at the end.
    fn list(
        &mut self,
        open: char,
        close: char,
        mut item: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        self.expect(open)?;
        while !self.eat(close) {
            item(self)?;
            if !self.eat(',') {
                return self.expect(close);
            }
        }
        Ok(())
    }

    fn text(&mut self) -> Result<&'a str, String> {
        let rest = self.rest.trim_start();
        let text = rest.chars().next().filter(|quote| "'\"".contains(*quote)).and_then(|quote| {
            let (text, tail) = rest[1..].split_once(quote)?;
            self.rest = tail;
            Some(text)
        });
        text.ok_or_else(|| self.fault("a text in quotes"))
    }

    fn boolean(&mut self) -> Result<bool, String> {
        let rest = self.rest.trim_start();
        for (name, value) in [("True", true), ("False", false)] {
            if let Some(tail) = rest.strip_prefix(name) {
                self.rest = tail;
                return Ok(value);
            }
        }
        Err(self.fault("True or False"))
    }

    fn shape(&mut self) -> Result<Vec<u64>, String> {
        let mut shape = Vec::new();
        self.list('(', ')', |cursor| {
            let rest = cursor.rest.trim_start();
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            shape.push(rest[..end].parse().map_err(|_| cursor.fault("a count"))?);
            cursor.rest = &rest[end..];
            Ok(())
        })?;
        Ok(shape)
    }
}
