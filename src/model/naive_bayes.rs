//! Values of n-grams from naive Bayes.

use rayon::prelude::*;

use crate::data::{Target, Targets};
use crate::text::Corpus;

/// Number that is added to each count of texts.
const SMOOTHING: f64 = 1.0;
/// Factor of inverse document frequencies. It is chosen on validation data so that the learning rate of an
/// LSTM also suits the n-grams beside it.
const IDF_FACTOR: f64 = 0.25;
/// Number of n-grams that a thread computes at a time.
const CHUNK: usize = 1 << 12;

/// Returns the log-count ratio of each n-gram and logit, [V, logits] (Wang and Manning 2012): the logarithm
/// of the smoothed share of the n-gram among all n-grams in the texts of a class, divided by its share in all
/// other texts. A single logit is that of the second of two classes. `corpus` and `targets` are those of the
/// training examples; only the examples `counted` contribute. With `times_idf`, rare n-grams have larger
/// values: each is multiplied by its scaled inverse document frequency.
///
/// # Errors
/// Returns an error if a process is lost that has some of the texts.
pub fn log_count_ratios(
    corpus: &Corpus,
    targets: &Targets,
    counted: impl ExactSizeIterator<Item = usize>,
    [ngrams, logits]: [usize; 2],
    times_idf: bool,
) -> anyhow::Result<Vec<f32>> {
    let texts = counted.len() as f64;
    let mut counts = vec![0.0_f32; ngrams * logits];
    let mut totals = vec![0.0_f32; ngrams];
    for example in counted {
        let target = targets.get(example);
        for row in corpus.ngrams(example) {
            let row = *row as usize;
            totals[row] += 1.0;
            let counts = &mut counts[row * logits..][..logits];
            match target {
                Target::Label(label) => add(counts, label, 1.0),
                Target::LabelSet(labels) => {
                    labels.iter().for_each(|label| add(counts, *label, 1.0))
                }
                Target::Probabilities(shares) | Target::Distilled { labels: shares, .. } => {
                    (0..).zip(shares).for_each(|(label, share)| add(counts, label, *share));
                }
            }
        }
    }
    if let Some(shards) = corpus.shards() {
        shards.collective().all_reduce(&mut counts)?;
        shards.collective().all_reduce(&mut totals)?;
    }
    let total_of = |values: &mut dyn Iterator<Item = f32>| values.map(f64::from).sum::<f64>();
    let smoothing = SMOOTHING * ngrams as f64;
    let all = total_of(&mut totals.iter().copied());
    // Log-ratio of the sums of the smoothed counts, in the texts of each class and in all others.
    let shifts: Vec<f64> = (0..logits)
        .map(|logit| {
            let inside = total_of(&mut counts.iter().skip(logit).step_by(logits).copied());
            ((inside + smoothing) / (all - inside + smoothing)).ln()
        })
        .collect();
    let factor = |total: f64| match times_idf {
        true => IDF_FACTOR * (1.0 + ((1.0 + texts) / (1.0 + total)).ln()),
        false => 1.0,
    };
    let rows = counts.par_chunks_mut(CHUNK * logits).zip(totals.par_chunks(CHUNK));
    rows.for_each(|(counts, totals)| {
        for (counts, total) in counts.chunks_exact_mut(logits).zip(totals) {
            let factor = factor(f64::from(*total));
            for (count, shift) in counts.iter_mut().zip(&shifts) {
                let (inside, outside) = (f64::from(*count), f64::from(total - *count));
                let ratio = (inside + SMOOTHING) / (outside + SMOOTHING);
                *count = (factor * (ratio.ln() - shift)) as f32;
            }
        }
    });
    Ok(counts)
}

/// Adds a share of a text to the count of a label. The count of a single logit is that of the second label.
fn add(counts: &mut [f32], label: u32, share: f32) {
    match (counts, label) {
        ([count], 1) => *count += share,
        ([_], _) => {}
        (counts, label) => counts[label as usize] += share,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PadSide;
    use crate::text::Ids;

    /// Texts with the n-grams 0 and 1; 0; and 1 and 2.
    fn corpus() -> Corpus {
        let mut corpus = Corpus::from_texts(PadSide::Back, 9, [&[4][..]; 3]);
        corpus.set_ngrams(Ids::Memory(vec![0, 1, 0, 1, 2]), &[2, 1, 2]);
        corpus
    }

    #[test]
    fn ratios_are_those_of_wang_and_manning() {
        let ratios =
            log_count_ratios(&corpus(), &Targets::Labels(vec![1, 0, 0]), 0..3, [3, 1], false)
                .unwrap();
        // p = (2, 2, 1) of 5 for the second label, q = (2, 2, 2) of 6.
        let ratio = |p: f64, q: f64| ((p / 5.0) / (q / 6.0)).ln() as f32;
        assert_eq!(ratios, [ratio(2.0, 2.0), ratio(2.0, 2.0), ratio(1.0, 2.0)]);
        let scaled =
            log_count_ratios(&corpus(), &Targets::Labels(vec![1, 0, 0]), 0..3, [3, 1], true)
                .unwrap();
        let idf = |texts: f32| 0.25 * (1.0 + (4.0 / (1.0 + texts)).ln());
        let expected = [ratios[0] * idf(2.0), ratios[1] * idf(2.0), ratios[2] * idf(1.0)];
        assert!(scaled.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{scaled:?}");
    }

    #[test]
    fn each_of_several_labels_is_compared_with_the_others() {
        let ratios =
            log_count_ratios(&corpus(), &Targets::Labels(vec![0, 1, 2]), 0..3, [3, 3], false)
                .unwrap();
        let two = log_count_ratios(&corpus(), &Targets::Labels(vec![0, 0, 1]), 0..3, [3, 1], false)
            .unwrap();
        let third: Vec<f32> = ratios.iter().skip(2).step_by(3).copied().collect();
        assert_eq!(third, two);
        let set = Targets::Probabilities {
            classes: 3,
            probabilities: vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        };
        assert_eq!(log_count_ratios(&corpus(), &set, 0..3, [3, 3], false).unwrap(), ratios);
    }
}
