//! Data that is ready for training.

use std::time::Instant;

use anyhow::{Context, ensure};

use crate::config::{Config, EmbeddingConfig, Input, Resolved};
use crate::data::check::duplicates::overlap;
use crate::data::check::report::findings;
use crate::data::check::texts;
use crate::data::metric_check::check_metric;
use crate::data::sharding::{Sharing, agree};
use crate::data::{
    self, Check, DataSplits, Dataset, Examples, Finding, SplitFingerprints, SplitName,
};
use crate::random::{SeedPurpose, derive_seed};
use crate::text::{
    Corpus, Encoders, KnownEncoders, WordVectors, coverage, read_subwords, read_vectors,
    split_off_subwords, subwords_path,
};

/// A configuration with its encoded data: everything that training needs except a model.
pub struct PreparedData {
    /// Resolved configuration.
    pub resolved: Resolved,
    /// Class names, indexed by class.
    pub labels: Vec<String>,
    /// Encoder of each input.
    pub encoders: Encoders,
    /// Pre-trained word vectors of each input, if configured. Empty if the data of a run was reopened.
    pub vectors: Vec<Option<WordVectors>>,
    /// Vectors of the buckets of character n-grams of each input, [buckets, E], if word vectors are configured. Empty
    /// if the data of a run was reopened.
    pub subword_vectors: Vec<Option<Vec<f32>>>,
    /// Training examples.
    pub train: Dataset,
    /// Validation examples.
    pub validation: Dataset,
    /// Test examples, possibly none.
    pub test: Dataset,
    /// Unlabelled texts, if there are any besides the training examples.
    pub unlabelled: Option<Dataset>,
    /// Fingerprints of all splits.
    pub fingerprints: SplitFingerprints,
    /// Findings of the check of the data.
    pub findings: Vec<Finding>,
    /// Time spent on reading and encoding, in seconds.
    pub seconds: f64,
}

impl PreparedData {
    /// Reads the data, builds the vocabularies from the training examples, and encodes all examples.
    ///
    /// # Errors
    /// Returns an error if the data or the word vectors cannot be read, or if no word is frequent
    /// enough.
    pub fn prepare(resolved: Resolved) -> anyhow::Result<Self> {
        Self::prepare_with(resolved, &KnownEncoders::default(), None)
    }

    /// Prepares data like [`PreparedData::prepare`]. `known` are the encoders of the model from which the
    /// training starts. Other processes may share the work.
    ///
    /// # Errors
    /// Returns the errors of [`PreparedData::prepare`].
    pub fn prepare_with(
        mut resolved: Resolved,
        known: &KnownEncoders,
        sharing: Sharing,
    ) -> anyhow::Result<Self> {
        let start = Instant::now();
        let has_several = data::has_several_labels(&resolved.config, sharing)?;
        if has_several || !resolved.config.data.label_columns.is_empty() {
            resolved.set_multi_label(has_several);
        }
        known.share_subwords(&resolved.config.inputs);
        let mut splits = data::load(&resolved.config, sharing)?;
        check_metric(&resolved.config, &splits.labels, &splits.validation.targets)?;
        let encoders = splits.train.encoders(&resolved.config.inputs, known)?;
        splits.drop_long_texts(&resolved.config)?;
        let vectors = agree(sharing, read_all_vectors(&resolved.config, &encoders))?;
        let (vectors, subword_vectors) = vectors.into_iter().unzip();
        let mut prepared = Self::encode(resolved, splits, encoders, start, sharing)?;
        prepared.vectors = vectors;
        prepared.subword_vectors = subword_vectors;
        prepared.findings.extend(prepared.coverage());
        prepared.seconds = start.elapsed().as_secs_f64();
        Ok(prepared)
    }

    /// Reads the data of a run again and encodes it with the labels and encoders of its checkpoint. Other
    /// processes may share the work.
    ///
    /// # Errors
    /// Returns an error if the data cannot be read or its labels have changed.
    pub fn reopen(
        resolved: Resolved,
        labels: &[String],
        encoders: Encoders,
        sharing: Sharing,
    ) -> anyhow::Result<Self> {
        let start = Instant::now();
        let mut splits = data::load(&resolved.config, sharing)?;
        splits.drop_long_texts(&resolved.config)?;
        ensure!(
            splits.labels == labels,
            "the labels of the data have changed: found {}, but the run started with {}",
            splits.labels.join(", "),
            labels.join(", ")
        );
        check_metric(&resolved.config, labels, &splits.validation.targets)?;
        Self::encode(resolved, splits, encoders, start, sharing)
    }

    fn encode(
        resolved: Resolved,
        splits: DataSplits,
        encoders: Encoders,
        start: Instant,
        sharing: Sharing,
    ) -> anyhow::Result<Self> {
        let train = &resolved.config.train;
        let unlabelled = match train.has_unlabelled_terms() || train.has_language_model() {
            true => data::load_unlabelled(&resolved.config, sharing)?,
            false => None,
        };
        let mut fingerprints = splits.fingerprints();
        fingerprints.unlabelled = unlabelled.as_ref().map(Examples::text_fingerprint);
        let encode = |examples: &Examples| examples.clone().encoded(&encoders);
        let train = encode(&splits.train)?;
        let validation = encode(&splits.validation)?;
        let test = encode(&splits.test)?;
        let corpora = [&train, &validation, &test].map(|part| &part.inputs[..]);
        let mut findings = findings(&splits, corpora, &encoders, &resolved.config)?;
        let mut unlabelled_texts = None;
        if let Some(examples) = unlabelled {
            let dataset = encode(&examples)?;
            findings.extend(examples.findings.clone());
            for name in [SplitName::Validation, SplitName::Test] {
                let (part, shown) = (splits.split(name), format!("{name} "));
                let count = part.shared_with(&examples);
                let data = &resolved.config.data;
                findings.extend(overlap(count, part.len(), "unlabelled", &shown, data));
            }
            let (inputs, corpora) = (&resolved.config.inputs, &dataset.inputs);
            findings.extend(texts::findings("unlabelled ", &examples, inputs, &encoders, corpora)?);
            unlabelled_texts = Some(dataset);
        }
        Ok(Self {
            fingerprints,
            labels: splits.labels,
            vectors: Vec::new(),
            subword_vectors: Vec::new(),
            train,
            validation,
            test,
            unlabelled: unlabelled_texts,
            resolved,
            findings,
            seconds: start.elapsed().as_secs_f64(),
            encoders,
        })
    }

    /// Number of tokens of all examples.
    pub fn tokens(&self) -> usize {
        let unlabelled = self.unlabelled.as_ref().map_or(0, Dataset::tokens);
        self.train.tokens() + self.validation.tokens() + self.test.tokens() + unlabelled
    }

    /// Returns the findings of which the user should know.
    pub fn notes(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.is_notable())
    }

    /// Returns a finding on the coverage of each input with pre-trained vectors.
    fn coverage(&self) -> Vec<Finding> {
        let inputs = self.resolved.config.inputs.iter().zip(&self.vectors).zip(&self.train.inputs);
        let note = |((input, vectors), corpus): ((&Input, &Option<WordVectors>), &Corpus)| {
            let vectors = vectors.as_ref()?;
            let coverage = coverage(&vectors.found, &corpus.id_counts(vectors.found.len()));
            let skipped = match vectors.skipped {
                0 => String::new(),
                words => format!("; skipped {words} words of the file that are not valid UTF-8"),
            };
            let ngrams = match lacks_subwords(input) {
                true => "; the file has no vectors of character n-grams; they start at 0",
                false => "",
            };
            let message = format!(
                "{}: {:.2} % of the words and {:.2} % of the training tokens have a vector{skipped}{ngrams}",
                input.field("embedding.vectors"),
                100.0 * coverage.types,
                100.0 * coverage.tokens,
            );
            let field = input.field("embedding.vectors");
            Some(Finding::new(Check::WordVectors, message).setting(field))
        };
        inputs.filter_map(note).collect()
    }
}

/// Returns true if an input has character n-grams, but starts from a file of word vectors without them.
fn lacks_subwords(input: &Input) -> bool {
    let EmbeddingConfig { vectors, subwords, .. } = &input.embedding;
    let beside = || vectors.as_deref().and_then(|path| subwords_path(path, subwords));
    subwords.is_on() && !beside().is_some_and(|path| path.exists())
}

/// Word vectors of an input, and those of its character n-grams.
type InputVectors = (Option<WordVectors>, Option<Vec<f32>>);

/// Reads the word vectors of each input, and those of its character n-grams.
fn read_all_vectors(config: &Config, encoders: &Encoders) -> anyhow::Result<Vec<InputVectors>> {
    let read = |(index, input): (usize, &Input)| {
        let Some(path) = &input.embedding.vectors else { return Ok((None, None)) };
        let seed = derive_seed(config.train.seed, SeedPurpose::WordVectors(index));
        let (words, size) = (encoders[index].vocabulary(), input.embedding.size);
        let field = || input.field("embedding.vectors");
        let mut vectors = read_vectors(path, words, size, seed).with_context(field)?;
        let Some(buckets) = encoders[index].word_buckets() else {
            return Ok((Some(vectors), None));
        };
        let subwords = read_subwords(path, &input.embedding.subwords, size).with_context(field)?;
        split_off_subwords(&mut vectors, &subwords, buckets);
        Ok((Some(vectors), Some(subwords)))
    };
    config.inputs.iter().enumerate().map(read).collect()
}
