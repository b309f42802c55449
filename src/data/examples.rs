//! Examples: rows of a data file with their targets.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};
use rustc_hash::FxHashSet;

use super::dataset::Dataset;
use super::finding::{Check, Finding};
use super::fingerprint::Fingerprint;
use super::formats::{Labels, Rows, excerpt, read_rows};
use super::labels::similar;
use super::sharding::{Sharing, read_source};
use super::source::{Source, TextHash};
use super::targets::{Target, Targets, UnknownLabel};
use super::text_faults::{all_empty, unfit_tokenizer};
use crate::config::{Config, DataConfig, Input, Inputs};
use crate::distributed::LostProcess;
use crate::io::input::conversion;
use crate::output::format::{group_digits, pluralize};
use crate::text::{Corpus, CorpusWriters, Encoder, Encoders, KnownEncoders, Vocabulary};

/// Examples of a data file or directory.
#[derive(Clone, Debug)]
pub struct Examples {
    /// Data from which the examples were read.
    pub source: Arc<Source>,
    /// Indices of the examples among the rows of the source.
    pub rows: Vec<u32>,
    /// Targets of the examples; none without labels. Labels are indices into the class names.
    pub targets: Targets,
    /// Findings on the file, such as the number of broken rows that were skipped.
    pub findings: Vec<Finding>,
}

impl Examples {
    /// Number of examples.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns true if there are no examples.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Hashes of the texts of the examples.
    pub(super) fn hashes(&self) -> impl Iterator<Item = &TextHash> {
        self.rows.iter().map(|row| &self.source.hashes[*row as usize])
    }

    /// Number of examples whose texts are those of an example of `other`, as the splits compare them.
    pub fn shared_with(&self, other: &Self) -> usize {
        let shared = intersection(self.hashes(), other.hashes());
        self.hashes().filter(|hash| shared.contains(hash)).count()
    }

    /// Computes the fingerprint of the examples. `labels` are the class names.
    pub fn fingerprint(&self, labels: &[String]) -> Fingerprint {
        let by_name = |labels: &[String], values: &[f32]| {
            let mut pairs: Vec<(&String, &f32)> = labels.iter().zip(values).collect();
            pairs.sort_unstable_by_key(|(name, _)| *name);
            format!("{pairs:?}")
        };
        let label = |target: Target| match target {
            Target::Label(label) => labels[label as usize].clone(),
            Target::LabelSet(set) => {
                let mut names: Vec<&str> =
                    set.iter().map(|label| labels[*label as usize].as_str()).collect();
                names.sort_unstable();
                names.join("\0")
            }
            Target::Probabilities(probabilities) => by_name(labels, probabilities),
            // The labels are those of the same examples without the probabilities of another model.
            Target::Distilled { labels: given, .. } => {
                let given = labels.iter().zip(given).filter(|(_, share)| **share >= 0.5);
                let mut names: Vec<&str> = given.map(|(name, _)| name.as_str()).collect();
                names.sort_unstable();
                names.join("\0")
            }
        };
        Fingerprint::of(self.hashes().zip(self.targets.iter().map(label)))
    }

    /// Computes the fingerprint of the texts in their order, whatever their labels.
    pub fn text_fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.hashes().zip((0..).map(|index: u32| index.to_string())))
    }

    /// Builds the vocabulary of the input at `index` from these examples.
    ///
    /// # Errors
    /// Returns an error if no word is frequent enough, or if a process is lost that has some of the texts.
    pub fn vocabulary(&self, index: usize, input: &Input) -> anyhow::Result<Vocabulary> {
        let texts = &self.source.inputs[index];
        let rows = self.rows.iter().map(|row| *row as usize);
        Vocabulary::count(texts, rows, &input.text).map_err(|error| {
            if error.is::<LostProcess>() {
                return error;
            }
            let reason = all_empty(input, "training", texts, &self.rows);
            let reason = reason
                .or_else(|| unfit_tokenizer(input, texts, &self.rows).map(|(advice, _)| advice));
            match (reason, &input.name) {
                (Some(reason), _) => anyhow!(reason),
                (None, Some(name)) => anyhow!("{name}: {error}"),
                (None, None) => error,
            }
        })
    }

    /// Builds the encoders of all inputs with the vocabularies of these examples, or with the
    /// configured vocabulary files. `known` are those of the model from which the training starts.
    ///
    /// # Errors
    /// Returns an error if no word is frequent enough or a vocabulary file cannot be used.
    pub fn encoders(&self, inputs: &Inputs, known: &KnownEncoders) -> anyhow::Result<Encoders> {
        Encoders::build(
            inputs,
            known,
            |index, input| self.vocabulary(index, input),
            |index| (&self.source.inputs[index], &self.rows),
        )
    }

    /// Encodes the texts of an input, given by its index.
    ///
    /// # Errors
    /// Returns an error if the ids are written to a file and this fails, or if a process is lost that has some
    /// of the texts.
    pub fn encode(&self, input: usize, encoder: &Encoder) -> anyhow::Result<Corpus> {
        let texts = &self.source.inputs[input];
        let tokens = self.rows.iter().map(|row| texts.text(*row as usize).len() as u64).sum();
        let sizes = encoder.ngrams().map_or(0, |index| index.sizes().0.len());
        let encode = || {
            let writers = CorpusWriters {
                tokens: self.source.ids_writer(tokens)?,
                ngrams: self.source.ids_writer(tokens * sizes as u64)?,
            };
            let corpus = encoder.encode_tokens(texts, &self.rows, writers);
            corpus.context("cannot store the encoded texts")
        };
        let Some(shards) = texts.shards() else { return encode() };
        let mut corpus = shards.collective().agree(encode())?;
        corpus.share_statistics(shards, &self.rows, encoder.vocabulary().len())?;
        Ok(corpus)
    }

    /// Tokenizes the same examples again with the inputs of another model.
    ///
    /// # Errors
    /// Returns an error if the data cannot be read, or if the other configuration selects different
    /// rows.
    pub fn retokenize(&self, config: &Config) -> anyhow::Result<Self> {
        let labels = Labels::Required { known: &self.source.known_labels };
        let source = read_source(&self.source.rows.path, config, labels, None)?;
        if source.rows.lines != self.source.rows.lines {
            bail!(
                "the models read different rows of \"{}\" and cannot be compared",
                source.rows.path.display()
            );
        }
        Ok(Self { source: Arc::new(source), ..self.clone() })
    }

    /// Returns the file of the example at `index`, and its line unless it is a whole file.
    pub fn file_and_line(&self, index: usize) -> (&Path, Option<u64>) {
        self.source.rows.file_and_line(self.rows[index] as usize)
    }

    /// Reads the texts of the examples at these indices again: for each example, one text per
    /// column of the inputs.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn texts(&self, indices: &[usize], config: &Config) -> anyhow::Result<Vec<Vec<String>>> {
        let wanted = indices.iter().enumerate();
        let wanted: HashMap<u32, usize> =
            wanted.map(|(position, index)| (self.rows[*index], position)).collect();
        let mut texts = vec![Vec::new(); indices.len()];
        let mut row = 0;
        let Source { rows, known_labels, .. } = &*self.source;
        let labels = Labels::Required { known: known_labels };
        read_rows(&rows.path, config, labels, &mut |columns| {
            if let Some(position) = wanted.get(&row) {
                texts[*position] = columns;
            }
            row += 1;
            Ok(())
        })?;
        Ok(texts)
    }

    /// Encodes all inputs and keeps the targets.
    ///
    /// # Errors
    /// See [`Examples::encode`].
    pub fn encoded(self, encoders: &[Encoder]) -> anyhow::Result<Dataset> {
        let inputs = encoders.iter().enumerate();
        let inputs = inputs.map(|(input, encoder)| self.encode(input, encoder));
        Ok(Dataset { inputs: inputs.collect::<anyhow::Result<_>>()?, targets: self.targets })
    }

    /// Returns the examples at these indices, without findings.
    pub(super) fn select(&self, indices: &[usize]) -> Self {
        let positions: Vec<u32> = indices.iter().map(|index| *index as u32).collect();
        Self {
            source: self.source.clone(),
            rows: indices.iter().map(|index| self.rows[*index]).collect(),
            targets: self.targets.select(&positions),
            findings: Vec::new(),
        }
    }
}

/// Returns the values of the smaller set `few` that are among `many`.
pub(super) fn intersection<T: Eq + Hash>(
    few: impl Iterator<Item = T>,
    many: impl Iterator<Item = T>,
) -> FxHashSet<T> {
    let few: FxHashSet<T> = few.collect();
    many.filter(|value| few.contains(value)).collect()
}

/// Reads the examples of a file whose labels are among the class names of a model.
///
/// # Errors
/// Returns an error if the file cannot be read, has no examples or has an unknown label.
pub fn read_examples(path: &Path, config: &Config, classes: &[String]) -> anyhow::Result<Examples> {
    let labels = Labels::Required { known: classes };
    with_classes(read_nonempty_source(path, config, labels, None)?, classes, &config.data)
}

/// Reads a file that has examples.
pub(super) fn read_nonempty_source(
    path: &Path,
    config: &Config,
    labels: Labels,
    sharing: Sharing,
) -> anyhow::Result<Source> {
    let source = read_source(path, config, labels, sharing)?;
    if source.rows.is_empty() {
        let skipped = match source.rows.skipped {
            0 => String::new(),
            rows => format!(
                ": {} skipped; the first is {}",
                pluralize(rows, "broken row"),
                source.rows.first_skipped.as_deref().unwrap_or_default()
            ),
        };
        bail!("\"{}\" has no examples{skipped}", path.display());
    }
    ensure_few_skipped(&source.rows, &config.data)?;
    Ok(source)
}

/// Replaces labels with indices into the class names.
pub(super) fn with_classes(
    source: Source,
    classes: &[String],
    config: &DataConfig,
) -> anyhow::Result<Examples> {
    let rows = &source.rows;
    let class_of: HashMap<&str, u32> =
        classes.iter().enumerate().map(|(class, name)| (name.as_str(), class as u32)).collect();
    let class_of_label: Vec<Option<u32>> =
        rows.label_names.iter().map(|name| class_of.get(name.as_str()).copied()).collect();
    let targets = rows.targets.with_classes(&class_of_label, classes.len());
    let targets = targets.map_err(|UnknownLabel { example, label }| {
        let name = &rows.label_names[label as usize];
        let advice = similar(name, classes).map_or(String::new(), |known| {
            format!("; it looks like {:?}, and data.label_names can rename it", excerpt(known))
        });
        anyhow!(
            "{}: unknown label \"{}\"{advice}; known labels are {}",
            rows.location(example),
            excerpt(name),
            join_excerpts(classes)
        )
    })?;
    Ok(all_rows(source, targets, config))
}

/// Returns all rows of a file as examples, with these targets, and findings on the file.
pub(super) fn all_rows(source: Source, targets: Targets, config: &DataConfig) -> Examples {
    let rows = &source.rows;
    let skipped = (rows.skipped > 0).then(|| skipped_rows(rows, config));
    let long = rows.long_row.as_ref().map(|(file, line, lines)| {
        let file = file.display();
        let message = format!(
            "{file}:{line}: this row spans {lines} lines; check it for an unbalanced quote"
        );
        Finding::new(Check::LongRows, message).counted(1, rows.len()).setting("data.quoting")
    });
    let findings = skipped.into_iter().chain(long).collect();
    let rows = (0..rows.len() as u32).collect();
    Examples { source: Arc::new(source), rows, targets, findings }
}

/// Returns the finding on rows that were skipped.
fn skipped_rows(rows: &Rows, config: &DataConfig) -> Finding {
    let all = rows.len() + rows.skipped;
    let broken = pluralize(rows.skipped, "broken row");
    let skipped = format!("skipped {broken} of {}", group_digits(all));
    let mut message = match &rows.first_skipped {
        Some(first) => format!("{skipped}; the first is {first}"),
        None => format!("{}: {skipped}", rows.path.display()),
    };
    if rows.not_utf8 > 0 {
        let count = group_digits(rows.not_utf8);
        let encoding = match config.encoding.is_auto() {
            true => "UTF-8".to_owned(),
            false => config.encoding.to_string(),
        };
        let advice = conversion(Some(&rows.path), config.decoding());
        message += &format!("; {count} of them are not valid {encoding}; {advice}");
    }
    let setting = if rows.not_utf8 > 0 { "data.encoding" } else { "data.broken_lines" };
    Finding::new(Check::BrokenRows, message).counted(rows.skipped, all).setting(setting)
}

/// Checks that not too many rows were skipped.
fn ensure_few_skipped(rows: &Rows, config: &DataConfig) -> anyhow::Result<()> {
    let all = rows.len() + rows.skipped;
    let limit = config.max_skipped;
    ensure!(
        rows.skipped as f64 <= limit * all as f64,
        "{} ({:.1} %), and the limit is {:.1} %; correct the file, check data.format, or increase \
         data.max_skipped",
        skipped_rows(rows, config),
        100.0 * rows.skipped as f64 / all as f64,
        100.0 * limit,
    );
    Ok(())
}

/// Joins excerpts of the first ten names.
fn join_excerpts(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| excerpt(name)).collect();
    match names.len() > SHOWN {
        true => format!("{} and {} more", shown.join(", "), names.len() - SHOWN),
        false => shown.join(", "),
    }
}
