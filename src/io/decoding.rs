//! Text encodings, and the conversion of files to UTF-8.

use std::fmt;
use std::io::{self, ErrorKind, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, ISO_8859_15, UTF_8, UTF_16BE, UTF_16LE};

/// Number of bytes that are read and decoded at once.
const CHUNK: usize = 1 << 16;
/// Stands for bytes that cannot be decoded. No UTF-8 text contains it, so that they are found in the
/// decoded text as in one that is UTF-8.
const INVALID: u8 = 0xFF;

/// Encoding of text files. A byte order mark takes precedence over it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextEncoding(Option<&'static Encoding>);

impl TextEncoding {
    /// The encoding that a byte order mark names, by default UTF-8.
    pub const AUTO: Self = Self(None);

    /// Returns the encoding with this name: `auto`, a label of the Encoding Standard (WHATWG), or such a
    /// label as Python, iconv and Windows spell it: `utf_8`, `latin-1`, `cp1252`.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim().to_lowercase().replace('_', "-");
        let find = |label: &str| Encoding::for_label_no_replacement(label.as_bytes());
        match name.as_str() {
            "auto" => return Some(Self::AUTO),
            "utf-8-sig" => return Some(Self(Some(UTF_8))),
            "utf-16-le" => return Some(Self(Some(UTF_16LE))),
            "utf-16-be" => return Some(Self(Some(UTF_16BE))),
            "latin9" | "latin-9" => return Some(Self(Some(ISO_8859_15))),
            _ => {}
        }
        let code_page = name.strip_prefix("cp").map(|number| format!("windows-{number}"));
        let found = find(&name)
            .or_else(|| find(&name.replace('-', "")))
            .or_else(|| find(&code_page?))
            .or_else(|| find(&name.replacen("utf", "utf-", 1)));
        found.map(|encoding| Self(Some(encoding)))
    }

    /// Returns true if the encoding is UTF-8 unless a byte order mark says otherwise.
    pub fn is_auto(self) -> bool {
        self.0.is_none()
    }

    /// Returns the encoding of a text that begins with `start`, and the length of its byte order mark.
    /// `None` stands for UTF-8.
    pub(super) fn of_text(self, start: &[u8]) -> (Option<Conversion>, usize) {
        let (encoding, mark) = match Encoding::for_bom(start) {
            Some((encoding, mark)) => (encoding, mark),
            None => (self.0.unwrap_or(UTF_8), 0),
        };
        ((encoding != UTF_8).then_some(Conversion(encoding)), mark)
    }
}

impl fmt::Display for TextEncoding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0.map_or("auto".to_owned(), |encoding| encoding.name().to_lowercase()))
    }
}

/// Decoding of a text file.
#[derive(Clone, Copy, Debug)]
pub struct Decoding {
    /// Its encoding.
    pub encoding: TextEncoding,
    /// Advice on how to set the encoding, before its name: `set data.encoding: `. Without it, advice is to
    /// convert the file.
    pub setting: Option<&'static str>,
}

impl Decoding {
    /// Decodes texts whose encoding no setting changes.
    pub const AUTO: Self = Self { encoding: TextEncoding::AUTO, setting: None };
}

/// An encoding other than UTF-8.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conversion(&'static Encoding);

impl Conversion {
    /// Returns a reader of `source` as UTF-8.
    pub(super) fn reader<R: Read>(self, source: R) -> DecodingReader<R> {
        DecodingReader {
            source,
            decoder: self.0.new_decoder_without_bom_handling(),
            bytes: Buffer::default(),
            text: Buffer::default(),
            is_done: false,
        }
    }
}

/// A reader that converts its source to UTF-8. Bytes that cannot be decoded become [`INVALID`].
pub(super) struct DecodingReader<R> {
    source: R,
    decoder: Decoder,
    /// Bytes of the source.
    bytes: Buffer,
    /// Decoded text.
    text: Buffer,
    /// The decoder has seen the end of the source.
    is_done: bool,
}

/// Bytes, of which those from `start` to `end` are to be read.
struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { bytes: vec![0; CHUNK].into(), start: 0, end: 0 }
    }
}

impl Buffer {
    fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Reads from `source` if nothing is left. Returns true at its end.
    fn fill(&mut self, source: &mut impl Read) -> io::Result<bool> {
        if self.start < self.end {
            return Ok(false);
        }
        loop {
            match source.read(&mut self.bytes) {
                Ok(length) => {
                    (self.start, self.end) = (0, length);
                    return Ok(length == 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl<R: Read> Read for DecodingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { source, decoder, bytes, text, is_done } = self;
        while text.unread().is_empty() && !*is_done {
            let is_last = bytes.fill(source)?;
            // The last byte remains free for INVALID.
            let (result, read, written) = decoder.decode_to_utf8_without_replacement(
                bytes.unread(),
                &mut text.bytes[..CHUNK - 1],
                is_last,
            );
            bytes.start += read;
            (text.start, text.end) = (0, written);
            match result {
                DecoderResult::InputEmpty => *is_done = is_last,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => {
                    text.bytes[written] = INVALID;
                    text.end += 1;
                }
            }
        }
        let length = buffer.len().min(text.unread().len());
        buffer[..length].copy_from_slice(&text.unread()[..length]);
        text.start += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A source that returns a single byte at a time.
    struct Bytes(Cursor<Vec<u8>>);

    impl Read for Bytes {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(1);
            self.0.read(&mut buffer[..length])
        }
    }

    fn decoded(name: &str, bytes: &[u8]) -> Vec<u8> {
        let (conversion, mark) = TextEncoding::named(name).unwrap().of_text(bytes);
        let Some(conversion) = conversion else { return bytes[mark..].to_vec() };
        let mut whole = Vec::new();
        conversion.reader(&bytes[mark..]).read_to_end(&mut whole).unwrap();
        let mut parts = Vec::new();
        let source = Bytes(Cursor::new(bytes[mark..].to_vec()));
        conversion.reader(source).read_to_end(&mut parts).unwrap();
        assert_eq!(whole, parts);
        whole
    }

    #[test]
    fn names_of_python_iconv_and_windows_are_known() {
        for (names, canonical) in [
            (&["utf-8", "UTF8", "utf_8", "utf-8-sig"][..], "utf-8"),
            (&["utf-16", "UTF-16LE", "utf_16_le", "utf16"], "utf-16le"),
            (&["utf-16be", "utf_16_be"], "utf-16be"),
            (
                &["latin-1", "latin_1", "latin1", "ISO-8859-1", "iso8859-1", "cp1252"],
                "windows-1252",
            ),
            (&["iso8859-15", "iso8859_15", "latin9"], "iso-8859-15"),
            (&["cp1251", "windows-1251", "windows_1251"], "windows-1251"),
            (&["shift_jis", "Shift-JIS", "sjis"], "shift_jis"),
            (&["gbk", "gb2312"], "gbk"),
            (&["euc_kr", "cp949"], "euc-kr"),
            (&["auto", "AUTO"], "auto"),
        ] {
            for name in names {
                assert_eq!(TextEncoding::named(name).unwrap().to_string(), canonical, "{name}");
            }
            assert_eq!(
                TextEncoding::named(canonical),
                TextEncoding::named(names[0]),
                "{canonical} is not read back"
            );
        }
        for name in ["", "utf-7", "cp", "cp437", "klingon", "replacement", "hz-gb-2312"] {
            assert_eq!(TextEncoding::named(name), None, "{name}");
        }
    }

    #[test]
    fn texts_become_utf8() {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        let long = "schön 😀 ".repeat(CHUNK / 5);
        for (name, bytes, text) in [
            ("cp1252", b"tr\xE8s bon \x80".to_vec(), "très bon €"),
            ("utf-16le", utf16("schön 😀"), "schön 😀"),
            ("utf-16le", utf16(&long), &*long),
            ("auto", [&b"\xFF\xFE"[..], &utf16("schön")].concat(), "schön"),
            ("auto", b"\xFE\xFF\0a\x20\xAC".to_vec(), "a€"),
            ("auto", "schön".into(), "schön"),
            // A byte order mark takes precedence.
            ("cp1252", b"\xEF\xBB\xBF\xC3\xA9".to_vec(), "é"),
            ("shift_jis", b"\x82\xC2\x82\xDC".to_vec(), "つま"),
        ] {
            assert_eq!(String::from_utf8(decoded(name, &bytes)).unwrap(), text);
        }
    }

    #[test]
    fn bytes_that_cannot_be_decoded_stay_invalid() {
        assert_eq!(decoded("utf-16le", b"a\0\0\xD8b\0"), b"a\xFFb");
        assert_eq!(decoded("utf-16le", b"a\0b"), b"a\xFF");
        assert_eq!(decoded("shift_jis", b"a\x82"), b"a\xFF");
    }
}
