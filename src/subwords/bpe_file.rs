//! Byte-pair encoding as the `tokenizer.json` of Hugging Face's library, which splits texts alike.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::bpe::{Bpe, Pair};
use super::pieces::{MARKER, expression};

/// Token of unknown characters in other programs. lstmtext keeps the characters.
const UNKNOWN: &str = "<unk>";
/// Regular expression of what separates pieces.
const SPACES: &str = r"[\s▁]+";

/// Returns the file of an encoding with empty `vocab` and `merges`.
fn frame(lowercase: bool) -> Value {
    // The lower case of İ is i in lstmtext.
    let mut normalizers = match lowercase {
        true => vec![
            json!({"type": "Lowercase"}),
            json!({"type": "Replace", "pattern": {"String": "i\u{307}"}, "content": "i"}),
        ],
        false => Vec::new(),
    };
    normalizers.extend([
        json!({"type": "NFC"}),
        json!({"type": "Replace", "pattern": {"Regex": SPACES}, "content": " "}),
        json!({"type": "Strip", "strip_left": true, "strip_right": true}),
    ]);
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Metaspace", "replacement": MARKER, "prepend_scheme": "always", "split": false},
            {
                "type": "Split",
                "pattern": {"Regex": expression()},
                "behavior": "Isolated",
                "invert": false,
            },
        ]},
        "post_processor": null,
        "decoder": {"type": "Metaspace", "replacement": MARKER, "prepend_scheme": "always", "split": false},
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": UNKNOWN,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": {},
            "merges": [],
        },
    })
}

/// Returns the content of the file of an encoding.
///
/// # Errors
/// Returns an error if it cannot be encoded.
pub fn json(bpe: &Bpe, lowercase: bool) -> anyhow::Result<Vec<u8>> {
    let symbols = bpe.symbols();
    let ids = symbols.iter().map(|symbol| symbol.to_string()).chain([UNKNOWN.to_owned()]);
    let vocab: Map<String, Value> = ids.zip((0..).map(|id: u32| id.into())).collect();
    let pair = |pair: &Pair| json!([symbols[pair.0 as usize], symbols[pair.1 as usize]]);
    let mut file = frame(lowercase);
    file["model"]["vocab"] = vocab.into();
    file["model"]["merges"] = bpe.merges().iter().map(pair).collect();
    serde_json::to_vec(&file).context("cannot encode JSON")
}

/// Returns the encoding in a file, and whether texts are converted to lowercase; `None` if the file is not of
/// lstmtext.
///
/// # Errors
/// Returns a message if the file is damaged.
pub fn parse(json: &[u8]) -> Result<Option<(Bpe, bool)>, String> {
    let mut file: Value =
        serde_json::from_slice(json).map_err(|error| format!("it is not JSON: {error}"))?;
    let mut taken = [json!({}), json!([])];
    if let Some(model) = file.get_mut("model").and_then(Value::as_object_mut) {
        for (name, taken) in ["vocab", "merges"].into_iter().zip(&mut taken) {
            if let Some(value) = model.get_mut(name) {
                std::mem::swap(value, taken);
            }
        }
    }
    let Some(lowercase) = [true, false].into_iter().find(|lowercase| file == frame(*lowercase))
    else {
        return Ok(None);
    };
    let [vocab, merges] = taken;
    let vocab: BTreeMap<String, u32> =
        serde_json::from_value(vocab).map_err(|error| format!("vocab: {error}"))?;
    let merges: Vec<(String, String)> =
        serde_json::from_value(merges).map_err(|error| format!("merges: {error}"))?;
    let mut symbols: Vec<(u32, &str)> =
        vocab.iter().map(|(symbol, id)| (*id, symbol.as_str())).collect();
    symbols.sort_unstable();
    if symbols.iter().zip(0..).any(|((id, _), expected)| *id != expected) {
        return Err("the ids of its vocabulary are not 0, 1, 2 …".into());
    }
    if symbols.pop().is_none_or(|(_, last)| last != UNKNOWN) {
        return Err(format!("the last token of its vocabulary is not {UNKNOWN}"));
    }
    let id = |symbol: &String| {
        vocab.get(symbol).copied().ok_or_else(|| format!("{symbol:?} in a merge is no token"))
    };
    let merges = merges.iter().map(|(left, right)| Ok((id(left)?, id(right)?)));
    let merges: Vec<Pair> = merges.collect::<Result<_, String>>()?;
    let symbols = symbols.into_iter().map(|(_, symbol)| symbol.into()).collect();
    Bpe::new(symbols, merges).map(|bpe| Some((bpe, lowercase)))
}

#[cfg(test)]
mod tests {
    use unicode_normalization::UnicodeNormalization;

    use super::*;

    fn trained() -> Bpe {
        let words = ["▁low", "▁lower", "▁newest", "▁widest", "▁don't", "!!!", "▁很好看", "很好"];
        Bpe::train(words.iter().map(|word| (*word, 3)), 60)
    }

    #[test]
    fn an_encoding_is_read_back() {
        for lowercase in [true, false] {
            let json = json(&trained(), lowercase).unwrap();
            let (bpe, read) = parse(&json).unwrap().unwrap();
            assert_eq!((bpe, read), (trained(), lowercase));
        }
    }

    #[test]
    fn damaged_files_are_rejected_and_others_are_left() {
        let whole = String::from_utf8(json(&trained(), true).unwrap()).unwrap();
        assert!(parse(b"").unwrap_err().contains("not JSON"));
        assert!(parse(&whole.as_bytes()[..99]).unwrap_err().contains("not JSON"));
        for (from, to) in [
            ("\"merges\":[[", "\"merges\":[[\"z\",\"q\"],["),
            ("\"<unk>\":", "\"<unknown>\":"),
            ("\"vocab\":{", "\"vocab\":{\"zzz\":0,"),
        ] {
            let damaged = whole.replacen(from, to, 1);
            assert_ne!(damaged, whole);
            assert!(parse(damaged.as_bytes()).is_err(), "{from}");
        }
        for other in ["{}", "5", &whole.replace("\"NFC\"", "\"NFD\"")] {
            assert!(parse(other.as_bytes()).unwrap().is_none(), "{other}");
        }
    }

    /// The file gives the same tokens in Hugging Face's library.
    #[cfg(feature = "tokenizers")]
    #[test]
    fn other_programs_split_texts_alike() {
        let json = json(&trained(), true).unwrap();
        let subwords = super::super::Subwords::parse(json.clone()).unwrap();
        let other = super::super::hugging_face::HuggingFace::parse(&json).unwrap();
        for text in [
            "Lower newest!!!",
            " the  widest\n\tlowlow 很好看，很好 ",
            "DON'T ’tis 10/10 lo\u{301}w नल्ल 🦄",
            "a▁low",
            "",
            " ",
        ] {
            let (mut own, mut theirs) = (Vec::new(), Vec::new());
            subwords.split(&text.to_lowercase().nfc().collect::<String>(), |token, _| {
                own.push(token.to_owned())
            });
            other.split(text, |token, _| theirs.push(token.to_owned()));
            assert_eq!(own, theirs, "{text:?}");
        }
    }
}
