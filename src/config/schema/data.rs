//! The section `data`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::fields::section;
use crate::config::types::{Column, Columns, Delimiter, Portion};
use crate::config::value::{at_least, between, choice};
use crate::io::decoding::{Decoding, TextEncoding};
use crate::io::input::MAX_LINE_MB;

section! {
    /// Training, validation and test data.
    pub struct DataConfig {
        /// Training data: a file, a directory, or a pattern such as directory/*_train.txt that
        /// matches several files. Required. validation and test accept the same.
        train: PathBuf = PathBuf::new();
        /// Validation data. null: split off from the training data (see data.split).
        validation: Option<PathBuf> = None;
        /// Test data, evaluated once after training. null: split off from the training data if
        /// data.split.test is greater than 0.
        test: Option<PathBuf> = None;
        /// Texts without labels for train.virtual_adversarial, train.entropy_weight and
        /// train.language_model_weight: a file, a
        /// directory or a pattern as in train, whose labels are ignored if it has any. In folder format
        /// also a directory of texts. null: these terms use the training texts.
        unlabelled: Option<PathBuf> = None;
        /// File format. auto: detected from the file extension. csv: comma-separated (RFC 4180).
        /// tsv: tab-separated without quoting. jsonl: one JSON object per line. json: an array of
        /// objects. parquet: Apache Parquet. fasttext: one "__label__NAME text" per line. folder: one
        /// directory per class with one file per text. babi: stories with questions. Text files can be
        /// compressed (.gz, .zst).
        format: Format = Format::Auto;
        /// Column (CSV, TSV, Parquet) or key (JSON) of the text. A list, such as [title, body], joins
        /// several columns with spaces. Files in babi format have the columns story, question and
        /// label.
        text_column: Columns = Columns::named("text");
        /// Column (CSV, TSV, Parquet) or key (JSON) of the label.
        label_column: Column = Column::Name("label".into());
        /// Separator between the labels of a text in label_column, such as ",". null: the whole value is
        /// one label.
        label_separator: Option<String> = None;
        /// Columns or keys with the targets of one label each, in the place of label_column. Their names
        /// are the labels. If a text can have several labels, each value is 1 or 0, or the probability
        /// of the label; otherwise the values of a row are probabilities that add up to 1 (within
        /// 0.001). With train.distillation, they are the probabilities of another model beside the
        /// labels in label_column.
        label_columns: Vec<String> = Vec::new();
        /// Multi-label classification: a text can have any number of labels, including none, each with
        /// its own probability. In JSON, the label is then a list; a fastText line has several labels.
        /// false: each text has exactly one label. null: true with label_separator and for lists in JSON;
        /// with label_columns, true unless the training data has fractions that add up to 1 in most
        /// rows; otherwise false.
        multi_label: Option<bool> = None;
        /// CSV and TSV files start with a line of column names.
        header: bool = true;
        /// Character between the columns of CSV and TSV files. auto: a tab in TSV files; in CSV files the
        /// one of comma, semicolon, tab and pipe with which the columns are found.
        delimiter: Delimiter = Delimiter::Auto;
        /// Quoting in CSV and TSV files. standard: a field may be in double quotes, and then contain
        /// delimiters and line breaks (RFC 4180). none: quotes have no special meaning. auto: standard
        /// in CSV files, none in TSV files.
        quoting: Quoting = Quoting::Auto;
        /// Encoding of the data files. auto: UTF-8, or UTF-16 with a byte order mark. A byte order mark
        /// takes precedence over this field. latin-1 and iso-8859-1 are read as their superset cp1252.
        encoding: TextEncoding = TextEncoding::AUTO;
        /// Keep only rows with these values in these columns or keys, as in {source: imdb}.
        filter: BTreeMap<String, String> = BTreeMap::new();
        /// New names for labels, as in {0: negative, 1: positive}.
        label_names: BTreeMap<String, String> = BTreeMap::new();
        /// Labels in the order of their class indices. Empty: the labels of the training examples,
        /// sorted. In folder format, only the directories of these labels are read.
        labels: Vec<String> = Vec::new();
        /// Handling of labels that occur in validation or test examples only. error: stop. class:
        /// add the label as a class, which the model will hardly ever predict.
        unseen_labels: UnseenLabels = UnseenLabels::Error;
        /// Handling of lines that cannot be parsed. error: stop. skip: skip and count them.
        broken_lines: BrokenLines = BrokenLines::Error;
        /// Maximum share of the rows of a file that broken_lines: skip may skip. If more are broken, the
        /// file is most likely read wrongly, which is an error.
        max_skipped: f64 = 0.05, between(0.0, 1.0);
        /// Maximum size of a line in MB (in folder format, of a file; in Parquet files, of a value). A longer
        /// line is an error.
        max_line_mb: u64 = MAX_LINE_MB, between(1.0, 100_000.0);
        /// Maximum size of a compressed file in MB after decompression.
        max_unpacked_mb: u64 = 100_000, between(1.0, 100_000_000.0);
        /// Cache tokenized files on disk (in LSTMTEXT_CACHE or ~/.cache/lstmtext), where later runs
        /// reuse them. Cached tokens are not held in memory. auto: cache files larger than 256 MB.
        cache: CacheUse = CacheUse::Auto;
        /// Divide the data among the processes of a training: each tokenizes and holds a part of the texts, and they
        /// send each other the texts of the coming batches. A pattern that matches several files of about the same
        /// size divides the files; otherwise, each process reads all rows, but tokenizes only its own. The model is
        /// the same. false: each process holds all texts.
        shard: bool = false;
        /// Version of the rules for reading and splitting data. Runs keep the rules that they began
        /// with. 1: lstmtext 0.1. 2: labels are trimmed; CSV quotes and fastText labels are checked
        /// strictly; a text column cannot be the label column; a stratified split keeps texts together
        /// that differ only in case, spaces, punctuation and HTML tags, and keeps a training example
        /// of each class. 3: spaces between the characters of Chinese, Japanese, Thai and other scripts
        /// without spaces between words are ignored too.
        version: u64 = 3, between(1.0, 3.0);
        /// Split of the training data into training, validation and test examples.
        split: SplitConfig;
    }
}

section! {
    /// Split of the training data into training, validation and test examples.
    pub struct SplitConfig {
        /// Portion used for validation if data.validation is null.
        validation: Portion = Portion::Fraction(0.1);
        /// Portion used for testing if data.test is null.
        test: Portion = Portion::Count(0);
        /// Split method. stratified: random, with the same label distribution in every part. Texts
        /// that differ only in case, spaces, punctuation and HTML tags are in the same part, and each
        /// class has a training example. position: the end of the file, like Keras's
        /// validation_split (training examples first, then validation, then test).
        method: SplitMethod = SplitMethod::Stratified;
        /// Shuffle the examples before a split by position, like keras.datasets. Needed if the file
        /// is sorted by label.
        shuffle: bool = false;
        /// Random seed of the split. Independent of train.seed, so that runs with different seeds
        /// share one split.
        seed: u64 = 1;
        /// Column or key of a group, such as the film, the author or the thread of a text. All examples
        /// of a group are in the same part. Label proportions are then approximate. Examples without a
        /// value are groups of their own. null: no groups.
        group: Option<Column> = None;
        /// Number of folds for cross-validation, which lstmtext folds and lstmtext tune set. null: no
        /// cross-validation.
        folds: Option<usize> = None, between(2.0, 1_000.0);
        /// The fold that is held out, from 1 to folds.
        fold: usize = 1, at_least(1.0);
        /// Use of the fold. test: testing; the validation examples are split off the other folds.
        /// validation: validation, in place of data.split.validation; test examples come from data.test or
        /// data.split.test.
        fold_use: FoldUse = FoldUse::Test;
    }
}

choice! {
    /// Use of a fold.
    pub enum FoldUse {
        /// For testing.
        Test = "test",
        /// For validation.
        Validation = "validation",
    }
}

impl SplitConfig {
    /// Number of folds, if one of them has the test examples.
    pub fn test_folds(&self) -> Option<usize> {
        self.folds.filter(|_| self.fold_use == FoldUse::Test)
    }

    /// Number of folds, if one of them has the validation examples.
    pub fn validation_folds(&self) -> Option<usize> {
        self.folds.filter(|_| self.fold_use == FoldUse::Validation)
    }
}

impl DataConfig {
    /// Returns true if there are test examples: in a file, split off the training data, or in a fold.
    pub fn has_test(&self) -> bool {
        let has_part = self.split.test_folds().is_some() || self.split.test.of(usize::MAX) > 0;
        self.test.is_some() || has_part
    }

    /// Returns how many labels a text can have.
    pub fn labelling(&self) -> Labelling {
        let has_fields = self.label_separator.is_some() || !self.label_columns.is_empty();
        match self.multi_label.unwrap_or(has_fields) {
            true => Labelling::Several,
            false => Labelling::One,
        }
    }

    /// Returns true for data that is read and split by the rules of lstmtext 0.1.
    pub fn has_first_rules(&self) -> bool {
        self.version == 1
    }

    /// Returns how the data files are decoded.
    pub fn decoding(&self) -> Decoding {
        Decoding { encoding: self.encoding, setting: Some("set data.encoding: ") }
    }
}

/// Number of labels that a text can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Labelling {
    /// Exactly one: the classes exclude each other, and their probabilities are a softmax.
    #[default]
    One,
    /// Any number: each label has a probability of its own, a sigmoid.
    Several,
}

choice! {
    /// Quoting of the fields of a table.
    pub enum Quoting {
        /// The usual one of the format.
        Auto = "auto",
        /// Double quotes, RFC 4180.
        Standard = "standard",
        /// None.
        None = "none",
    }
}

choice! {
    /// Format of a data file.
    pub enum Format {
        /// Detected from the extension.
        Auto = "auto",
        /// Comma-separated, RFC 4180.
        Csv = "csv",
        /// Tab-separated, no quoting.
        Tsv = "tsv",
        /// One JSON object per line.
        Jsonl = "jsonl",
        /// A JSON array of objects.
        Json = "json",
        /// Apache Parquet.
        Parquet = "parquet",
        /// One `__label__NAME text` per line.
        Fasttext = "fasttext",
        /// One directory per class with one file per text, such as aclImdb.
        Folder = "folder",
        /// Stories with questions, such as the bAbI tasks.
        Babi = "babi",
    }
}

impl Format {
    /// Returns false if the format has no columns or keys, but a single text and its label.
    pub fn has_columns(self) -> bool {
        !matches!(self, Self::Fasttext | Self::Folder)
    }
}

choice! {
    /// Use of the token cache.
    pub enum CacheUse {
        /// Cache large files.
        Auto = "auto",
        /// Cache every file.
        Always = "always",
        /// Keep tokens in memory.
        Never = "never",
    }
}

choice! {
    /// Handling of lines that cannot be parsed.
    pub enum BrokenLines {
        /// Stop with an error.
        Error = "error",
        /// Skip and count them.
        Skip = "skip",
    }
}

choice! {
    /// Handling of labels without training examples.
    pub enum UnseenLabels {
        /// Stop with an error.
        Error = "error",
        /// Add a class.
        Class = "class",
    }
}

choice! {
    /// Split method.
    pub enum SplitMethod {
        /// Random, stratified by label.
        Stratified = "stratified",
        /// The end of the file.
        Position = "position",
    }
}
