//! Texts of which a model reads the same tokens.

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::config::DataConfig;
use crate::data::examples::{Examples, intersection};
use crate::data::finding::{Check, Finding, Level};
use crate::data::split_name::SplitName;
use crate::data::targets::Target;
use crate::output::format::{group_digits, share};
use crate::text::{Encoder, TokenizedTexts, word_hash};

/// Fraction of repeated texts from which they are noted.
const MANY: f64 = 0.05;
/// Fraction of repeated texts with different labels from which they are noted.
const MANY_CONTRADICTIONS: f64 = 0.01;

/// Hash of an example whose texts are all empty.
const EMPTY: u64 = 0;

/// Returns the hashes of the tokens that a model reads of each example; [`EMPTY`] if all its texts are empty.
///
/// # Errors
/// Returns an error if a process is lost that has some of the texts.
pub fn token_hashes(examples: &Examples, encoders: &[Encoder]) -> anyhow::Result<Vec<u64>> {
    let rows = || examples.rows.iter().map(|row| *row as usize);
    let shards = examples.source.inputs.first().and_then(TokenizedTexts::shards);
    let own: Vec<usize> =
        rows().filter(|row| shards.is_none_or(|shards| shards.is_own(*row))).collect();
    let mut hashes = vec![EMPTY; own.len()];
    for (input, encoder) in encoders.iter().enumerate() {
        let texts = &examples.source.inputs[input];
        let words: Vec<u64> = texts.words().par_iter().map(|word| word_hash(word)).collect();
        hashes.par_iter_mut().zip(&own).for_each(|(hash, row)| {
            let parts = encoder.tokens_read(texts.text(*row));
            // Separates the texts of several inputs.
            let start = mix(*hash, input as u64);
            let tokens = parts.into_iter().flatten().map(|token| words[*token as usize]);
            let (mut next, mut is_empty) = (start, true);
            for word in tokens {
                next = mix(next, word);
                is_empty = false;
            }
            if *hash != EMPTY || !is_empty {
                *hash = next.max(EMPTY + 1);
            }
        });
        texts.release();
    }
    match shards {
        Some(shards) => shards.complete(rows(), &hashes),
        None => Ok(hashes),
    }
}

/// Mixes a value into a hash: the finalizer of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(hash: u64, value: u64) -> u64 {
    let mut z = hash.rotate_left(5) ^ value;
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Returns a finding on texts that occur several times in a part.
pub fn repeated(name: SplitName, examples: &Examples, hashes: &[u64]) -> Option<Finding> {
    let mut number_of: FxHashMap<&[u32], u32> = FxHashMap::default();
    let labels = examples.targets.iter().map(|target| match target {
        Target::Label(label) => label,
        Target::LabelSet(set) => {
            let next = number_of.len() as u32;
            *number_of.entry(set).or_insert(next)
        }
        // Probabilities hardly ever agree.
        Target::Probabilities(_) | Target::Distilled { .. } => 0,
    });
    let mut sorted: Vec<(u64, u32)> =
        hashes.iter().copied().zip(labels).filter(|(hash, _)| *hash != EMPTY).collect();
    sorted.par_sort_unstable();
    let (mut repeated, mut contradictory) = (0, 0);
    for group in sorted.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1) {
        repeated += group.len() - 1;
        // The labels of a group are sorted.
        if group.first().map(|first| first.1) != group.last().map(|last| last.1) {
            contradictory += group.len();
        }
    }
    if repeated == 0 {
        return None;
    }
    let total = examples.len();
    let is_many = |count: usize, share: f64| count as f64 >= share * total as f64;
    let is_contradictory = contradictory > 0 && is_many(contradictory, MANY_CONTRADICTIONS);
    let texts = format!("{} texts", name.adjective());
    let verb = if repeated == 1 { "repeats" } else { "repeat" };
    let mut message =
        format!("{} {verb} the tokens of another one", share(repeated, total, &texts));
    if contradictory > 0 {
        let count = group_digits(contradictory);
        message +=
            &format!("; {count} texts with the same tokens have different labels: correct them");
    } else if is_many(repeated, MANY) {
        message += "; remove the copies, which count several times";
    }
    let level = match is_many(repeated, MANY) || is_contradictory {
        true => Level::Note,
        false => Level::Ok,
    };
    Some(Finding::new(Check::RepeatedTexts, message).counted(repeated, total).level(level))
}

/// Returns a finding on the texts of the part `name` that are also training texts, which inflates their
/// scores. Each set of examples has its hashes.
pub fn shared(
    name: SplitName,
    train: (&Examples, &[u64]),
    other: (&Examples, &[u64]),
    config: &DataConfig,
) -> Option<Finding> {
    let (examples, hashes) = other;
    let texts = intersection(examples.hashes(), train.0.hashes());
    let shared = intersection(with_words(hashes), with_words(train.1));
    let is_shared = |(text, hash): (&_, &u64)| texts.contains(text) || shared.contains(hash);
    let count = examples.hashes().zip(hashes).filter(|pair| is_shared(*pair)).count();
    overlap(count, examples.len(), "training", &format!("{name} "), config)
}

/// Returns the hashes of examples with words.
fn with_words(hashes: &[u64]) -> impl Iterator<Item = u64> {
    hashes.iter().copied().filter(|hash| *hash != EMPTY)
}

/// Returns a finding on `count` of the `total` texts of the part `name` that are also training texts, or
/// unlabelled texts, as `kind` says.
pub fn overlap(
    count: usize,
    total: usize,
    kind: &str,
    name: &str,
    config: &DataConfig,
) -> Option<Finding> {
    let article = if kind.starts_with('u') { "an" } else { "a" };
    let also = match count {
        1 => format!("is also {article} {kind} text"),
        _ => format!("are also {kind} texts"),
    };
    let alike = match config.has_first_rules() {
        true => "",
        false => ", up to case, spaces, punctuation and tags",
    };
    let message = format!("{count} of {total} {name}texts {also}{alike}");
    (count > 0).then(|| Finding::new(Check::SharedTexts, message).counted(count, total))
}
