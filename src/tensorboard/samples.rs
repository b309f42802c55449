//! Some validation examples as the model reads them, and what it says of them, as Markdown.

use crate::config::{Input, TokenizerKind};
use crate::data::prepared::PreparedData;
use crate::evaluation::Predictions;
use crate::output::sanitize::is_unprintable;
use crate::text::{Corpus, Encoder};

/// Tokens of a text that are shown, half of them from each end.
const MOST_TOKENS: usize = 60;
/// Letters of a token.
const MOST_LETTERS: usize = 40;
/// Letters of a line of all texts beside each other.
const LINE: usize = 80;

/// The examples that are shown at each validation.
pub struct Samples<'a> {
    labels: &'a [String],
    heading: String,
    examples: Vec<Sample>,
}

struct Sample {
    /// Its number among the validation examples.
    number: usize,
    class: usize,
    /// The cells of the table with its texts.
    texts: String,
}

impl<'a> Samples<'a> {
    /// `count` validation examples, the first ones of each class in turns.
    pub fn new(experiment: &'a PreparedData, count: usize) -> Self {
        let inputs = &experiment.resolved.config.inputs;
        let names = inputs.iter().map(|input| input.name.as_deref().unwrap_or("text"));
        let names: String = names.map(|name| format!("{} | ", escaped(name))).collect();
        let columns = "--- | ".repeat(inputs.len());
        let validation = &experiment.validation;
        let cell = |number: usize, ((input, corpus), encoder): ((&Input, &Corpus), &Encoder)| {
            format!("{} | ", text(input, encoder, corpus.text(number), LINE / inputs.len()))
        };
        let sample = |number: usize| Sample {
            number,
            class: validation.labels[number] as usize,
            texts: {
                let inputs = inputs.iter().zip(&validation.inputs).zip(experiment.encoders.iter());
                inputs.map(|input| cell(number, input)).collect()
            },
        };
        let numbers = in_turns(&validation.labels, experiment.labels.len(), count);
        Self {
            labels: &experiment.labels,
            heading: format!(
                "| {names}label | predicted | probability |\n| {columns}--- | --- | --- |\n"
            ),
            examples: numbers.into_iter().map(sample).collect(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// A table of the examples with the most probable class of each and its probability; wrong ones
    /// stand out.
    pub fn table(&self, predictions: &Predictions) -> String {
        let mut table = self.heading.clone();
        for Sample { number, class, texts } in &self.examples {
            let predicted = predictions.predicted(*number);
            let [label, mut answer] = [*class, predicted].map(|class| escaped(&self.labels[class]));
            if predicted != *class {
                answer = format!("**{answer}**");
            }
            let probability = predictions.probability(*number, predicted);
            table.push_str(&format!("| {texts}{label} | {answer} | {probability:.4} |\n"));
        }
        table
    }
}

/// The first examples of each class in turns, `count` of them if there are so many.
fn in_turns(labels: &[u32], classes: usize, count: usize) -> Vec<usize> {
    // No class can have more than `count` among the chosen.
    let mut of_class: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for (number, label) in labels.iter().enumerate() {
        let own = &mut of_class[*label as usize];
        if own.len() < count {
            own.push(number);
        }
    }
    let round = |turn: usize| {
        let of_class = &of_class;
        of_class.iter().filter_map(move |own| own.get(turn).copied())
    };
    (0..count).flat_map(round).take(count).collect()
}

/// A text as the words of its ids, in lines of at most `line` letters.
fn text(input: &Input, encoder: &Encoder, ids: &[u32], line: usize) -> String {
    let space = if input.text.tokenizer == TokenizerKind::Characters { "" } else { " " };
    let words = encoder.vocabulary().words();
    let words = |ids: &[u32]| -> Vec<String> {
        ids.iter().map(|id| shortened(&words[*id as usize])).collect()
    };
    let half = MOST_TOKENS / 2;
    if ids.len() <= MOST_TOKENS {
        return lines(&words(ids), space, line);
    }
    let (front, back) = (words(&ids[..half]), words(&ids[ids.len() - half..]));
    format!("{}<br>**…** {}", lines(&front, space, line), lines(&back, space, line))
}

fn shortened(word: &str) -> String {
    match word.char_indices().nth(MOST_LETTERS) {
        Some((end, _)) => format!("{}…", &word[..end]),
        None => word.to_owned(),
    }
}

/// Words in lines of at most `most` letters, so that a text does not take the width of the columns
/// beside it.
fn lines(words: &[String], space: &str, most: usize) -> String {
    let (mut out, mut width) = (String::new(), 0);
    for word in words {
        let letters = word.chars().count() + space.len();
        if width > 0 && width + letters > most {
            out.push_str("<br>");
            width = 0;
        } else if width > 0 {
            out.push_str(space);
        }
        out.push_str(&escaped(word));
        width += letters;
    }
    out
}

/// The text without any meaning to Markdown or HTML.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            _ if is_unprintable(letter) => out.push(' '),
            '&' | '<' | '>' | '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '"' => {
                out.push_str(&format!("&#{};", u32::from(letter)));
            }
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::tests::predictions;

    #[test]
    fn classes_take_turns() {
        let labels = [0, 0, 0, 2, 1, 2, 0];
        assert_eq!(in_turns(&labels, 3, 5), [0, 4, 3, 1, 5]);
        assert_eq!(in_turns(&labels, 3, 2), [0, 4]);
        assert_eq!(in_turns(&labels, 4, 100), [0, 4, 3, 1, 5, 2, 6]);
        assert!(in_turns(&labels, 3, 0).is_empty() && in_turns(&[], 3, 5).is_empty());
    }

    #[test]
    fn wrong_predictions_stand_out() {
        let labels = ["ne|g", "pos"].map(String::from);
        let sample =
            |number, class, text: &str| Sample { number, class, texts: format!("{text} | ") };
        let samples = Samples {
            labels: &labels,
            heading: "H\n".into(),
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
    fn words_mean_nothing_to_markdown() {
        assert_eq!(escaped("<oov>"), "&#60;oov&#62;");
        assert_eq!(escaped("a|b\n*c*"), "a&#124;b &#42;c&#42;");
    }

    #[test]
    fn long_words_and_lines_are_cut() {
        assert_eq!(shortened(&"é".repeat(41)), format!("{}…", "é".repeat(40)));
        let words = vec!["<four>".to_owned(); 30];
        let text = lines(&words, " ", LINE);
        let lines: Vec<&str> = text.split("<br>").collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.len() <= 16 * LINE / 7), "{lines:?}");
        assert_eq!(text.matches("&#60;four&#62;").count(), 30);
        let letters: Vec<String> = (0..81).map(|_| "x".to_owned()).collect();
        assert_eq!(super::lines(&letters, "", 80), format!("{}<br>x", "x".repeat(80)));
    }
}
