//! Notes on examples that the evaluated models have seen in training.

use crate::config::{Config, DataConfig, Override, Resolved};
use crate::data::{self, Examples, Fingerprint, SplitFingerprints, SplitName, Usage};
use crate::output::format::{group_digits, join_names};
use crate::run::checkpoint::Checkpoint;

/// Reason for which nothing is known about the examples of a training.
const UNRECORDED: &str =
    "the checkpoint does not record its examples (it is of an earlier version, or imported)";

/// Returns a note on a split of the run's own data that is not the split of the training, or that may
/// not be. `overrides` change the configuration of the run.
pub fn of_split(
    name: SplitName,
    examples: Fingerprint,
    recorded: Option<SplitFingerprints>,
    overrides: &[Override],
) -> Option<String> {
    let mut fields: Vec<String> = overrides.iter().map(Override::field).collect();
    fields.retain(|field| field.split('.').next() == Some("data"));
    let reason = match fields[..] {
        [] => "the data has changed since".to_owned(),
        _ => format!("--set changes {}", join_names(&fields)),
    };
    let Some(recorded) = recorded else {
        let condition = if fields.is_empty() { "if" } else { "as" };
        return Some(format!(
            "{UNRECORDED}: {condition} {reason}, some of these examples may be training examples"
        ));
    };
    let then = recorded.split(name);
    if then == examples {
        return None;
    }
    let known = of_usage(recorded.usage(examples)).unwrap_or_else(|| match name {
        SplitName::Train => "the scores are not those of the training examples".to_owned(),
        _ => "some of these examples may be training examples".to_owned(),
    });
    Some(format!(
        "the run had other {} examples, because {reason} ({} then, {} now): {known}",
        name.adjective(),
        group_digits(then.examples()),
        group_digits(examples.examples())
    ))
}

/// Returns a note on a file with training or validation examples of the checkpoint, with some of their
/// texts, or that may have some.
pub fn of_file(examples: &Examples, checkpoint: &Checkpoint) -> anyhow::Result<Option<String>> {
    const UNKNOWN: &str = "some of these examples may be training examples";
    let Some(recorded) = checkpoint.progress()?.data else {
        return Ok(Some(format!("{UNRECORDED}: {UNKNOWN}")));
    };
    let usage = recorded.usage(examples.fingerprint(&checkpoint.labels));
    // The overrides describe the file.
    Ok(match (usage, &checkpoint.saved) {
        (Usage::Unknown, Some(Resolved { config, .. })) => {
            data::training_overlap(examples, config, &checkpoint.labels, recorded.train)
                .unwrap_or_else(|reason| Some(format!("{UNKNOWN}: {reason}")))
        }
        (Usage::Unknown, None) => Some(UNKNOWN.to_owned()),
        (usage, _) => of_usage(usage),
    })
}

fn of_usage(usage: Usage) -> Option<String> {
    let known = match usage {
        Usage::Training => {
            "these are the training examples of the checkpoint: their scores say little about other texts"
        }
        Usage::IncludesTraining => {
            "these examples include all training examples of the checkpoint: their scores say little about \
             other texts"
        }
        Usage::Validation => {
            "these are the validation examples of the checkpoint, which chose its weights: other texts may \
             score lower"
        }
        Usage::Test | Usage::Unknown => return None,
    };
    Some(known.to_owned())
}

/// Returns a note if the other checkpoint of a comparison may have been trained on the examples, while
/// the first one was not.
pub fn of_comparison(
    examples: Fingerprint,
    first: &Checkpoint,
    other: &Checkpoint,
) -> anyhow::Result<Option<String>> {
    let path = other.path.display();
    let other_splits = other.progress()?.data;
    let (Some(first_splits), Some(other_splits)) = (first.progress()?.data, other_splits) else {
        // Without fingerprints, the configurations are the only evidence.
        let is_same = same_split(&first.resolved.config, &other.resolved.config);
        return Ok((!is_same).then(|| {
            format!("\"{path}\" was trained on a different split, which may include some of these examples")
        }));
    };
    let usage = other_splits.usage(examples);
    let is_trained = matches!(usage, Usage::Training | Usage::IncludesTraining);
    let is_unseen = matches!(usage, Usage::Validation | Usage::Test);
    Ok(match () {
        _ if other_splits.train == first_splits.train => None,
        _ if is_trained => Some(format!("\"{path}\" was trained on these examples")),
        _ if is_unseen => None,
        _ => Some(format!(
            "\"{path}\" was trained on a different split, which may include some of these examples"
        )),
    })
}

/// Returns true if both have the same training, validation and test examples, as long as the files do
/// not change. That depends on the text columns too, because duplicates stay in one split.
fn same_split(a: &Config, b: &Config) -> bool {
    let split = |data: &DataConfig| {
        let files = (data.train.clone(), data.validation.clone(), data.test.clone());
        let labels = (data.label_fields().1, data.label_separator.clone(), data.labelling());
        let rows = (data.filter.clone(), labels, data.label_names.clone());
        (files, rows, data.labels.clone(), data.split.clone(), data.version)
    };
    split(&a.data) == split(&b.data) && a.inputs.columns() == b.inputs.columns()
}

/// Returns the reason why examples cannot show which models to trust: the model of this checkpoint was
/// trained on some of them, or may have been.
pub fn training_use(
    examples: &Examples,
    checkpoint: &Checkpoint,
) -> anyhow::Result<Option<String>> {
    let path = checkpoint.path.display();
    let Some(recorded) = checkpoint.progress()?.data else {
        return Ok(Some(format!("\"{path}\": {UNRECORDED}")));
    };
    let unknown = |reason: &str| {
        format!("\"{path}\" may have been trained on some of these examples: {reason}")
    };
    Ok(match (recorded.usage(examples.fingerprint(&checkpoint.labels)), &checkpoint.saved) {
        (Usage::Validation | Usage::Test, _) => None,
        (Usage::Training | Usage::IncludesTraining, _) => {
            Some(format!("\"{path}\" was trained on these examples"))
        }
        (Usage::Unknown, Some(Resolved { config, .. })) => {
            match data::training_overlap(examples, config, &checkpoint.labels, recorded.train) {
                Ok(overlap) => overlap.map(|overlap| {
                    format!("\"{path}\" was trained on some of these examples: {overlap}")
                }),
                Err(reason) => Some(unknown(reason)),
            }
        }
        (Usage::Unknown, None) => Some(unknown("its configuration is not valid")),
    })
}
