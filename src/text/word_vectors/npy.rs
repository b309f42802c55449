//! Reads word vectors from a NumPy matrix, with the words in a text file in the same directory.
//!
//! The file format is described in
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>. The header is parsed here
//! because npyz takes exponential time for nested brackets, which a downloaded file may contain.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};

use super::collector::{VectorCollector, wrong_dimension};
use super::lines::Lines;
use crate::io::input::open_binary;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Maximum size of a header in bytes. NumPy writes 118 bytes for a matrix.
const MAX_HEADER_SIZE: u64 = 1 << 16;

/// Reads the matrix `path` and its word list into `collector`.
pub(super) fn read(path: &Path, collector: &mut VectorCollector) -> anyhow::Result<()> {
    let name = path.display();
    ensure!(
        path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")),
        "\"{name}\" is compressed; decompress the matrix first"
    );
    let mut reader = open_binary(path)?;
    let header = Header::read(&mut reader).map_err(|fault| anyhow!("{name}: {fault}"))?;
    let length = std::fs::metadata(path).with_context(|| format!("cannot read \"{name}\""))?.len();
    header.check(collector.size(), length).map_err(|fault| anyhow!("{name}: {fault}"))?;
    let mut words = Lines::open(&word_list(path)?)?;
    let mut bytes = vec![0; collector.size() * header.data_type.bytes()];
    let rows = header.rows;
    for row in 1..=rows {
        reader
            .read_exact(&mut bytes)
            .with_context(|| format!("cannot read row {row} of \"{name}\""))?;
        if !words.advance()? {
            let location = words.location();
            bail!("{location}: the list ends here, but \"{name}\" has {rows} rows");
        }
        if let Some(id) = collector.missing_id(words.line()) {
            let inserted = header.data_type.insert(collector, id, &bytes);
            inserted.map_err(|fault| anyhow!("{name}: row {row}: {fault}"))?;
        }
    }
    if words.advance()? {
        bail!("{}: the list continues, but \"{name}\" has only {rows} rows", words.location());
    }
    Ok(())
}

/// Reads a matrix with `size` columns, without a word list: [rows, size].
pub(super) fn read_matrix(path: &Path, size: usize) -> anyhow::Result<Vec<f32>> {
    let name = path.display();
    let mut reader = open_binary(path)?;
    let header = Header::read(&mut reader).map_err(|fault| anyhow!("{name}: {fault}"))?;
    let length = std::fs::metadata(path).with_context(|| format!("cannot read \"{name}\""))?.len();
    header.check(size, length).map_err(|fault| anyhow!("{name}: {fault}"))?;
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).with_context(|| format!("cannot read \"{name}\""))?;
    Ok(match header.data_type {
        DataType::Float32 => {
            let (values, _) = bytes.as_chunks::<4>();
            values.iter().map(|raw| f32::from_le_bytes(*raw)).collect()
        }
        DataType::Float64 => {
            let (values, _) = bytes.as_chunks::<8>();
            values.iter().map(|raw| f64::from_le_bytes(*raw) as f32).collect()
        }
    })
}

/// Returns the path of the word list of the matrix `path`.
fn word_list(path: &Path) -> anyhow::Result<PathBuf> {
    let candidates = ["txt", "txt.gz", "txt.zst"].map(|extension| path.with_extension(extension));
    match candidates.iter().find(|candidate| candidate.is_file()) {
        Some(path) => Ok(path.clone()),
        None => bail!(
            "cannot find the words of \"{}\": expected \"{}\" (or .txt.gz, .txt.zst) with one \
             word per line",
            path.display(),
            candidates[0].display()
        ),
    }
}

/// Data type of the matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
enum DataType {
    Float32,
    Float64,
}

impl DataType {
    fn parse(descr: &str) -> Result<Self, String> {
        match descr {
            "<f4" => Ok(Self::Float32),
            "<f8" => Ok(Self::Float64),
            _ => Err(format!(
                "expected the data type \"<f4\" or \"<f8\", found {descr:?}; convert the matrix with \
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

    /// Inserts the bytes of a row as the vector of `id`.
    fn insert(
        self,
        collector: &mut VectorCollector,
        id: usize,
        bytes: &[u8],
    ) -> Result<(), String> {
        match self {
            Self::Float32 => {
                let (singles, _) = bytes.as_chunks::<4>();
                collector.insert(id, singles.iter().map(|raw| Ok(f32::from_le_bytes(*raw))))
            }
            Self::Float64 => {
                let (doubles, _) = bytes.as_chunks::<8>();
                collector.insert(id, doubles.iter().map(|raw| Ok(f64::from_le_bytes(*raw) as f32)))
            }
        }
    }
}

/// Header of a .npy file.
#[derive(Debug, PartialEq)]
struct Header {
    data_type: DataType,
    rows: u64,
    columns: u64,
    /// Size of the header in bytes.
    offset: u64,
}

impl Header {
    fn read(reader: &mut dyn BufRead) -> Result<Self, String> {
        let mut start = [0; 8];
        read_exact(reader, &mut start)?;
        if !start.starts_with(MAGIC) {
            return Err("not a .npy file".into());
        }
        let (offset, length) = match start[6] {
            1 => (10, read_integer::<2>(reader)?),
            2 | 3 => (12, read_integer::<4>(reader)?),
            version => return Err(format!("expected .npy version 1, 2 or 3, found {version}")),
        };
        if length > MAX_HEADER_SIZE {
            return Err(format!(
                "expected a .npy header of at most {MAX_HEADER_SIZE} bytes, found {length}"
            ));
        }
        let mut text = vec![0; length as usize];
        read_exact(reader, &mut text)?;
        let text = std::str::from_utf8(&text).map_err(|_| "the .npy header is not valid UTF-8")?;
        Dictionary::parse(text)?.header(offset + length)
    }

    /// Checks that the matrix has `size` columns and the file has the expected length.
    fn check(&self, size: usize, length: u64) -> Result<(), String> {
        if self.columns != size as u64 {
            return Err(wrong_dimension(self.columns, size));
        }
        let row = self.columns.checked_mul(self.data_type.bytes() as u64);
        let matrix = row.and_then(|row| row.checked_mul(self.rows));
        match matrix.and_then(|matrix| matrix.checked_add(self.offset)) {
            Some(expected) if expected == length => Ok(()),
            Some(expected) => Err(format!(
                "expected {expected} bytes for {} rows of {size} values, found {length}; is the \
                 file truncated?",
                self.rows
            )),
            None => Err(format!("{} rows of {size} values do not fit in a file", self.rows)),
        }
    }
}

fn read_exact(reader: &mut dyn BufRead, bytes: &mut [u8]) -> Result<(), String> {
    reader.read_exact(bytes).map_err(|error| format!("cannot read the .npy header: {error}"))
}

fn read_integer<const BYTES: usize>(reader: &mut dyn BufRead) -> Result<u64, String> {
    let mut bytes = [0; BYTES];
    read_exact(reader, &mut bytes)?;
    Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// Python dictionary in a header.
#[derive(Default)]
struct Dictionary {
    descr: Option<String>,
    fortran_order: Option<bool>,
    shape: Option<Vec<u64>>,
}

impl Dictionary {
    fn parse(text: &str) -> Result<Self, String> {
        let mut cursor = Cursor { rest: text };
        let mut dictionary = Self::default();
        cursor.list('{', '}', |cursor| {
            let key = cursor.text()?;
            cursor.expect(':')?;
            match key {
                "descr" => dictionary.descr = Some(cursor.text()?.to_owned()),
                "fortran_order" => dictionary.fortran_order = Some(cursor.boolean()?),
                "shape" => dictionary.shape = Some(cursor.shape()?),
                _ => return Err(format!("unknown key {key:?} in the .npy header")),
            }
            Ok(())
        })?;
        match cursor.rest.trim_start() {
            "" => Ok(dictionary),
            _ => Err(cursor.fault("the end of the header")),
        }
    }

    fn header(self, offset: u64) -> Result<Header, String> {
        let missing = |key: &str| format!("the .npy header has no \"{key}\"");
        let data_type = DataType::parse(&self.descr.ok_or_else(|| missing("descr"))?)?;
        if self.fortran_order.ok_or_else(|| missing("fortran_order"))? {
            return Err("expected a matrix in C order, found Fortran order; convert it with \
                        numpy.ascontiguousarray"
                .into());
        }
        match self.shape.ok_or_else(|| missing("shape"))?[..] {
            [rows, columns] => Ok(Header { data_type, rows, columns, offset }),
            ref shape => {
                Err(format!("expected a matrix [words, dimension], found shape {shape:?}"))
            }
        }
    }
}

/// Parser for the Python literals of a header.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    /// Skips white space, and `mark` if it follows. Returns true if it did follow.
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
        let rest: String = self.rest.trim_start().chars().take(20).collect();
        format!("expected {expected} in the .npy header, found {rest:?}")
    }

    /// Parses items between `open` and `close`, separated by commas. A trailing comma is allowed.
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
        text.ok_or_else(|| self.fault("a quoted string"))
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
            shape.push(rest[..end].parse().map_err(|_| cursor.fault("an integer"))?);
            cursor.rest = &rest[end..];
            Ok(())
        })?;
        Ok(shape)
    }
}
