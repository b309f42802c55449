//! Divides the examples of the training file into splits, as the configuration says.

use std::borrow::Cow;

use anyhow::bail;

use crate::config::{DataConfig, FoldUse, Labelling, Portion, SplitMethod};
use crate::data::examples::Examples;
use crate::data::formats::NO_GROUP;
use crate::data::iterative_stratification::{folds_of_sets, stratified_sets};
use crate::data::split::{Split, by_position, connected, folds, stratified};
use crate::data::targets::{LabelSets, Target, Targets};

/// Labels by which a split is stratified.
enum Strata<'a> {
    /// One label per example: the given one, or the most probable one.
    Labels(Cow<'a, [u32]>),
    /// Any number of labels per example: the given ones, or those with a probability of at least 0.5.
    LabelSets(Cow<'a, LabelSets>),
}

impl<'a> Strata<'a> {
    fn of(targets: &'a Targets, labelling: Labelling) -> Self {
        match (targets, labelling) {
            (Targets::Labels(labels), _) => Self::Labels(Cow::Borrowed(labels)),
            (Targets::LabelSets(sets), _) => Self::LabelSets(Cow::Borrowed(sets)),
            (Targets::Probabilities { .. } | Targets::Distilled { .. }, Labelling::One) => {
                Self::Labels(targets.iter().map(Target::most_probable).collect())
            }
            (Targets::Probabilities { .. } | Targets::Distilled { .. }, Labelling::Several) => {
                let sets = targets.iter().map(|target| target.labels(labelling));
                let sets: Vec<Vec<u32>> = sets.collect();
                Self::LabelSets(Cow::Owned(sets.iter().map(Vec::as_slice).collect()))
            }
        }
    }

    /// Returns the labels of the examples at these indices.
    fn select(&self, indices: &[usize]) -> Strata<'static> {
        let indices = indices.iter();
        match self {
            Self::Labels(labels) => Strata::Labels(indices.map(|index| labels[*index]).collect()),
            Self::LabelSets(sets) => {
                Strata::LabelSets(Cow::Owned(indices.map(|index| sets.get(*index)).collect()))
            }
        }
    }

    fn folds(&self, units: &[u32], count: usize, seed: u64) -> Vec<usize> {
        match self {
            Self::Labels(labels) => folds(units, labels, count, seed),
            Self::LabelSets(sets) => folds_of_sets(units, sets, count, seed),
        }
    }

    fn split(
        &self,
        units: &[u32],
        validation: usize,
        test: usize,
        keep_classes: bool,
        seed: u64,
    ) -> Split {
        match self {
            Self::Labels(labels) => stratified(units, labels, validation, test, keep_classes, seed),
            Self::LabelSets(sets) => stratified_sets(units, sets, validation, test, seed),
        }
    }
}

/// Returns a number for each example, the same for those that must be in the same split: examples of the same
/// group, and with the same text.
///
/// # Errors
/// Returns an error if the file has no groups, although they are configured.
fn units(train: &Examples, config: &DataConfig) -> anyhow::Result<Vec<u32>> {
    let Some(column) = &config.split.group else { return Ok(connected(&train.source.hashes, &[])) };
    let groups = &train.source.rows.groups;
    if groups.iter().all(|group| *group == NO_GROUP) {
        bail!(
            "data.split.group: no example of \"{}\" has a value in a column {column}",
            config.train.display()
        );
    }
    Ok(connected(&train.source.hashes, groups))
}

/// Divides the examples into folds, one of which is held out for its use. The other part, of this size, is split off:
/// test examples before there are folds, and validation examples of the other folds.
fn split_by_fold(
    train: &Examples,
    config: &DataConfig,
    count: usize,
    other_part: usize,
) -> anyhow::Result<Split> {
    let strata = Strata::of(&train.targets, config.labelling());
    let (units, seed) = (units(train, config)?, config.split.seed);
    let units_of = |examples: &[usize]| -> Vec<u32> {
        examples.iter().map(|example| units[*example]).collect()
    };
    let (of_folds, test) = match config.split.fold_use {
        FoldUse::Test => ((0..train.len()).collect(), Vec::new()),
        FoldUse::Validation => {
            let split = strata.split(&units, 0, other_part, true, seed);
            (split.train, split.test)
        }
    };
    let fold_of = strata.select(&of_folds).folds(&units_of(&of_folds), count, seed);
    if let Some(empty) = (0..count).find(|fold| !fold_of.contains(fold)) {
        bail!(
            "data.split.folds: fold {} of {count} would be empty; \"{}\" has too few examples, texts that \
             differ, or groups",
            empty + 1,
            config.train.display()
        );
    }
    let (mut held_out, mut others) = (Vec::new(), Vec::new());
    for (example, fold) in of_folds.into_iter().zip(fold_of) {
        if fold + 1 == config.split.fold { &mut held_out } else { &mut others }.push(example);
    }
    if config.split.fold_use == FoldUse::Validation {
        return Ok(Split { train: others, validation: held_out, test });
    }
    let inner = strata.select(&others).split(&units_of(&others), other_part, 0, true, seed);
    let original = |indices: Vec<usize>| indices.into_iter().map(|index| others[index]).collect();
    let (train, validation) = (original(inner.train), original(inner.validation));
    Ok(Split { train, validation, test: held_out })
}

/// Divides the examples of the training file into splits.
pub fn split(train: &Examples, config: &DataConfig) -> anyhow::Result<Split> {
    let fold = config.split.test_folds().map_or(0, |folds| train.len() / folds);
    let total = train.len() - fold;
    let size = |has_file: bool, portion: Portion| if has_file { 0 } else { portion.of(total) };
    let validation = match config.split.validation_folds() {
        Some(folds) => total / folds,
        None => size(config.validation.is_some(), config.split.validation),
    };
    let test = size(config.test.is_some(), config.split.test);
    if validation.saturating_add(test) >= total {
        bail!(
            "\"{}\" has {total} examples; data.split takes {validation} for validation and {test} \
             for test, which leaves none for training",
            config.train.display()
        );
    }
    if let Some(folds) = config.split.folds {
        let other_part = match config.split.fold_use {
            FoldUse::Test => validation,
            FoldUse::Validation => test,
        };
        return split_by_fold(train, config, folds, other_part);
    }
    Ok(match config.split.method {
        SplitMethod::Position => {
            let seed = config.split.shuffle.then_some(config.split.seed);
            by_position(total, validation, test, seed)
        }
        SplitMethod::Stratified => {
            let keep_classes = !config.has_first_rules();
            let seed = config.split.seed;
            let units = units(train, config)?;
            let strata = Strata::of(&train.targets, config.labelling());
            strata.split(&units, validation, test, keep_classes, seed)
        }
    })
}
