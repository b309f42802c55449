//! Findings of the checks of the data.

use std::fmt;

use serde::Serialize;

/// A check of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Rows that cannot be read.
    BrokenRows,
    /// Rows that span suspiciously many lines.
    LongRows,
    /// Texts without a token.
    EmptyTexts,
    /// Tokens that are not in the vocabulary.
    UnknownTokens,
    /// Texts in a script without spaces, with a tokenizer that splits at spaces.
    Script,
    /// Texts that occur several times in a part.
    RepeatedTexts,
    /// Validation and test texts that are also training texts.
    SharedTexts,
    /// Groups with examples in several parts.
    SharedGroups,
    /// Texts that contain their label.
    LabelInText,
    /// Labels that differ only in case, spaces and the like.
    SimilarLabels,
    /// Labels that stand for a missing value.
    PlaceholderLabels,
    /// Labels with few examples.
    RareLabels,
    /// Labels that look like the values of a regression.
    NumericLabels,
    /// Labels that consist of other labels, or texts that can have several labels but have at most one.
    SeveralLabels,
    /// Parts without examples of some labels.
    MissingLabels,
    /// Texts that are left out because of their length.
    LongTexts,
    /// Sizes of the parts.
    Parts,
    /// Words with pre-trained vectors.
    WordVectors,
}

impl Check {
    /// The checks that a report lists even if they find nothing.
    pub const ALWAYS: [Self; 12] = [
        Self::BrokenRows,
        Self::EmptyTexts,
        Self::UnknownTokens,
        Self::Script,
        Self::RepeatedTexts,
        Self::SharedTexts,
        Self::LabelInText,
        Self::SimilarLabels,
        Self::PlaceholderLabels,
        Self::RareLabels,
        Self::NumericLabels,
        Self::MissingLabels,
    ];

    /// Says that the check has found nothing.
    pub fn passed(self) -> &'static str {
        match self {
            Self::BrokenRows => "all rows can be read",
            Self::LongRows => "no row spans suspiciously many lines",
            Self::EmptyTexts => "no text is empty",
            Self::UnknownTokens => "all tokens are in the vocabulary",
            Self::Script => "the tokenizer fits the script of the texts",
            Self::RepeatedTexts => "no text occurs twice in a part",
            Self::SharedTexts => "no validation or test text is also a training text",
            Self::SharedGroups => "no group is in two parts",
            Self::LabelInText => "the texts do not give their labels away",
            Self::SimilarLabels => "no labels look alike",
            Self::PlaceholderLabels => "no label looks like a missing value",
            Self::RareLabels => "no label has few examples",
            Self::NumericLabels => "the labels do not look like the values of a regression",
            Self::SeveralLabels => "some texts have several labels",
            Self::MissingLabels => "every part has several labels, and training has all of them",
            Self::LongTexts => "no text is left out because of its length",
            Self::Parts => "the parts have examples",
            Self::WordVectors => "no pre-trained vectors",
        }
    }
}

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing is wrong.
    Ok,
    /// Something may be wrong.
    Note,
    /// Training on the data stops with an error.
    Error,
}

/// A finding on the data. It is displayed as a line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The check that found it.
    pub check: Check,
    /// Its meaning.
    pub level: Level,
    /// The finding with its numbers, and what can be done.
    pub message: String,
    /// Number of rows, texts, tokens or labels that it concerns.
    pub count: usize,
    /// Number of all of them.
    pub total: usize,
    /// Field of the configuration that changes it, if there is one.
    pub setting: Option<String>,
}

impl Finding {
    /// Creates a note.
    pub fn new(check: Check, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { check, level: Level::Note, message, count: 0, total: 0, setting: None }
    }

    /// Sets the number of cases, and that of all rows, texts, tokens or labels.
    pub fn counted(self, count: usize, total: usize) -> Self {
        Self { count, total, ..self }
    }

    /// Sets the field of the configuration that changes it.
    pub fn setting(self, field: impl Into<String>) -> Self {
        Self { setting: Some(field.into()), ..self }
    }

    /// Sets the meaning.
    pub fn level(self, level: Level) -> Self {
        Self { level, ..self }
    }

    /// Returns true unless nothing is wrong.
    pub fn is_notable(&self) -> bool {
        self.level > Level::Ok
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.message)
    }
}
