//! Explanations as text for a terminal.

use anstyle::{Ansi256Color, Style};

use crate::explanation::{ExplainedWord, Explanation, Method, Side};
use crate::output::sanitize::printable;

/// Number of words listed on each side.
const LISTED_WORDS: usize = 8;
/// Maximum length of a word in the list. Longer ones are truncated.
const WORD_WIDTH: usize = 24;
/// Background and text colors for and against the class, from pale to strong. They are readable on
/// dark and light terminals.
const FOR: [(u8, u8); 4] = [(153, 16), (75, 16), (32, 231), (25, 231)];
const AGAINST: [(u8, u8); 4] = [(223, 16), (215, 16), (208, 16), (166, 231)];
/// Words with a smaller share of the largest contribution are not colored.
const MIN_SHARE: f64 = 1.0 / 6.0;

/// Formats the prediction, the text and the words with the largest contributions.
pub fn of(explanation: &Explanation, colored: bool) -> String {
    let Explanation { label, probability, log_odds, .. } = explanation;
    let mut out = format!("{label}  {probability:.4}   log-odds {log_odds:+.3}\n");
    for input in &explanation.inputs {
        out.push('\n');
        if let Some(name) = &input.input {
            out += &format!("{name}: ");
        }
        for segment in input.segments() {
            let text = printable(&input.text[segment.span.clone()]);
            match (segment.words.first(), colored) {
                (Some(word), true) => {
                    out += &painted(explanation, &text, segment.contribution(), word.known);
                }
                // Truncated text is grey, text between words is plain.
                (None, true) if text.chars().any(char::is_alphanumeric) => {
                    let style = Style::new().dimmed();
                    out += &format!("{style}{text}{style:#}");
                }
                _ => out += &text,
            }
        }
        out.push('\n');
    }
    out += &list(explanation, colored);
    out += &summary(explanation);
    let notes = explanation.notes().into_iter().map(|note| format!("note: {note}\n"));
    out + &notes.collect::<String>()
}

fn painted(explanation: &Explanation, text: &str, contribution: f64, known: bool) -> String {
    let share = explanation.share(contribution);
    let mut style = Style::new();
    if share >= MIN_SHARE {
        let colors = match explanation.side(contribution) {
            Side::For => FOR,
            Side::Against => AGAINST,
        };
        let step = ((share * colors.len() as f64) as usize).min(colors.len() - 1);
        let (background, foreground) = colors[step];
        style = style
            .bg_color(Some(Ansi256Color(background).into()))
            .fg_color(Some(Ansi256Color(foreground).into()));
    }
    if !known {
        style = style.underline();
    }
    format!("{style}{text}{style:#}")
}

/// Formats a heading in the color of its side.
fn swatch(colors: [(u8, u8); 4], text: &str) -> String {
    let (background, foreground) = colors[1];
    let style = Style::new()
        .bg_color(Some(Ansi256Color(background).into()))
        .fg_color(Some(Ansi256Color(foreground).into()));
    let name = text.trim_end();
    format!("{style}{name}{style:#}{}", &text[name.len()..])
}

/// Lists the largest contributions of both sides next to each other.
fn list(explanation: &Explanation, colored: bool) -> String {
    let [supporting, opposing] = [Side::For, Side::Against].map(|side| explanation.ranked(side));
    let [left, right] = [Side::For, Side::Against].map(|side| explanation.side_name(side));
    let entry = |words: &[&ExplainedWord], index: usize| match words.get(index) {
        None => String::new(),
        Some(word) => {
            let text: String = printable(&word.word).chars().take(WORD_WIDTH).collect();
            format!("{text:<WORD_WIDTH$} {:>+8.3}", explanation.on_its_side(word.contribution))
        }
    };
    let width = WORD_WIDTH + 9;
    let heading = |side: Side, text: String| match (colored, side) {
        (false, _) => text,
        (true, Side::For) => swatch(FOR, &text),
        (true, Side::Against) => swatch(AGAINST, &text),
    };
    let left = heading(Side::For, format!("{left:<width$}"));
    let mut out = format!("\n{left}   {}\n", heading(Side::Against, right));
    for index in 0..LISTED_WORDS.min(supporting.len().max(opposing.len())) {
        let line = format!("{:<width$}   {}", entry(&supporting, index), entry(&opposing, index));
        out += line.trim_end();
        out.push('\n');
    }
    let rest = |words: &[&ExplainedWord]| match words.get(LISTED_WORDS..) {
        None | Some([]) => String::new(),
        Some(rest) => {
            let sum: f64 = rest.iter().map(|word| word.contribution).sum();
            format!(
                "{:<WORD_WIDTH$} {:>+8.3}",
                format!("… {} more", rest.len()),
                explanation.on_its_side(sum)
            )
        }
    };
    let line = format!("{:<width$}   {}", rest(&supporting), rest(&opposing));
    if !line.trim().is_empty() {
        out += line.trim_end();
        out.push('\n');
    }
    out
}

fn summary(explanation: &Explanation) -> String {
    match (explanation.method, explanation.integration) {
        (Method::IntegratedGradients, Some(integration)) => format!(
            "\nlog-odds of {}: {:+.3} with PAD in place of words, {:+.3} from the words\n\
             integrated gradients with {} points, completeness gap {:.4}\n",
            explanation.label,
            integration.baseline_log_odds,
            explanation.log_odds - integration.baseline_log_odds,
            integration.steps,
            integration.completeness_gap.abs()
        ),
        _ => "\nleave-one-out: decrease in log-odds when the word is removed\n".to_owned(),
    }
}
