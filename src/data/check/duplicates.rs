//! Texts of which a model reads the same tokens.

use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::config::DataConfig;
use crate::data::examples::Examples;
use crate::data::finding::{Check, Finding, Level};
use crate::data::split_name::SplitName;
use crate::data::targets::Target;
use crate::output::format::{group_digits, share};
use crate::text::{Encoder, word_hash};

/// Fraction of repeated texts from which they are noted.
const MANY: f64 = 0.05;
/// Fraction of repeated texts with different labels from which they are noted.
const MANY_CONTRADICTIONS: f64 = 0.01;

/// Returns the hashes of the tokens that a model reads of each example; `None` if all its texts are empty.
pub fn token_hashes(examples: &Examples, encoders: &[Encoder]) -> Vec<Option<u64>> {
    let mut hashes: Vec<Option<u64>> = vec![None; examples.len()];
    for (input, encoder) in encoders.iter().enumerate() {
        let texts = &examples.source.inputs[input];
        let words: Vec<u64> = texts.words().par_iter().map(|word| word_hash(word)).collect();
        hashes.par_iter_mut().zip(&examples.rows).for_each(|(hash, row)| {
            let tokens = texts.text(*row as usize);
            let parts = encoder.tokens_read(tokens);
            // Separates the texts of several inputs.
            let start = mix(hash.unwrap_or(0), input as u64);
            let tokens = parts.into_iter().flatten().map(|token| words[*token as usize]);
            let (mut next, mut is_empty) = (start, true);
            for word in tokens {
                next = mix(next, word);
                is_empty = false;
            }
            if hash.is_some() || !is_empty {
                *hash = Some(next);
            }
        });
        texts.release();
    }
    hashes
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
pub fn repeated(name: SplitName, examples: &Examples, hashes: &[Option<u64>]) -> Option<Finding> {
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
        hashes.iter().zip(labels).filter_map(|(hash, label)| Some(((*hash)?, label))).collect();
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
    train: (&Examples, &FxHashSet<u64>),
    other: (&Examples, &[Option<u64>]),
    config: &DataConfig,
) -> Option<Finding> {
    let (examples, hashes) = other;
    let texts = train.0.text_hashes();
    let is_shared = |(text, hash): (&_, &Option<u64>)| {
        texts.contains(text) || hash.is_some_and(|hash| train.1.contains(&hash))
    };
    let count = examples.hashes().zip(hashes).filter(|pair| is_shared(*pair)).count();
    overlap(count, examples.len(), "training", &format!("{name} "), config)
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
