//! Explanations as text for a terminal.

use anstyle::{Ansi256Color, Style};

use crate::config::Labelling;
use crate::explanation::{ExplainedText, ExplainedWord, Explanation, Method, Side};
use crate::output::StyledText;
use crate::output::sanitize::printable;
use crate::output::width::{Align, display_width, fold, pad, truncate_middle};
use crate::prediction::LabelProbability;

/// Number of words listed on each side.
const LISTED_WORDS: usize = 8;
/// Number of n-grams listed.
const LISTED_NGRAMS: usize = 6;
/// Maximum width of a word in the list. Longer ones are shortened.
const WORD_WIDTH: usize = 24;
/// Width of a side of the list, with the contributions.
const SIDE_WIDTH: usize = WORD_WIDTH + 9;
/// Space between the sides.
const GAP: usize = 3;
/// Background and text colors for and against the class, from pale to strong. They are readable on
/// dark and light terminals.
const FOR: [(u8, u8); 4] = [(153, 16), (75, 16), (32, 231), (25, 231)];
const AGAINST: [(u8, u8); 4] = [(223, 16), (215, 16), (208, 16), (166, 231)];
/// Words with a smaller share of the largest contribution are not colored.
const MIN_SHARE: f64 = 1.0 / 6.0;

/// Follows unknown words where their style does not show.
const UNKNOWN: &str = "[?]";

/// Appends the prediction, the text and the words with the largest contributions, in lines of at most
/// `width` columns but for the text. `marks_unknown` marks unknown words by characters instead of a style.
pub fn append(out: &mut StyledText, explanation: &Explanation, width: usize, marks_unknown: bool) {
    let Explanation { label, probability, log_odds, .. } = explanation;
    let scores = format!("  {probability:.4}   log-odds {log_odds:+.3}\n");
    let title = match explanation.labelling {
        Labelling::One => "",
        Labelling::Several => "label ",
    };
    let label_width = width.saturating_sub(title.len() + scores.len());
    out.push(title.to_owned() + &truncate_middle(&printable(label), label_width) + &scores);
    if explanation.labelling == Labelling::Several {
        out.push(fold(&predicted_line(explanation), width));
    }
    for input in &explanation.inputs {
        out.push("\n");
        if let Some(name) = &input.input {
            out.push(format!("{}: ", printable(name)));
        }
        for segment in input.segments() {
            let text = printable(&input.text[segment.span.clone()]);
            match segment.words.first() {
                Some(word) => {
                    out.push_styled(
                        style_of(explanation, segment.contribution(), word.known),
                        text,
                    );
                    if marks_unknown && !word.known {
                        out.push(UNKNOWN);
                    }
                }
                // Truncated text is grey, text between words is plain.
                None if text.chars().any(char::is_alphanumeric) => {
                    out.push_styled(Style::new().dimmed(), text);
                }
                None => out.push(text),
            }
        }
        out.push("\n");
    }
    append_list(out, explanation, width);
    append_ngrams(out, explanation, width);
    let attention: String = explanation.inputs.iter().filter_map(attention_line).collect();
    if !attention.is_empty() {
        out.push(fold(&format!("\n{attention}"), width));
    }
    let words = || explanation.inputs.iter().flat_map(|input| &input.words);
    let has_marks = marks_unknown && words().any(|word| !word.known && word.span.is_some());
    let marks = format!("words marked {UNKNOWN} are not in the vocabulary");
    let notes = has_marks.then_some(marks).into_iter().chain(explanation.notes());
    let notes = notes.map(|note| format!("note: {note}\n"));
    out.push(fold(&(summary(explanation) + &notes.collect::<String>()), width));
}

/// Lists the predicted labels of a text that can have several.
fn predicted_line(explanation: &Explanation) -> String {
    let label =
        |label: &LabelProbability| format!("{} {:.4}", printable(&label.label), label.probability);
    let labels: Vec<String> = explanation.labels.iter().map(label).collect();
    let labels = if labels.is_empty() { "(none)".to_owned() } else { labels.join(", ") };
    format!("predicted: {labels}\n")
}

fn style_of(explanation: &Explanation, contribution: f64, known: bool) -> Style {
    let share = explanation.share(contribution);
    let mut style = Style::new();
    if share >= MIN_SHARE {
        let colors = match explanation.side(contribution) {
            Side::For => FOR,
            Side::Against => AGAINST,
        };
        let step = ((share * colors.len() as f64) as usize).min(colors.len() - 1);
        style = filled(colors[step]);
    }
    if known { style } else { style.underline() }
}

fn filled((background, foreground): (u8, u8)) -> Style {
    Style::new()
        .bg_color(Some(Ansi256Color(background).into()))
        .fg_color(Some(Ansi256Color(foreground).into()))
}

/// Lists the largest contributions of both sides next to each other, or below each other if `width` is too
/// small.
fn append_list(out: &mut StyledText, explanation: &Explanation, width: usize) {
    let lists = [Side::For, Side::Against].map(|side| side_lines(explanation, side));
    let titles = [Side::For, Side::Against]
        .map(|side| truncate_middle(&printable(&explanation.side_name(side)), SIDE_WIDTH));
    let styles = [filled(FOR[1]), filled(AGAINST[1])];
    if 2 * SIDE_WIDTH + GAP > width {
        for ((list, title), style) in lists.iter().zip(titles).zip(styles) {
            out.push("\n");
            out.push_styled(style, title);
            out.push(list.iter().map(|line| format!("\n{line}")).collect::<String>() + "\n");
        }
        return;
    }
    let [left, right] = &titles;
    out.push("\n");
    out.push_styled(styles[0], left);
    out.push(" ".repeat((SIDE_WIDTH + GAP).saturating_sub(display_width(left))));
    out.push_styled(styles[1], right);
    out.push("\n");
    for index in 0..lists[0].len().max(lists[1].len()) {
        let [left, right] = [0, 1].map(|side| lists[side].get(index).map_or("", String::as_str));
        let line = pad(left, SIDE_WIDTH + GAP, Align::Left) + right;
        out.push(line.trim_end().to_owned() + "\n");
    }
}

/// Lists the n-grams of several words with the largest contributions, which are part of those of the words.
fn append_ngrams(out: &mut StyledText, explanation: &Explanation, width: usize) {
    let ngrams = explanation.ranked_ngrams();
    if ngrams.is_empty() {
        return;
    }
    let listed: Vec<String> = ngrams
        .iter()
        .take(LISTED_NGRAMS)
        .map(|each| {
            let side = explanation.side_name(explanation.side(each.contribution));
            let shown = explanation.on_its_side(each.contribution);
            format!("{} {shown:+.3} {}", printable(&each.ngram), printable(&side))
        })
        .collect();
    out.push(fold(&format!("\nn-grams: {}\n", listed.join(", ")), width));
}

/// Lists the words with the largest contributions on a side, in lines of [`SIDE_WIDTH`] columns.
fn side_lines(explanation: &Explanation, side: Side) -> Vec<String> {
    let line = |word: &str, contribution: f64| {
        let word = pad(&truncate_middle(word, WORD_WIDTH), WORD_WIDTH, Align::Left);
        format!("{word} {:>+8.3}", explanation.on_its_side(contribution))
    };
    let words = explanation.ranked(side);
    let listed = words.iter().take(LISTED_WORDS);
    let mut lines: Vec<String> =
        listed.map(|word| line(&printable(&word.word), word.contribution)).collect();
    if let Some(rest @ [_, ..]) = words.get(LISTED_WORDS..) {
        let sum = rest.iter().map(|word| word.contribution).sum();
        lines.push(line(&format!("… {} more", rest.len()), sum));
    }
    lines
}

/// Lists the words of a text with the largest attention weights, if the model has attention.
fn attention_line(input: &ExplainedText) -> Option<String> {
    let words = input.ranked_by_attention();
    if words.is_empty() {
        return None;
    }
    let word = |(word, weight): &(&ExplainedWord, f32)| {
        format!("{} {weight:.3}", truncate_middle(&printable(&word.word), WORD_WIDTH))
    };
    let mut listed: Vec<String> = words.iter().take(LISTED_WORDS).map(word).collect();
    if let Some(rest @ [_, ..]) = words.get(LISTED_WORDS..) {
        let sum: f32 = rest.iter().map(|(_, weight)| weight).sum();
        listed.push(format!("{} more {sum:.3}", rest.len()));
    }
    let name =
        input.input.as_ref().map_or(String::new(), |name| format!(" of {}", printable(name)));
    Some(format!("attention{name}: {}\n", listed.join(", ")))
}

fn summary(explanation: &Explanation) -> String {
    match (explanation.method, explanation.integration) {
        (Method::IntegratedGradients, Some(integration)) => format!(
            "\nlog-odds of {}: {:+.3} with PAD in place of words, {:+.3} from the words\n\
             integrated gradients with {} points, completeness gap {:.4}\n",
            printable(&explanation.label),
            integration.baseline_log_odds,
            explanation.log_odds - integration.baseline_log_odds,
            integration.steps,
            integration.completeness_gap.abs()
        ),
        _ => "\nleave-one-out: decrease in log-odds when the word is removed\n".to_owned(),
    }
}
