//! An explanation in a terminal.

use anstyle::{Ansi256Color, Style};

use crate::explanation::{ExplainedWord, Explanation, Method, Side};
use crate::output::sanitize::printable;

/// Words at each end that are listed with their numbers.
const LISTED: usize = 8;
/// A longer word is cut in the list.
const WORD: usize = 24;
/// From pale to strong: background and letters that stand out from it, for the class and against
/// it, on dark terminals as on light ones. No word is coloured that has less than a sixth of the
/// largest contribution.
const FOR: [(u8, u8); 4] = [(153, 16), (75, 16), (32, 231), (25, 231)];
const AGAINST: [(u8, u8); 4] = [(223, 16), (215, 16), (208, 16), (166, 231)];
const LEAST: f64 = 1.0 / 6.0;

/// The decision, the text and the words that matter most.
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
                // What lies between words is plain, what is not read grey.
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
    out += &remark(explanation);
    let notes = explanation.notes().into_iter().map(|note| format!("note: {note}\n"));
    out + &notes.collect::<String>()
}

fn painted(explanation: &Explanation, text: &str, contribution: f64, known: bool) -> String {
    let share = explanation.share(contribution);
    let mut style = Style::new();
    if share >= LEAST {
        let colors = match explanation.side(contribution) {
            Side::For => FOR,
            Side::Against => AGAINST,
        };
        let step = ((share * colors.len() as f64) as usize).min(colors.len() - 1);
        let (back, letters) = colors[step];
        style = style
            .bg_color(Some(Ansi256Color(back).into()))
            .fg_color(Some(Ansi256Color(letters).into()));
    }
    if !known {
        style = style.underline();
    }
    format!("{style}{text}{style:#}")
}

/// A heading in the colour of its side.
fn swatch(colors: [(u8, u8); 4], text: &str) -> String {
    let (back, letters) = colors[1];
    let style = Style::new()
        .bg_color(Some(Ansi256Color(back).into()))
        .fg_color(Some(Ansi256Color(letters).into()));
    let name = text.trim_end();
    format!("{style}{name}{style:#}{}", &text[name.len()..])
}

/// The largest contributions of both sides beside each other.
fn list(explanation: &Explanation, colored: bool) -> String {
    let [towards, against] = [Side::For, Side::Against].map(|side| explanation.ranked(side));
    let [left, right] = [Side::For, Side::Against].map(|side| explanation.side_name(side));
    let entry = |words: &[&ExplainedWord], index: usize| match words.get(index) {
        None => String::new(),
        Some(found) => {
            let word: String = printable(&found.word).chars().take(WORD).collect();
            format!("{word:<WORD$} {:>+8.3}", explanation.on_its_side(found.contribution))
        }
    };
    let width = WORD + 9;
    let heading = |side: Side, text: String| match (colored, side) {
        (false, _) => text,
        (true, Side::For) => swatch(FOR, &text),
        (true, Side::Against) => swatch(AGAINST, &text),
    };
    let left = heading(Side::For, format!("{left:<width$}"));
    let mut out = format!("\n{left}   {}\n", heading(Side::Against, right));
    for index in 0..LISTED.min(towards.len().max(against.len())) {
        let line = format!("{:<width$}   {}", entry(&towards, index), entry(&against, index));
        out += line.trim_end();
        out.push('\n');
    }
    let rest = |words: &[&ExplainedWord]| match words.get(LISTED..) {
        None | Some([]) => String::new(),
        Some(rest) => {
            let sum: f64 = rest.iter().map(|word| word.contribution).sum();
            format!(
                "{:<WORD$} {:>+8.3}",
                format!("… {} more", rest.len()),
                explanation.on_its_side(sum)
            )
        }
    };
    let line = format!("{:<width$}   {}", rest(&towards), rest(&against));
    if !line.trim().is_empty() {
        out += line.trim_end();
        out.push('\n');
    }
    out
}

fn remark(explanation: &Explanation) -> String {
    match (explanation.method, explanation.integration) {
        (Method::IntegratedGradients, Some(found)) => format!(
            "\nlog-odds of {}: {:+.3} with PAD in place of words, {:+.3} from words\n\
             integrated gradients at {} points, completeness gap {:.4}\n",
            explanation.label,
            found.baseline_log_odds,
            explanation.log_odds - found.baseline_log_odds,
            found.steps,
            found.completeness_gap.abs()
        ),
        _ => "\nleave-one-out: how much the log-odds fall without the word\n".to_owned(),
    }
}
