//! Recognizes the encoding of texts that are not UTF-8.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use unicode_script::{Script, UnicodeScript};

use super::decoding::TextEncoding;

/// Byte order marks of other encodings. UTF-32 comes first, because its little-endian mark starts with
/// that of UTF-16.
pub const MARKS: [(&[u8], &str); 4] = [
    (b"\xFF\xFE\0\0", "UTF-32"),
    (b"\0\0\xFE\xFF", "UTF-32"),
    (b"\xFF\xFE", "UTF-16"),
    (b"\xFE\xFF", "UTF-16"),
];

/// Returns the encoding of a text that begins with `start` if its bytes cannot be UTF-8: UTF-16 or UTF-32,
/// with or without a byte order mark.
pub fn wide_encoding(start: &[u8]) -> Option<&'static str> {
    let marked = MARKS.iter().find(|(mark, _)| start.starts_with(mark));
    marked.map(|(_, name)| *name).or_else(|| utf32(start)).or_else(|| utf16(start))
}

fn utf32(start: &[u8]) -> Option<&'static str> {
    let units = || start.as_chunks().0.iter();
    let little = Text::of(units().map(|unit| char::from_u32(u32::from_le_bytes(*unit))));
    let big = Text::of(units().map(|unit| char::from_u32(u32::from_be_bytes(*unit))));
    match (little.is_plausible(), big.is_plausible()) {
        (true, _) => Some("UTF-32LE"),
        (_, true) => Some("UTF-32BE"),
        _ => None,
    }
}

fn utf16(start: &[u8]) -> Option<&'static str> {
    // 8-bit encodings have no control characters but those of lines and tabs, DOS's end of file and the
    // escape sequences of ISO-2022.
    let is_control = |byte: &&u8| **byte < b' ' && !b"\t\n\r\x0C\x1A\x1B".contains(byte);
    let controls = start.iter().filter(is_control).count();
    if controls * 50 < start.len() {
        return None;
    }
    let decode = |unit: fn([u8; 2]) -> u16| {
        let units = start.as_chunks().0.iter().map(|bytes| unit(*bytes));
        Text::of(char::decode_utf16(units).map(Result::ok))
    };
    let texts =
        [("UTF-16LE", decode(u16::from_le_bytes)), ("UTF-16BE", decode(u16::from_be_bytes))];
    let is_utf8 = match std::str::from_utf8(start) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    // Two ASCII characters read as one of UTF-16 are mostly an ideograph.
    let ascii = start.iter().filter(|byte| matches!(byte, b' '..=b'~' | b'\n')).count();
    let may_have_ideographs = !is_utf8 && ascii * 5 < start.len() * 4;
    let fits = |text: &Text| text.is_plausible() && (may_have_ideographs || text.is_legible());
    let texts = texts.into_iter().filter(|(_, text)| fits(text));
    // In the wrong byte order, few characters are ASCII, and the scripts are mixed.
    let best = texts.max_by_key(|(_, text)| (text.ascii, std::cmp::Reverse(text.scripts.len())));
    best.map(|(name, _)| name)
}

/// Counts of the characters that bytes are in one encoding.
#[derive(Default)]
struct Text {
    characters: usize,
    /// Number of characters that no text contains.
    implausible: usize,
    ascii: usize,
    ideographs: usize,
    /// Number of letters of other scripts than Latin and Chinese.
    letters: usize,
    scripts: Vec<Script>,
}

impl Text {
    /// Counts the characters; `None` stands for an invalid one.
    fn of(characters: impl Iterator<Item = Option<char>>) -> Self {
        let mut text = Self::default();
        for character in characters {
            text.characters += 1;
            match character {
                Some(character) if is_text(character) => text.add(character),
                _ => text.implausible += 1,
            }
        }
        text
    }

    fn add(&mut self, character: char) {
        self.ascii += usize::from(character.is_ascii());
        let script = character.script();
        self.ideographs += usize::from(script == Script::Han);
        let others = [Script::Han, Script::Latin, Script::Common, Script::Inherited];
        self.letters += usize::from(!others.contains(&script));
        if !self.scripts.contains(&script) {
            self.scripts.push(script);
        }
    }

    fn is_plausible(&self) -> bool {
        self.characters > 1 && self.implausible * 20 <= self.characters
    }

    fn is_legible(&self) -> bool {
        let others = self.ascii.max(self.letters);
        self.ascii > 0 && (self.ideographs == 0 || 2 * others > self.characters)
    }
}

/// Returns false for control characters and for code points without a character.
fn is_text(character: char) -> bool {
    match character.is_control() {
        true => matches!(character, '\t' | '\n' | '\r'),
        false => character.script() != Script::Unknown,
    }
}

/// Bytes beyond which the detector of encodings learns nothing more.
const MAX_FED: usize = 4 << 20;

/// Survey of the lines of a text that is not valid UTF-8.
pub struct Survey {
    lines: u64,
    /// Number of valid characters beyond ASCII.
    valid: u64,
    /// Number of invalid bytes or sequences.
    invalid: u64,
    /// The first invalid byte.
    first: Option<InvalidByte>,
    detector: EncodingDetector,
    /// Bytes that the detector has seen.
    fed: usize,
}

/// Byte that is not UTF-8.
struct InvalidByte {
    byte: u8,
    /// Line, from 1.
    line: u64,
    /// Number of the byte in its line, from 1.
    position: usize,
}

impl Default for Survey {
    fn default() -> Self {
        Self {
            lines: 0,
            valid: 0,
            invalid: 0,
            first: None,
            detector: EncodingDetector::new(Iso2022JpDetection::Deny),
            fed: 0,
        }
    }
}

impl Survey {
    /// Adds a line.
    pub fn add(&mut self, line: &[u8]) {
        self.lines += 1;
        if line.is_ascii() {
            return;
        }
        if self.fed < MAX_FED {
            self.fed += line.len();
            self.detector.feed(line, false);
        }
        let mut position = 0;
        for chunk in line.utf8_chunks() {
            self.valid += chunk.valid().chars().filter(|c| !c.is_ascii()).count() as u64;
            position += chunk.valid().len();
            if let Some(byte) = chunk.invalid().first() {
                self.invalid += 1;
                let line = self.lines;
                self.first.get_or_insert(InvalidByte { byte: *byte, line, position: position + 1 });
            }
            position += chunk.invalid().len();
        }
    }

    /// Returns the encoding of a text that is not UTF-8. `None` if it is UTF-8, also with some damaged bytes, or
    /// in an encoding that is not supported.
    pub fn other_encoding(&self) -> Option<TextEncoding> {
        let is_other = self.first.is_some() && self.damage().is_none();
        is_other.then(|| TextEncoding::named(&self.encoding())).flatten()
    }

    /// Describes the invalid bytes of a text that is otherwise UTF-8. Returns `None` if the text most
    /// likely is in another encoding.
    pub fn damage(&self) -> Option<String> {
        let InvalidByte { byte, line, position } = self.first.as_ref()?;
        let others = match self.invalid {
            1 => String::new(),
            count => format!(", the first of {count} faults"),
        };
        let is_utf8 = self.valid > 0 && self.valid >= self.invalid;
        let place = format!("byte {position} of line {line} is 0x{byte:02X}{others}");
        is_utf8.then(|| format!("{place}, but the text is otherwise UTF-8"))
    }

    /// Returns the encoding that the text most likely has, under its name for iconv.
    pub fn encoding(&self) -> String {
        match self.detector.guess(None, Utf8Detection::Deny).name() {
            // The suffix only concerns the display.
            "ISO-8859-8-I" => "ISO-8859-8".into(),
            "windows-874" => "CP874".into(),
            name => name.to_uppercase(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 12] = [
        "text,label\nОчень хороший фильм,pos\nПлохо,neg\n",
        "text,label\n这部电影很好看,pos\n画面一般,neg\n",
        "这部电影很好看。画面一般，剧情很差劲，不推荐大家去看这部电影\n",
        "यह फ़िल्म बहुत अच्छी है\nबेकार\n",
        "この映画はとても良い\nつまらない\n",
        "이 영화는 정말 좋다\n별로\n",
        "ภาพยนตร์เรื่องนี้สนุกมาก\nแย่\n",
        "הסרט הזה טוב מאוד\nרע\n",
        "Ήταν μια πολύ καλή ταινία\n",
        "très bon\nmauvais\n",
        "фильм 😀\n",
        "good film, and long enough\n",
    ];

    fn encodings(text: &str) -> [(&'static str, Vec<u8>); 4] {
        [
            ("UTF-16LE", text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
            ("UTF-16BE", text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
            ("UTF-32LE", text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect()),
            ("UTF-32BE", text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect()),
        ]
    }

    #[test]
    fn texts_of_any_script_are_recognized_without_a_mark() {
        for text in TEXTS {
            for (name, bytes) in encodings(text) {
                assert_eq!(wide_encoding(&bytes), Some(name), "{text}");
                // The start of a file may end within a character.
                assert_eq!(wide_encoding(&bytes[..bytes.len() - 1]), Some(name), "{text}");
            }
            assert_eq!(wide_encoding(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn other_bytes_are_not_taken_for_wide_characters() {
        for bytes in [
            &b""[..],
            b"a",
            b"a\0b",
            b"hello\0world, this is a text\n",
            b"a\0",
            &[0; 64],
            b"a\tb\tc\td\n1\t2\n",
            b"1\t0\n0\t1\n",
            b"tr\xE8s bon, d\xE9\xE7u\n",
            b"tr\xE8s bon\x1A",
            b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x3E\0\x03\0\xFE\xFF\x09\0",
            b"\x93NUMPY\x01\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }   \n\0\0\x80?\0\0\0@\0\0@@",
            b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR\0\0\x02\x80\0\0\x01\xE0\x08\x02\0\0\0",
            b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0b\xEE\x9Dh^\x01\0\0\x90\x04\0\0\x13\0",
        ] {
            assert_eq!(wide_encoding(bytes), None, "{bytes:?}");
        }
    }

    fn survey(lines: &[&[u8]]) -> Survey {
        let mut survey = Survey::default();
        lines.iter().for_each(|line| survey.add(line));
        survey
    }

    #[test]
    fn a_damaged_byte_is_told_from_another_encoding() {
        let damaged = survey(&["très bon, déçu\n".as_bytes(), b"a caf\xE9\n", b"\xFF"]);
        let description =
            "byte 6 of line 2 is 0xE9, the first of 2 faults, but the text is otherwise UTF-8";
        assert_eq!(damaged.damage().unwrap(), description);
        let other = survey(&[b"tr\xE8s bon, d\xE9\xE7u\n"]);
        assert_eq!((other.damage(), other.encoding()), (None, "WINDOWS-1252".into()));
    }

    #[test]
    fn usual_encodings_are_recognized() {
        // "Очень хороший фильм" in Windows-1251, "这部电影很好看" in GBK, "つまらない映画" in Shift JIS.
        for (bytes, encoding) in [
            (
                &b"\xCE\xF7\xE5\xED\xFC \xF5\xEE\xF0\xEE\xF8\xE8\xE9 \xF4\xE8\xEB\xFC\xEC"[..],
                "WINDOWS-1251",
            ),
            (b"\xD5\xE2\xB2\xBF\xB5\xE7\xD3\xB0\xBA\xDC\xBA\xC3\xBF\xB4", "GBK"),
            (b"\x82\xC2\x82\xDC\x82\xE7\x82\xC8\x82\xA2\x89f\x89\xE6", "SHIFT_JIS"),
            (b"caf\xE9", "WINDOWS-1252"),
        ] {
            assert_eq!(survey(&[bytes]).encoding(), encoding);
        }
    }
}
