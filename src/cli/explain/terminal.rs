//! Explanations as text for a terminal.

use anstyle::{Ansi256Color, Style};

use crate::explanation::{ExplainedWord, Explanation, Method, Side};
use crate::output::StyledText;
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

/// Appends the prediction, the text and the words with the largest contributions.
pub fn append(out: &mut StyledText, explanation: &Explanation) {
    let Explanation { label, probability, log_odds, .. } = explanation;
    out.push(format!("{}  {probability:.4}   log-odds {log_odds:+.3}\n", printable(label)));
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
    append_list(out, explanation);
    out.push(summary(explanation));
    for note in explanation.notes() {
        out.push(format!("note: {note}\n"));
    }
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

/// Lists the largest contributions of both sides next to each other.
fn append_list(out: &mut StyledText, explanation: &Explanation) {
    let [supporting, opposing] = [Side::For, Side::Against].map(|side| explanation.ranked(side));
    let [left, right] =
        [Side::For, Side::Against].map(|side| printable(&explanation.side_name(side)).into_owned());
    let entry = |words: &[&ExplainedWord], index: usize| match words.get(index) {
        None => String::new(),
        Some(word) => {
            let text: String = printable(&word.word).chars().take(WORD_WIDTH).collect();
            format!("{text:<WORD_WIDTH$} {:>+8.3}", explanation.on_its_side(word.contribution))
        }
    };
    let width = WORD_WIDTH + 9;
    out.push("\n");
    out.push_styled(filled(FOR[1]), &left);
    out.push(format!("{:1$}   ", "", width.saturating_sub(left.chars().count())));
    out.push_styled(filled(AGAINST[1]), right);
    out.push("\n");
    for index in 0..LISTED_WORDS.min(supporting.len().max(opposing.len())) {
        let line = format!("{:<width$}   {}", entry(&supporting, index), entry(&opposing, index));
        out.push(line.trim_end());
        out.push("\n");
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
        out.push(line.trim_end());
        out.push("\n");
    }
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
