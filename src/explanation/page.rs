//! Explanations as a self-contained HTML page.

use super::attribution::{ExplainedNgram, ExplainedText, ExplainedWord, Explanation, Side};
use crate::config::Labelling;
use crate::output::sanitize::printable_lines;

/// Style sheet of the page.
pub const STYLE: &str = include_str!("page.css");
/// Number of words listed on each side.
const LISTED_WORDS: usize = 10;
/// Number of classes listed with their probabilities.
const LISTED_CLASSES: usize = 10;

const LEGEND: &str = "Underlined words are not in the vocabulary. Grey text is truncated.";

/// Creates a page of explanations.
pub fn of(explanations: &[Explanation]) -> String {
    let articles: String = explanations.iter().map(article).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Contribution of each word</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>Contribution of each word</h1>\n{articles}</body>\n</html>\n"
    )
}

/// Formats an explanation as an HTML fragment for a page with [`STYLE`].
pub fn article(explanation: &Explanation) -> String {
    let label = escape(&explanation.label);
    let texts: String = explanation.inputs.iter().map(|input| text(input, explanation)).collect();
    let words: String = [Side::For, Side::Against].map(|side| list(explanation, side)).concat();
    let ngrams = ngrams(explanation);
    let attention: String = explanation.inputs.iter().map(attention).collect();
    let heading = match explanation.labelling {
        Labelling::One => "classes",
        Labelling::Several => "labels",
    };
    format!(
        "<article>\n<p class=\"prediction\"><b>{label}</b><span>probability {:.4}, log-odds {:+.3}</span></p>\n\
         {texts}<div class=\"columns\">\n{words}</div>\n{ngrams}{attention}<h3>{heading}</h3>\n<div class=\"bars\">{}</div>\n\
         <p class=\"note\">{} {}{}</p>\n</article>\n",
        explanation.probability,
        explanation.log_odds,
        classes(explanation),
        summary(explanation),
        LEGEND,
        explanation
            .notes()
            .iter()
            .map(|note| format!(" Note: {}.", escape(note)))
            .collect::<String>(),
    )
}

fn list(explanation: &Explanation, side: Side) -> String {
    let bar = |word: &&ExplainedWord| {
        let number = format!("{:+.3}", explanation.on_its_side(word.contribution));
        bar(&word.word, css_class(side), explanation.share(word.contribution), &number)
    };
    let bars: String = explanation.ranked(side).iter().take(LISTED_WORDS).map(bar).collect();
    let title = escape(&explanation.side_name(side));
    format!("<div><h3>{title}</h3><div class=\"bars\">{bars}</div></div>\n")
}

/// Lists the words of a text with the largest attention weights.
fn attention(input: &ExplainedText) -> String {
    let words = input.ranked_by_attention();
    let Some((_, largest)) = words.first() else { return String::new() };
    let bar = |(word, weight): &(&ExplainedWord, f32)| {
        bar(&word.word, "class", f64::from(weight / largest), &format!("{weight:.3}"))
    };
    let bars: String = words.iter().take(LISTED_WORDS).map(bar).collect();
    let name = input.input.as_ref().map_or(String::new(), |name| format!(": {}", escape(name)));
    format!("<h3>attention{name}</h3>\n<div class=\"bars\">{bars}</div>\n")
}

/// Lists the n-grams of several words with the largest contributions.
fn ngrams(explanation: &Explanation) -> String {
    let bar = |ngram: &&ExplainedNgram| {
        let number = format!("{:+.3}", explanation.on_its_side(ngram.contribution));
        let side = css_class(explanation.side(ngram.contribution));
        bar(&ngram.ngram, side, explanation.share(ngram.contribution).min(1.0), &number)
    };
    let bars: String = explanation.ranked_ngrams().iter().take(LISTED_WORDS).map(bar).collect();
    match bars.is_empty() {
        true => bars,
        false => format!("<h3>n-grams</h3>\n<div class=\"bars\">{bars}</div>\n"),
    }
}

/// CSS class of a side.
fn css_class(side: Side) -> &'static str {
    match side {
        Side::For => "for",
        Side::Against => "against",
    }
}

fn text(input: &ExplainedText, explanation: &Explanation) -> String {
    let mut out = String::new();
    if let Some(name) = &input.input {
        out += &format!("<h3>{}</h3>\n", escape(name));
    }
    out += "<p class=\"text\">";
    for segment in input.segments() {
        let raw = &input.text[segment.span.clone()];
        let text = escape(raw);
        let Some(word) = segment.words.first() else {
            // Text between words, or truncated text.
            match raw.chars().any(char::is_alphanumeric) {
                true => out += &format!("<span class=\"truncated\">{text}</span>"),
                false => out += &text,
            }
            continue;
        };
        let contribution = segment.contribution();
        let kind = css_class(explanation.side(contribution));
        let share = explanation.share(contribution);
        let shown = explanation.on_its_side(contribution);
        let side = escape(&explanation.side_name(explanation.side(contribution)));
        let (unknown, note) = match word.known {
            true => ("", ""),
            false => (" unknown", ", not in the vocabulary"),
        };
        let attention =
            segment.attention().map_or(String::new(), |weight| format!(", attention {weight:.3}"));
        out += &format!(
            "<span class=\"word {kind}{unknown}\" style=\"--share:{share:.3}\" \
             title=\"{shown:+.3} {side}{attention}{note}\">{text}</span>"
        );
    }
    out + "</p>\n"
}

/// Lists the most probable classes. Of several labels, all predicted ones are among them, in the color of words
/// that support the explained label.
fn classes(explanation: &Explanation) -> String {
    let predicted = explanation.labels.len();
    let listed = explanation.classes.iter().take(LISTED_CLASSES.max(predicted)).enumerate();
    let bars = listed.map(|(rank, class)| {
        let is_marked = explanation.labelling == Labelling::Several && rank < predicted;
        let kind = if is_marked { "for" } else { "class" };
        bar(&class.label, kind, class.probability, &format!("{:.4}", class.probability))
    });
    bars.collect()
}

fn bar(name: &str, kind: &str, share: f64, number: &str) -> String {
    format!(
        "<span class=\"name\">{}</span><span class=\"bar {kind}\" style=\"--share:{share:.4}\"></span>\
         <span class=\"number\">{number}</span>\n",
        escape(name)
    )
}

fn summary(explanation: &Explanation) -> String {
    match explanation.integration {
        Some(integration) => format!(
            "Log-odds of {}: {:+.3} with PAD in place of every word, {:+.3} from the words (integrated \
             gradients with {} points, completeness gap {:.4}).",
            escape(&explanation.label),
            integration.baseline_log_odds,
            explanation.log_odds - integration.baseline_log_odds,
            integration.steps,
            integration.completeness_gap.abs()
        ),
        None => "Decrease in log-odds when the word is removed (leave-one-out).".to_owned(),
    }
}

/// Escapes a text for HTML and its attributes, and unprintable characters.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in printable_lines(text).chars() {
        match character {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn html_in_texts_is_escaped() {
        assert_eq!(
            super::escape("<script>\"a\" & b\u{1b}\n"),
            "&lt;script&gt;&quot;a&quot; &amp; b\\u{1b}\n"
        );
    }
}
