//! An explanation as a page that needs nothing else.

use crate::output::sanitize::is_unprintable;

use super::{ExplainedText, ExplainedWord, Explanation, Side};

/// How a page of explanations looks.
pub const STYLE: &str = include_str!("page.css");
/// Words at each end that are listed with their numbers.
const LISTED: usize = 10;
/// Classes that are listed with their probabilities.
const CLASSES: usize = 10;

const LEGEND: &str = "Underlined: not in the vocabulary. Grey: not read.";

/// The page of some explanations.
pub fn of(explanations: &[Explanation]) -> String {
    let articles: String = explanations.iter().map(article).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>What each word contributes</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>What each word contributes</h1>\n{articles}</body>\n</html>\n"
    )
}

/// An explanation as a part of a page that has [`STYLE`].
pub fn article(explanation: &Explanation) -> String {
    let label = escaped(&explanation.label);
    let texts: String = explanation.inputs.iter().map(|input| text(input, explanation)).collect();
    let words: String = [Side::For, Side::Against].map(|side| list(explanation, side)).concat();
    format!(
        "<article>\n<p class=\"decision\"><b>{label}</b><span>probability {:.4}, log-odds {:+.3}</span></p>\n\
         {texts}<div class=\"columns\">\n{words}</div>\n<h3>classes</h3>\n<div class=\"bars\">{}</div>\n\
         <p class=\"remark\">{} {}{}</p>\n</article>\n",
        explanation.probability,
        explanation.log_odds,
        classes(explanation),
        remark(explanation),
        LEGEND,
        explanation
            .notes()
            .iter()
            .map(|note| format!(" Note: {}.", escaped(note)))
            .collect::<String>(),
    )
}

fn list(explanation: &Explanation, side: Side) -> String {
    let bar = |found: &&ExplainedWord| {
        let number = format!("{:+.3}", explanation.on_its_side(found.contribution));
        bar(&found.word, class_of(side), explanation.share(found.contribution), &number)
    };
    let bars: String = explanation.ranked(side).iter().take(LISTED).map(bar).collect();
    let title = escaped(&explanation.side_name(side));
    format!("<div><h3>{title}</h3><div class=\"bars\">{bars}</div></div>\n")
}

/// As the style sheet calls it.
fn class_of(side: Side) -> &'static str {
    match side {
        Side::For => "for",
        Side::Against => "against",
    }
}

fn text(input: &ExplainedText, explanation: &Explanation) -> String {
    let mut out = String::new();
    if let Some(name) = &input.input {
        out += &format!("<h3>{}</h3>\n", escaped(name));
    }
    out += "<p class=\"text\">";
    for segment in input.segments() {
        let raw = &input.text[segment.span.clone()];
        let text = escaped(raw);
        let Some(word) = segment.words.first() else {
            // What lies between words, or behind the longest text that is read.
            match raw.chars().any(char::is_alphanumeric) {
                true => out += &format!("<span class=\"unread\">{text}</span>"),
                false => out += &text,
            }
            continue;
        };
        let contribution = segment.contribution();
        let kind = class_of(explanation.side(contribution));
        let share = explanation.share(contribution);
        let shown = explanation.on_its_side(contribution);
        let side = escaped(&explanation.side_name(explanation.side(contribution)));
        let (unknown, remark) = match word.known {
            true => ("", ""),
            false => (" unknown", ", not in the vocabulary"),
        };
        out += &format!(
            "<span class=\"word {kind}{unknown}\" style=\"--share:{share:.3}\" \
             title=\"{shown:+.3} {side}{remark}\">{text}</span>"
        );
    }
    out + "</p>\n"
}

fn classes(explanation: &Explanation) -> String {
    let bars = explanation.classes.iter().take(CLASSES).map(|class| {
        bar(&class.label, "class", class.probability, &format!("{:.4}", class.probability))
    });
    bars.collect()
}

fn bar(name: &str, kind: &str, share: f64, number: &str) -> String {
    format!(
        "<span class=\"name\">{}</span><span class=\"bar {kind}\" style=\"--share:{share:.4}\"></span>\
         <span class=\"number\">{number}</span>\n",
        escaped(name)
    )
}

fn remark(explanation: &Explanation) -> String {
    match explanation.integration {
        Some(found) => format!(
            "Log-odds of {}: {:+.3} with PAD in place of every word, {:+.3} from the words (integrated \
             gradients at {} points; their sum is off by {:.4}).",
            escaped(&explanation.label),
            found.baseline_log_odds,
            explanation.log_odds - found.baseline_log_odds,
            found.steps,
            found.completeness_gap.abs()
        ),
        None => "How much the log-odds fall when the word is left out.".to_owned(),
    }
}

/// Text as HTML has it, in attributes too; control characters become spaces.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' => out.push('\n'),
            hidden if is_unprintable(hidden) => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_text_is_taken_for_html() {
        assert_eq!(
            super::escaped("<script>\"a\" & b\u{1b}\n"),
            "&lt;script&gt;&quot;a&quot; &amp; b \n"
        );
    }
}
