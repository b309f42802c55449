//! Sample predictions on validation examples, as a Markdown table.

use crate::config::{Input, TokenizerKind};
use crate::data::Target;
use crate::data::prepared::PreparedData;
use crate::evaluation::Predictions;
use crate::output::sanitize::printable;
use crate::text::{Corpus, Encoder};

/// Maximum number of tokens of a text, half of them from each end.
const MAX_TOKENS: usize = 60;
/// Maximum number of characters of a token.
const MAX_TOKEN_CHARS: usize = 40;
/// Width of the text columns together, in characters.
const LINE_CHARS: usize = 80;

/// The examples whose predictions are logged at each validation.
pub struct Samples<'a> {
    labels: &'a [String],
    header: String,
    examples: Vec<Sample>,
}

struct Sample {
    /// Index among the validation examples.
    index: usize,
    /// Indices of its labels.
    labels: Vec<usize>,
    /// Table cells with the texts.
    texts: String,
}

impl<'a> Samples<'a> {
    /// Selects `count` validation examples, the first ones of each class in turn. With several labels, the
    /// first one counts.
    pub fn new(data: &'a PreparedData, count: usize) -> Self {
        let inputs = &data.resolved.config.inputs;
        let names = inputs.iter().map(|input| input.name.as_deref().unwrap_or("text"));
        let names: String = names.map(|name| format!("{} | ", escaped(name))).collect();
        let columns = "--- | ".repeat(inputs.len());
        let validation = &data.validation;
        let classes = data.labels.len();
        let labelling = data.resolved.config.data.labelling();
        let labels = |target: Target| target.labels(labelling);
        // Texts without a label form a class of their own.
        let first = |target| labels(target).first().copied().unwrap_or(classes as u32);
        // Other processes may have some of the texts.
        let has_texts =
            |example: usize| validation.inputs.iter().all(|corpus| corpus.has_text(example));
        let own: Vec<usize> = (0..validation.len()).filter(|example| has_texts(*example)).collect();
        let firsts: Vec<u32> =
            own.iter().map(|example| first(validation.targets.get(*example))).collect();
        let cell = |index: usize, ((input, corpus), encoder): ((&Input, &Corpus), &Encoder)| {
            format!("{} | ", text(input, encoder, corpus.text(index), LINE_CHARS / inputs.len()))
        };
        let sample = |index: usize| Sample {
            index,
            labels: labels(validation.targets.get(index))
                .into_iter()
                .map(|label| label as usize)
                .collect(),
            texts: {
                let inputs = inputs.iter().zip(&validation.inputs).zip(data.encoders.iter());
                inputs.map(|input| cell(index, input)).collect()
            },
        };
        let indices = in_turn(&firsts, classes + 1, count);
        Self {
            labels: &data.labels,
            header: format!(
                "| {names}label | predicted | probability |\n| {columns}--- | --- | --- |\n"
            ),
            examples: indices.into_iter().map(|index| sample(own[index])).collect(),
        }
    }

    /// Returns true if there are no examples.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// Returns a table of the examples with the predicted labels and their probabilities. Wrong predictions
    /// are bold.
    pub fn table(&self, predictions: &Predictions) -> String {
        let mut table = self.header.clone();
        let name = |class: &usize| escaped(&self.labels[*class]);
        for Sample { index, labels, texts } in &self.examples {
            let predicted = predictions.predicted_labels(*index);
            let marked = |class: &usize| match labels.contains(class) {
                true => name(class),
                false => format!("**{}**", name(class)),
            };
            let probability =
                |class: &usize| format!("{:.4}", predictions.probability(*index, *class));
            table.push_str(&format!(
                "| {texts}{} | {} | {} |\n",
                joined(labels, name),
                joined(&predicted, marked),
                joined(&predicted, probability)
            ));
        }
        table
    }
}

/// Joins texts for some classes with commas; returns a dash if there are none.
fn joined(classes: &[usize], text: impl Fn(&usize) -> String) -> String {
    match classes {
        [] => "–".to_owned(),
        classes => classes.iter().map(text).collect::<Vec<_>>().join(", "),
    }
}

/// Returns the indices of the first examples of each class in turn, at most `count`.
fn in_turn(labels: &[u32], classes: usize, count: usize) -> Vec<usize> {
    // No class contributes more than `count` examples.
    let mut of_class: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for (index, label) in labels.iter().enumerate() {
        let examples = &mut of_class[*label as usize];
        if examples.len() < count {
            examples.push(index);
        }
    }
    let round = |turn: usize| {
        let of_class = &of_class;
        of_class.iter().filter_map(move |examples| examples.get(turn).copied())
    };
    (0..count).flat_map(round).take(count).collect()
}

/// Returns the words of a text, in lines of at most `line` characters.
fn text(input: &Input, encoder: &Encoder, ids: &[u32], line: usize) -> String {
    let space = if input.text.tokenizer.kind == TokenizerKind::Characters { "" } else { " " };
    let words = encoder.vocabulary().words();
    let words = |ids: &[u32]| -> Vec<String> {
        ids.iter().map(|id| shortened(&words[*id as usize])).collect()
    };
    let half = MAX_TOKENS / 2;
    if ids.len() <= MAX_TOKENS {
        return lines(&words(ids), space, line);
    }
    let (front, back) = (words(&ids[..half]), words(&ids[ids.len() - half..]));
    format!("{}<br>**…** {}", lines(&front, space, line), lines(&back, space, line))
}

fn shortened(word: &str) -> String {
    match word.char_indices().nth(MAX_TOKEN_CHARS) {
        Some((end, _)) => format!("{}…", &word[..end]),
        None => word.to_owned(),
    }
}

/// Joins words into lines of at most `most` characters, so that a text leaves room for the other columns.
fn lines(words: &[String], space: &str, most: usize) -> String {
    let (mut out, mut width) = (String::new(), 0);
    for word in words {
        let chars = word.chars().count() + space.len();
        if width > 0 && width + chars > most {
            out.push_str("<br>");
            width = 0;
        } else if width > 0 {
            out.push_str(space);
        }
        out.push_str(&escaped(word));
        width += chars;
    }
    out
}

/// Escapes everything that has a meaning in Markdown or HTML.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in printable(text).chars() {
        match c {
            '&' | '<' | '>' | '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '"' => {
                out.push_str(&format!("&#{};", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::tests::predictions;

    #[test]
    fn samples_are_taken_from_each_class_in_turn() {
        let labels = [0, 0, 0, 2, 1, 2, 0];
        assert_eq!(in_turn(&labels, 3, 5), [0, 4, 3, 1, 5]);
        assert_eq!(in_turn(&labels, 3, 2), [0, 4]);
        assert_eq!(in_turn(&labels, 4, 100), [0, 4, 3, 1, 5, 2, 6]);
        assert!(in_turn(&labels, 3, 0).is_empty() && in_turn(&[], 3, 5).is_empty());
    }

    #[test]
    fn wrong_predictions_are_bold() {
        let labels = ["ne|g", "pos"].map(String::from);
        let sample = |index, class, text: &str| Sample {
            index,
            labels: vec![class],
            texts: format!("{text} | "),
        };
        let samples = Samples {
            labels: &labels,
            header: "H\n".into(),
            examples: vec![sample(3, 0, "bad"), sample(1, 1, "good")],
        };
        let rows = [vec![0.5, 0.5], vec![0.75, 0.25]];
        let predictions =
            predictions(&[0, 1, 0, 0], &[0, 1, 0, 1].map(|row: usize| rows[row].clone()));
        assert_eq!(
            samples.table(&predictions),
            "H\n| bad | ne&#124;g | ne&#124;g | 0.7500 |\n\
             | good | pos | **ne&#124;g** | 0.7500 |\n"
        );
    }

    #[test]
    fn words_are_escaped_for_markdown() {
        assert_eq!(escaped("<oov>"), "&#60;oov&#62;");
        assert_eq!(escaped("a|b\n*c*"), "a&#124;b &#42;c&#42;");
    }

    #[test]
    fn long_words_are_truncated_and_long_lines_wrapped() {
        assert_eq!(shortened(&"é".repeat(41)), format!("{}…", "é".repeat(40)));
        let words = vec!["<four>".to_owned(); 30];
        let text = lines(&words, " ", LINE_CHARS);
        let lines: Vec<&str> = text.split("<br>").collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.len() <= 16 * LINE_CHARS / 7), "{lines:?}");
        assert_eq!(text.matches("&#60;four&#62;").count(), 30);
        let characters: Vec<String> = (0..81).map(|_| "x".to_owned()).collect();
        assert_eq!(super::lines(&characters, "", 80), format!("{}<br>x", "x".repeat(80)));
    }
}
