//! Weights of a language model above its LSTMs for one with other words.

use crate::model::named_tensors::NamedTensor;
use crate::text::{FIRST_WORD, OOV, Vocabulary};

/// Replaces weights of the layers above the LSTMs by those of another language model, matched by name. Output biases,
/// with a value for each word, are matched by the words' spelling; new words keep theirs. Tensors of other shapes stay
/// as they are.
pub fn match_output_layers(
    own: &mut [NamedTensor],
    known: &[NamedTensor],
    words: &Vocabulary,
    known_words: &Vocabulary,
) {
    for tensor in own {
        let Some(known) = known.iter().find(|known| known.name == tensor.name) else { continue };
        if tensor.name.contains("output.bias") {
            let special = FIRST_WORD as usize;
            tensor.values[..special].copy_from_slice(&known.values[..special]);
            for (value, word) in tensor.values[special..].iter_mut().zip(words.regular_words()) {
                match known_words.id(word) {
                    OOV => {}
                    id => *value = known.values[id as usize],
                }
            }
        } else if known.shape == tensor.shape {
            tensor.values.clone_from(&known.values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(words: &[&str]) -> Vocabulary {
        Vocabulary::from_ranked_words(words.iter().map(|word| (*word).to_owned()).collect(), 99)
            .unwrap()
    }

    fn tensor(name: &str, shape: &[usize], values: &[f32]) -> NamedTensor {
        NamedTensor { name: name.to_owned(), shape: shape.to_vec(), values: values.to_vec() }
    }

    #[test]
    fn biases_follow_the_words() {
        let [words, known_words] = [vocabulary(&["good", "new"]), vocabulary(&["bad", "good"])];
        let special = words.len() - 2;
        let bias = |values: &[f32]| {
            let all: Vec<f32> =
                (0..special).map(|i| i as f32).chain(values.iter().copied()).collect();
            tensor("output.bias", &[special + 2], &all)
        };
        let mut own = vec![
            tensor("projection.weight", &[1, 2], &[0.0, 0.0]),
            tensor("projection.bias", &[1], &[0.0]),
            bias(&[0.0, 0.25]),
        ];
        own[2].values[..special].fill(99.0);
        let known = vec![
            tensor("projection.weight", &[1, 2], &[3.0, 4.0]),
            tensor("projection.bias", &[2], &[5.0, 6.0]),
            bias(&[7.0, 8.0]),
        ];
        match_output_layers(&mut own, &known, &words, &known_words);
        assert_eq!(own[0].values, [3.0, 4.0]);
        assert_eq!(own[1].values, [0.0], "another shape");
        assert_eq!(own[2], bias(&[8.0, 0.25]));
    }
}
