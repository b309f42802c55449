//! Opens plain and compressed text files, pipes and stdin, and decodes them. All inputs with texts are
//! read through this module, so that the same bytes are the same text everywhere.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};
use std::path::Path;

use anyhow::{Context, bail, ensure};

pub use super::decoding::{Decoding, TextEncoding};
use super::encoding::MARKS;
pub use super::encoding::{Survey, wide_encoding};
use super::files;
use super::limits::LimitedReader;
pub use super::limits::{Limit, Limits, MAX_LINE_MB, MB};
use super::spool::{copied_file, is_spooled, is_stdin, open_copy};
use crate::output::shell::quoted_path;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// First bytes of compressed files. No UTF-8 text begins with them.
const GZIP: &[u8] = b"\x1F\x8B";
const ZSTD: &[u8] = b"\x28\xB5\x2F\xFD";

/// A stream of UTF-8 text, as far as its bytes are valid.
pub type TextReader = Box<dyn BufRead + Send>;

/// Opens `path`, or the copy of a stream with this name, for reading. Decompresses gzip and Zstandard, and
/// decodes it as its byte order mark says.
///
/// # Errors
/// Returns an error if the path cannot be read or is not a regular file, and for UTF-16 without a byte
/// order mark and UTF-32.
pub fn open(path: &Path) -> anyhow::Result<TextReader> {
    open_limited(path, Limits::NONE, Decoding::AUTO)
}

/// Opens a file of binary data, and decompresses gzip and Zstandard.
///
/// # Errors
/// Returns an error if the path cannot be read or is not a regular file.
pub fn open_binary(path: &Path) -> anyhow::Result<impl BufRead + use<>> {
    let file = files::open(path).with_context(|| format!("cannot open \"{}\"", path.display()))?;
    let (reader, _) = decompress(Box::new(file), Some(path), Limit::NONE)?;
    Ok(BufReader::with_capacity(1 << 16, reader))
}

/// Opens `path` like [`open`], in any encoding. Reading fails as soon as the file exceeds a limit. Bytes
/// that cannot be decoded are no valid UTF-8 either.
///
/// # Errors
/// See [`open`].
pub fn open_limited(path: &Path, limits: Limits, decoding: Decoding) -> anyhow::Result<TextReader> {
    if let Some(copy) = open_copy(path) {
        return decode(Box::new(copy), Some(path), limits, decoding);
    }
    let file = files::open(path).with_context(|| format!("cannot open \"{}\"", path.display()))?;
    decode(Box::new(file), Some(path), limits, decoding)
}

/// Opens `path`, or the copy of a stream with this name, as a file that is read in any order.
///
/// # Errors
/// Returns an error if the path cannot be read or is not a regular file.
pub fn open_file(path: &Path) -> anyhow::Result<File> {
    let file = copied_file(path).unwrap_or_else(|| files::open(path));
    file.with_context(|| format!("cannot open \"{}\"", path.display()))
}

/// Opens `path`, which may be a pipe or a device, or `-` for stdin, like [`open_limited`]. Reading fails at
/// a line of more than [`MAX_LINE_MB`].
///
/// # Errors
/// Returns an error if the path cannot be read or is a directory, and the errors of decoding of [`open`].
pub fn open_stream(path: &Path, decoding: Decoding) -> anyhow::Result<TextReader> {
    if is_stdin(path) {
        return decode(Box::new(io::stdin()), None, Limits::LINES, decoding);
    }
    let name = format!("\"{}\"", path.display());
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    ensure!(!path.is_dir(), "{name} is a directory, expected a file");
    decode(Box::new(file), Some(path), Limits::LINES, decoding)
}

/// Reads the text of a regular file that has at most `max_bytes`.
///
/// # Errors
/// Returns the errors of [`open`], and an error if the file is larger or not valid UTF-8.
pub fn read_text(path: &Path, max_bytes: u64) -> anyhow::Result<String> {
    let name = path.display();
    let mut bytes = Vec::new();
    open(path)?
        .take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read \"{name}\""))?;
    let limit = Limit { bytes: max_bytes, field: None };
    ensure!(bytes.len() as u64 <= max_bytes, limit.exceeded(&format!("\"{name}\"")));
    let text = String::from_utf8(bytes);
    let advice = || conversion(Some(path), Decoding::AUTO);
    text.map_err(|_| anyhow::anyhow!("\"{name}\" is not valid UTF-8; {}", advice()))
}

/// Decompresses `source`, which is the file at `path`, or stdin.
fn decompress(
    mut source: Box<dyn Read + Send>,
    path: Option<&Path>,
    unpacked: Limit,
) -> anyhow::Result<(impl Read + Send + use<>, Option<Compression>)> {
    let name = path.map_or("stdin".into(), |path| format!("\"{}\"", path.display()));
    let start = read_start(&mut source, &[GZIP, ZSTD]);
    let start = start.with_context(|| format!("cannot read {name}"))?;
    let compression = path.and_then(compression).or_else(|| Compression::of_content(&start));
    let packed = Cursor::new(start).chain(source);
    let plain: Box<dyn Read + Send> = match compression {
        Some(Compression::Gzip) => {
            Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(packed)))
        }
        Some(Compression::Zstd) => Box::new(
            zstd::stream::read::Decoder::new(packed)
                .with_context(|| format!("cannot decompress {name}"))?,
        ),
        None => Box::new(packed),
    };
    let limits = match compression {
        Some(_) => Limits { unpacked, ..Limits::NONE },
        None => Limits::NONE,
    };
    Ok((LimitedReader::new(plain, limits), compression))
}

/// Decompresses and decodes `source`, which is the file at `path`, or stdin.
fn decode(
    source: Box<dyn Read + Send>,
    path: Option<&Path>,
    limits: Limits,
    decoding: Decoding,
) -> anyhow::Result<TextReader> {
    let name = path.map_or("stdin".into(), |path| format!("\"{}\"", path.display()));
    let unreadable = || format!("cannot read {name}");
    let (mut plain, compression) = decompress(source, path, limits.unpacked)?;
    let mut marks = MARKS.map(|(mark, _)| mark).to_vec();
    marks.push(BYTE_ORDER_MARK);
    let start = read_start(&mut plain, &marks).with_context(unreadable)?;
    let (conversion, mark) = decoding.encoding.of_text(&start);
    match wide_encoding(&start) {
        Some(encoding) if encoding.starts_with("UTF-32") => {
            let command = conversion_command(encoding, path, compression);
            bail!("{name} is {encoding}, which is not supported; convert it with {command}");
        }
        Some(encoding) if conversion.is_none() => {
            let command = conversion_command(encoding, path, compression);
            let advice = match decoding.setting {
                Some(setting) => format!("{setting}{}", encoding.to_lowercase()),
                None => format!("convert it with {command}"),
            };
            bail!("{name} is {encoding} without a byte order mark, expected UTF-8; {advice}");
        }
        _ => {}
    }
    let mut start = Cursor::new(start);
    start.set_position(mark as u64);
    let plain = start.chain(plain);
    let text: Box<dyn Read + Send> = match conversion {
        Some(conversion) => Box::new(conversion.reader(plain)),
        None => Box::new(plain),
    };
    let limited = LimitedReader::new(text, Limits { unpacked: Limit::NONE, ..limits });
    Ok(Box::new(BufReader::with_capacity(1 << 16, limited)))
}

/// Returns advice on the file at `path`, or on a stream, which is not valid in its encoding. The file is
/// read to learn whether only a few bytes are invalid.
pub fn conversion(path: Option<&Path>, decoding: Decoding) -> String {
    if !decoding.encoding.is_auto() {
        return "check the encoding that was given".to_owned();
    }
    const MAX_BYTES: u64 = 1 << 30;
    let survey = path.and_then(|path| survey(path, MAX_BYTES).ok()).unwrap_or_default();
    advice(&survey, path, decoding)
}

/// Returns advice on a stream that begins with these lines, of which the last is not valid UTF-8.
pub fn advice(survey: &Survey, path: Option<&Path>, decoding: Decoding) -> String {
    let compression = path.and_then(compression);
    let subject = if path.is_some() { "the file" } else { "it" };
    let encoding = survey.encoding();
    let setting = decoding.setting.filter(|_| TextEncoding::named(&encoding).is_some());
    match (survey.damage(), setting) {
        (Some(damage), _) => {
            let command = iconv("iconv -c -f UTF-8 -t UTF-8", path, compression);
            format!("{damage}; correct {subject}, or drop such bytes with {command}")
        }
        (None, Some(setting)) => {
            format!("it is most likely {encoding}: {setting}{}", encoding.to_lowercase())
        }
        (None, None) => {
            let command = conversion_command(&encoding, path, compression);
            format!("convert {subject}, e.g. with {command}")
        }
    }
}

/// Number of bytes at the start of a file from which its encoding is detected.
const DETECTION_BYTES: u64 = 64 << 20;

/// Detects the encoding of the file at `path`, which is to be read together with files in the encoding `usual`:
/// UTF-8 if its start is that, up to damaged bytes, otherwise the usual one or, if that is auto, the one that it most likely has. A
/// file that cannot be read has the usual one.
pub fn detect_encoding(path: &Path, usual: TextEncoding) -> TextEncoding {
    match start_of(path) {
        Ok(Start::Ascii) | Err(_) => return usual,
        Ok(Start::Utf8) => return TextEncoding::AUTO,
        Ok(Start::Other) => {}
    }
    match survey(path, DETECTION_BYTES) {
        Ok(survey) if survey.damage().is_some() => TextEncoding::AUTO,
        Ok(survey) if usual.is_auto() => survey.other_encoding().unwrap_or(usual),
        _ => usual,
    }
}

/// Characters at the start of a file.
enum Start {
    Ascii,
    Utf8,
    Other,
}

/// Reads the start of the file at `path`. Unlike a survey, this takes hardly any time.
fn start_of(path: &Path) -> anyhow::Result<Start> {
    let mut reader = open_limited(path, Limits::LINES, Decoding::AUTO)?.take(DETECTION_BYTES);
    let (mut is_ascii, mut line) = (true, Vec::new());
    while reader.read_until(b'\n', &mut line)? > 0 {
        is_ascii &= line.is_ascii();
        if !is_ascii && std::str::from_utf8(&line).is_err() {
            // The last line may end within a character.
            let is_cut = reader.limit() == 0 && !line.ends_with(b"\n");
            return Ok(if is_cut { Start::Utf8 } else { Start::Other });
        }
        line.clear();
    }
    Ok(if is_ascii { Start::Ascii } else { Start::Utf8 })
}

/// Surveys the lines at the start of the file at `path`.
fn survey(path: &Path, max_bytes: u64) -> anyhow::Result<Survey> {
    let mut reader = open_limited(path, Limits::LINES, Decoding::AUTO)?.take(max_bytes);
    let (mut survey, mut line) = (Survey::default(), Vec::new());
    while reader.read_until(b'\n', &mut line)? > 0 {
        if reader.limit() == 0 && !line.ends_with(b"\n") {
            // It may end within a character.
            break;
        }
        survey.add(&line);
        line.clear();
    }
    Ok(survey)
}

/// Returns a command that converts the file at `path` from this encoding to UTF-8.
fn conversion_command(
    encoding: &str,
    path: Option<&Path>,
    compression: Option<Compression>,
) -> String {
    iconv(&format!("iconv -f {encoding} -t UTF-8"), path, compression)
}

/// Adds to the command `iconv` the file at `path` and a new one, which has the same extension. Without a
/// single file, the command reads stdin.
fn iconv(iconv: &str, path: Option<&Path>, compression: Option<Compression>) -> String {
    let is_file = |path: &&Path| path.is_file() && !is_spooled(path);
    let Some(path) = path.filter(is_file) else { return iconv.to_owned() };
    let plain = if is_compressed(path) { path.with_extension("") } else { path.to_owned() };
    let mut extension = OsString::from("utf8");
    if let Some(old) = plain.extension() {
        extension.push(".");
        extension.push(old);
    }
    let (old, new) = (quoted_path(path), quoted_path(&plain.with_extension(extension)));
    match compression {
        None => format!("{iconv} {old} > {new}"),
        Some(Compression::Gzip) => format!("gzip -dc < {old} | {iconv} > {new}"),
        Some(Compression::Zstd) => format!("zstd -dc < {old} | {iconv} > {new}"),
    }
}

/// Reads the first bytes of `source`: all that are available, and more as long as they are the beginning
/// of a signature. A terminal or pipe is thus not asked for more than it has.
fn read_start(source: &mut impl Read, signatures: &[&[u8]]) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    let mut buffer = [0; 4096];
    let undecided = |start: &[u8]| {
        signatures.iter().any(|each| each.len() > start.len() && each.starts_with(start))
    };
    while undecided(&start) {
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => start.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(start)
}

fn extension(path: &Path) -> Option<String> {
    path.extension().map(|extension| extension.to_string_lossy().to_lowercase())
}

/// Format of a compressed file.
#[derive(Clone, Copy)]
enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    /// Returns the format of a file that begins with `start`.
    fn of_content(start: &[u8]) -> Option<Self> {
        match start {
            _ if start.starts_with(GZIP) => Some(Self::Gzip),
            _ if start.starts_with(ZSTD) => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Returns true if the extension of `path` is that of a compressed file.
pub fn is_compressed(path: &Path) -> bool {
    compression(path).is_some()
}

fn compression(path: &Path) -> Option<Compression> {
    match extension(path)?.as_str() {
        "gz" => Some(Compression::Gzip),
        "zst" => Some(Compression::Zstd),
        _ => None,
    }
}

/// Returns the extension of `path` in lower case, ignoring a final .gz or .zst.
pub fn inner_extension(path: &Path) -> Option<String> {
    match is_compressed(path) {
        true => extension(&path.with_extension("")),
        false => extension(path),
    }
}

/// Returns the context of an error of reading a file of which `lines` lines have been read.
pub fn unreadable(path: &Path, lines: u64) -> String {
    let read = if lines > 0 { format!(" after line {lines}") } else { String::new() };
    format!("cannot read \"{}\"{read}", path.display())
}

/// Returns a line without its ending, LF or CRLF.
pub fn without_line_ending(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    fn decoded(bytes: &[u8]) -> Result<String, String> {
        let source = Box::new(Cursor::new(bytes.to_vec()));
        let mut reader = decode(source, None, Limits::LINES, Decoding::AUTO)
            .map_err(|error| error.to_string())?;
        let mut text = String::new();
        reader.read_to_string(&mut text).map_err(|error| error.to_string())?;
        Ok(text)
    }

    #[test]
    fn text_is_recognized_by_its_first_bytes() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gzip, b"\xEF\xBB\xBFtext").unwrap();
        for bytes in [
            &b"text"[..],
            b"\xEF\xBB\xBFtext",
            &gzip.finish().unwrap(),
            &zstd::encode_all(&b"text"[..], 1).unwrap(),
        ] {
            assert_eq!(decoded(bytes).unwrap(), "text");
        }
        for bytes in [&b""[..], b"(", b"a\0b", &[0; 64]] {
            assert_eq!(decoded(bytes).unwrap().as_bytes(), bytes);
        }
    }

    #[test]
    fn utf16_needs_a_byte_order_mark_or_a_setting() {
        let units = |size: usize, position: usize| -> Vec<u8> {
            let unit = |byte: &u8| {
                let mut unit = vec![0; size];
                unit[position] = *byte;
                unit
            };
            b"a film\n".iter().flat_map(unit).collect()
        };
        for (mark, size, position, encoding) in [
            (&b"\xFF\xFE\0\0"[..], 4, 0, "UTF-32, which is not supported"),
            (b"\0\0\xFE\xFF", 4, 3, "UTF-32, which is not supported"),
            (b"", 2, 0, "UTF-16LE without a byte order mark, expected UTF-8"),
            (b"", 2, 1, "UTF-16BE without a byte order mark, expected UTF-8"),
            (b"", 4, 0, "UTF-32LE, which is not supported"),
            (b"", 4, 3, "UTF-32BE, which is not supported"),
        ] {
            let fault = decoded(&[mark, &units(size, position)].concat()).unwrap_err();
            let advice = format!("stdin is {encoding}; convert it with iconv");
            assert!(fault.starts_with(&advice), "{fault}");
        }
        for (mark, position, name) in [
            (&b"\xFF\xFE"[..], 0, "auto"),
            (b"\xFE\xFF", 1, "auto"),
            (b"", 0, "utf-16le"),
            (b"", 1, "utf-16be"),
        ] {
            let encoding = TextEncoding::named(name).unwrap();
            let decoding = Decoding { encoding, setting: None };
            let source = Cursor::new([mark, &units(2, position)].concat());
            let mut reader = decode(Box::new(source), None, Limits::LINES, decoding).unwrap();
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, "a film\n");
        }
    }

    #[test]
    fn the_advice_is_a_command_that_converts_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let gzip = |bytes: &[u8]| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            io::Write::write_all(&mut encoder, bytes).unwrap();
            encoder.finish().unwrap()
        };
        let text = b"tr\xE8s bon\n";
        for (name, converted, content) in [
            ("a.csv", "a.utf8.csv", text.to_vec()),
            ("-it's \"new\" $1", "-it's \"new\" $1.utf8", text.to_vec()),
            ("b.tsv.gz", "b.utf8.tsv", gzip(text)),
        ] {
            fs::write(directory.path().join(name), content).unwrap();
            let advice = conversion(Some(&directory.path().join(name)), Decoding::AUTO);
            let command = advice.strip_prefix("convert the file, e.g. with ").unwrap();
            let status = std::process::Command::new("bash").args(["-c", command]).status();
            assert!(status.unwrap().success(), "{command}");
            let path = directory.path().join(converted);
            assert_eq!(fs::read_to_string(path).unwrap(), "très bon\n", "{command}");
        }
        let general = "iconv -f WINDOWS-1252 -t UTF-8";
        assert_eq!(conversion(None, Decoding::AUTO), format!("convert it, e.g. with {general}"));
        assert!(conversion(Some(directory.path()), Decoding::AUTO).ends_with(general));
    }

    #[test]
    fn the_advice_on_a_file_with_a_bad_byte_drops_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.csv");
        fs::write(&path, b"d\xC3\xA9\xC3\xA7u\ncaf\xE9!\n").unwrap();
        let advice = conversion(Some(&path), Decoding::AUTO);
        let damage =
            "byte 4 of line 2 is 0xE9, but the text is otherwise UTF-8; correct the file, or ";
        assert!(advice.starts_with(damage), "{advice}");
        let (_, command) = advice.split_once("drop such bytes with ").unwrap();
        // The exit status of iconv -c differs between versions.
        std::process::Command::new("bash").args(["-c", command]).status().unwrap();
        let text = fs::read_to_string(directory.path().join("a.utf8.csv")).unwrap();
        assert_eq!(text, "déçu\ncaf!\n");
    }

    /// A pipe, whose writer decides how many bytes are available.
    struct Pipe(Receiver<Vec<u8>>);

    impl Pipe {
        fn new() -> (Sender<Vec<u8>>, Self) {
            let (sender, receiver) = channel();
            (sender, Self(receiver))
        }
    }

    impl Read for Pipe {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = self.0.recv().unwrap_or_default();
            buffer[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        }
    }

    #[test]
    fn a_line_of_a_pipe_is_read_as_soon_as_it_is_there() {
        let (sender, pipe) = Pipe::new();
        sender.send(b"a\n".to_vec()).unwrap();
        let mut reader = decode(Box::new(pipe), None, Limits::LINES, Decoding::AUTO).unwrap();
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "a\n");
    }

    #[test]
    fn a_byte_order_mark_may_arrive_byte_by_byte() {
        let (sender, pipe) = Pipe::new();
        for byte in "\u{FEFF}a".bytes() {
            sender.send(vec![byte]).unwrap();
        }
        drop(sender);
        let mut text = String::new();
        decode(Box::new(pipe), None, Limits::LINES, Decoding::AUTO)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "a");
    }

    #[test]
    fn a_line_without_an_end_is_an_error_that_names_it() {
        let source = Cursor::new(b"a\nb\n".to_vec()).chain(io::repeat(b'c'));
        let line = Limit { bytes: MB, field: None };
        let limits = Limits { line, ..Limits::NONE };
        let mut reader = decode(Box::new(source), None, limits, Decoding::AUTO).unwrap();
        let mut line = Vec::new();
        let fault = (0..3).find_map(|_| reader.read_until(b'\n', &mut line).err()).unwrap();
        assert_eq!(fault.to_string(), "line 3 exceeds 1 MB, the maximum");
    }

    #[test]
    fn whole_texts_have_a_maximum_size() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "\u{FEFF}12345").unwrap();
        assert_eq!(read_text(file.path(), 5).unwrap(), "12345");
        assert!(read_text(file.path(), 4).unwrap_err().to_string().contains("exceeds"));
        fs::write(file.path(), b"caf\xE9").unwrap();
        assert!(read_text(file.path(), 5).unwrap_err().to_string().contains("iconv"));
    }
}
