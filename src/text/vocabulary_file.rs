//! Vocabulary files, with which several models can share one vocabulary.

use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use super::normalization::composed;
use super::{Tokenizer, Vocabulary};
use crate::config::{Input, TextConfig};
use crate::io::files::{RECORDS_LIMIT, json_content};
use crate::io::input::read_text;
use crate::io::replace::write_output;

const FORMAT: &str = "lstmtext vocabulary";

/// Content of a vocabulary file.
#[derive(Serialize, Deserialize)]
struct VocabularyFile {
    format: String,
    tokenizer: String,
    lowercase: bool,
    strip_tags: bool,
    #[serde(default = "first_version")]
    version: u64,
    /// SHA-256 of the subwords, if the tokenizer has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokenizer_sha256: Option<String>,
    /// Words by descending frequency, without the special ids: the first has id 4.
    words: Vec<String>,
}

impl VocabularyFile {
    fn new(words: Vec<String>, config: &TextConfig) -> Self {
        Self {
            format: FORMAT.into(),
            tokenizer: config.tokenizer.kind.as_str().into(),
            lowercase: config.lowercase,
            strip_tags: config.strip_tags,
            version: config.version,
            tokenizer_sha256: config
                .tokenizer
                .subwords()
                .map(|subwords| subwords.sha256().to_owned()),
            words,
        }
    }
}

/// Version of the files of lstmtext 0.1, which do not record it.
fn first_version() -> u64 {
    1
}

/// Writes a vocabulary to `path`, with the settings of the tokenizer.
///
/// # Errors
/// Returns an error if the file cannot be written.
pub fn write(path: &Path, vocabulary: &Vocabulary, config: &TextConfig) -> anyhow::Result<()> {
    let words = vocabulary.regular_words().map(|word| word.to_string()).collect();
    let file = VocabularyFile::new(words, config);
    write_output(path, &json_content(&file)?)
}

/// Reads the vocabulary of an input from `path` and truncates it to `text.vocabulary_size` ids.
///
/// # Errors
/// Returns an error if the file is not a vocabulary, or was counted with other tokenizer settings
/// than those of the input.
pub fn read(path: &Path, input: &Input) -> anyhow::Result<Vocabulary> {
    let name = || format!("{}: \"{}\"", input.field("text.vocabulary"), path.display());
    let json =
        read_text(path, RECORDS_LIMIT).with_context(|| format!("{} cannot be read", name()))?;
    let file: VocabularyFile = serde_json::from_str(&json).map_err(|_| {
        anyhow!("{} is not a vocabulary file; create one with `lstmtext data vocab`", name())
    })?;
    ensure!(
        file.format == FORMAT,
        "{} has the format \"{}\", expected \"{FORMAT}\"",
        name(),
        file.format
    );
    let expected = VocabularyFile::new(Vec::new(), &input.text);
    for (setting, value, expected) in [
        ("tokenizer", &file.tokenizer, &expected.tokenizer),
        ("lowercase", &file.lowercase.to_string(), &expected.lowercase.to_string()),
        ("strip_tags", &file.strip_tags.to_string(), &expected.strip_tags.to_string()),
    ] {
        ensure!(
            value == expected,
            "{} was created with {setting}: {value}, but {} is {expected}",
            name(),
            input.field(&format!("text.{setting}"))
        );
    }
    ensure!(
        file.tokenizer_sha256 == expected.tokenizer_sha256,
        "{} was created with another tokenizer than {}; to share a vocabulary, set the latter to the \
         tokenizer.json in the checkpoint of one of the models",
        name(),
        input.field("text.tokenizer")
    );
    let words = match input.text.has_first_rules() || input.text.tokenizer.has_subwords() {
        true => file.words,
        false => file.words.iter().map(|word| composed(word).into_owned()).collect(),
    };
    if file.version != expected.version
        && !input.text.tokenizer.has_subwords()
        && let Some(word) = words.iter().find(|word| !is_token(word, &input.text))
    {
        bail!(
            "{} was created with version: {}, but {} is {}, which splits {word:?}; create the file again, \
             or set the version of the file",
            name(),
            file.version,
            input.field("text.version"),
            expected.version
        );
    }
    Vocabulary::from_ranked_words(words, input.text.vocabulary_size)
        .map_err(|message| anyhow!("{}: {message}", name()))
}

/// Returns true if a tokenizer can yield `word`. All versions treat ASCII alike.
fn is_token(word: &str, config: &TextConfig) -> bool {
    let mut tokens = Vec::new();
    Tokenizer::new(config).tokens(word, |token| tokens.push(token.to_owned()));
    word.is_ascii() || tokens == [word]
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config;

    fn input(fields: &str) -> Input {
        let yaml = format!("data: {{train: x}}\ntext: {{min_count: 1, {fields}}}\n");
        config::parse(&yaml, "test", &[]).unwrap().config.inputs[0].clone()
    }

    #[test]
    fn a_vocabulary_file_is_read_back_with_the_same_ids() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("words.json");
        let config = input("");
        let vocabulary = Vocabulary::build(&["b a b <x".into()], &config.text).unwrap();
        write(&path, &vocabulary, &config.text).unwrap();
        assert_eq!(read(&path, &config).unwrap(), vocabulary);
        let short = read(&path, &input("vocabulary_size: 5")).unwrap();
        assert_eq!((short.len(), short.id("b"), short.id("a")), (5, 4, super::super::OOV));
    }

    /// Files of lstmtext 0.1 have no version.
    #[test]
    fn files_of_the_first_version_are_used_if_their_words_are_still_tokens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("words.json");
        let read_words = |words: &str, fields: &str| {
            let json = format!(
                "\u{FEFF}{{\"format\": \"{FORMAT}\", \"tokenizer\": \"words\", \"lowercase\": true, \
                 \"strip_tags\": true, \"words\": [{words}]}}"
            );
            fs::write(&path, json).unwrap();
            let vocabulary = read(&path, &input(fields));
            vocabulary
                .map(|vocabulary| vocabulary.regular_words().collect::<Vec<_>>().join(" "))
                .map_err(|error| error.to_string())
        };
        assert_eq!(read_words("\"n't\", \"cafe\u{301}\"", "").unwrap(), "n't café");
        let split = read_words("\"\u{94D}\", \"i \u{307}\"", "").unwrap_err();
        assert!(split.contains("version: 1, but text.version is 3"), "{split}");
        assert_eq!(read_words("\"a\", \"\u{94D}\"", "version: 1").unwrap(), "a \u{94D}");
    }

    #[test]
    fn invalid_files_and_other_tokenizers_are_rejected() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("words.json");
        let config = input("");
        let fault = |input: &Input| format!("{:#}", read(&path, input).unwrap_err());
        assert!(fault(&config).contains("cannot be read"));
        fs::write(&path, "the\nand\n").unwrap();
        assert!(fault(&config).contains("create one with `lstmtext data vocab`"));
        write(&path, &Vocabulary::build(&["a".into()], &config.text).unwrap(), &config.text)
            .unwrap();
        let other = fault(&input("tokenizer: keras"));
        assert!(other.ends_with("with tokenizer: words, but text.tokenizer is keras"), "{other}");
        assert!(fault(&input("lowercase: false")).contains("lowercase: true"));
        let twice = fs::read_to_string(&path).unwrap().replace("\"a\"", "\"a\", \"a\"");
        fs::write(&path, twice).unwrap();
        assert!(fault(&config).ends_with("the word \"a\" occurs twice"));
    }
}
