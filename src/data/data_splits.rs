//! The examples of a configuration.

use anyhow::bail;

use super::examples::Examples;
use super::finding::{Check, Finding};
use super::fingerprint::SplitFingerprints;
use super::labels::named;
use super::split_name::SplitName;
use crate::config::{Config, Inputs};
use crate::output::format::join_names;

/// All examples of a configuration.
#[derive(Clone, Debug)]
pub struct DataSplits {
    /// Class names, indexed by class.
    pub labels: Vec<String>,
    /// Training examples.
    pub train: Examples,
    /// Validation examples, at least one.
    pub validation: Examples,
    /// Test examples, possibly none.
    pub test: Examples,
    /// Findings, such as skipped rows and labels that look alike.
    pub findings: Vec<Finding>,
}

impl DataSplits {
    /// Drops training examples whose text has more than `text.train_max_length` tokens. Also drops
    /// such validation examples, if they were split off the training file.
    ///
    /// # Errors
    /// Returns an error if no example of a split is left.
    pub fn drop_long_texts(&mut self, config: &Config) -> anyhow::Result<()> {
        let splits =
            [(SplitName::Train, &mut self.train), (SplitName::Validation, &mut self.validation)];
        for (name, examples) in splits {
            self.findings.extend(drop_long_texts(examples, name, &self.labels, config)?);
        }
        Ok(())
    }

    /// Computes the fingerprints of all splits.
    pub fn fingerprints(&self) -> SplitFingerprints {
        let [train, validation, test] =
            SplitName::ALL.map(|name| self.split(name).fingerprint(&self.labels));
        SplitFingerprints { train, validation, test, unlabelled: None }
    }

    /// Returns the examples of a split.
    pub fn split(&self, name: SplitName) -> &Examples {
        match name {
            SplitName::Train => &self.train,
            SplitName::Validation => &self.validation,
            SplitName::Test => &self.test,
        }
    }
}

/// Drops the examples of a split whose text has more than `text.train_max_length` tokens, if it is the
/// training split or the validation split that was split off it. Returns findings on them.
pub(super) fn drop_long_texts(
    examples: &mut Examples,
    name: SplitName,
    labels: &[String],
    config: &Config,
) -> anyhow::Result<Vec<Finding>> {
    let name = match name {
        SplitName::Train => name.adjective(),
        SplitName::Validation if config.data.validation.is_none() => name.adjective(),
        _ => return Ok(Vec::new()),
    };
    let is_unlimited = config.inputs.iter().all(|input| input.text.train_max_length.is_none());
    if is_unlimited || examples.is_empty() {
        return Ok(Vec::new());
    }
    let short: Vec<usize> =
        (0..examples.len()).filter(|index| is_short(examples, *index, &config.inputs)).collect();
    if short.is_empty() {
        bail!("text.train_max_length leaves no {name} examples; increase it");
    }
    let (dropped, total) = (examples.len() - short.len(), examples.len());
    let finding = |message: String, count: usize, total: usize| {
        let found = Finding::new(Check::LongTexts, message).counted(count, total);
        found.setting("text.train_max_length")
    };
    let message =
        format!("dropped {dropped} of {total} {name} texts that exceed text.train_max_length");
    let mut findings = vec![finding(message, dropped, total)];
    let before = examples.targets.class_counts(labels.len());
    *examples = Examples { findings: examples.findings.clone(), ..examples.select(&short) };
    let after = examples.targets.class_counts(labels.len());
    let emptied = before.iter().zip(&after).map(|(before, after)| before > after && *after == 0.0);
    let emptied = named(labels, emptied);
    if !emptied.is_empty() {
        let names = join_names(&emptied);
        let message = format!("text.train_max_length leaves no {name} example of {names}");
        findings.push(finding(message, emptied.len(), labels.len()));
    }
    Ok(findings)
}

/// Returns the rows of the examples none of whose texts exceeds `text.train_max_length`.
pub(super) fn short_rows(examples: &Examples, config: &Config) -> Vec<u32> {
    let short = (0..examples.len()).filter(|index| is_short(examples, *index, &config.inputs));
    short.map(|index| examples.rows[index]).collect()
}

/// Returns true if no text of the example exceeds `text.train_max_length`.
fn is_short(examples: &Examples, index: usize, inputs: &Inputs) -> bool {
    let row = examples.rows[index] as usize;
    inputs.iter().zip(&examples.source.inputs).all(|(input, texts)| {
        input.text.train_max_length.is_none_or(|limit| texts.length(row) <= limit)
    })
}
