//! The emotion of a vocabulary: how probable each word alone makes the second of two classes.

use super::sheet::{Align, Dashes, Sheet, fitted, fitted_at_both_ends};
use super::{Axis, BLUE, Color, Frame, GRAY, INK, Picture, SMALL, TEXT, TITLE, Theme, VERMILION};
use crate::output::format::group_digits;

const WIDTH: u32 = 1500;
const HEIGHT: u32 = 650;
const MARGIN: f64 = 36.0;
/// Of the histogram.
const FRAME_LEFT: f64 = 100.0;
const FRAME_RIGHT: f64 = 940.0;
/// Its bars.
const BINS: usize = 40;
/// Words in each column.
const EXTREMES: usize = 10;
/// The columns of words: where each begins, and how wide it is.
const COLUMNS: [f64; 2] = [980.0, 1236.0];
const COLUMN: f64 = 228.0;
/// Of that, the score and the space in front of it.
const SCORE: f64 = 70.0;

/// A word and the probability of the second class.
type Scored = (String, f64);

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    /// The run's name.
    pub run: &'a str,
    /// The labels of both classes; probabilities are the second's.
    pub labels: [&'a str; 2],
    /// Every word with its probability.
    pub scores: &'a [(String, f64)],
}

/// Draws a histogram of the probabilities, and the words at both ends beside it.
///
/// # Errors
/// Where the drawing cannot be encoded.
pub fn draw(words: &Words, theme: Theme) -> anyhow::Result<Picture> {
    let labels = words.labels.map(|label| fitted(label, TEXT, 160.0));
    let mut sheet = Sheet::new(WIDTH, HEIGHT);
    draw_title(&mut sheet, words);
    draw_histogram(&mut sheet, words.scores, &labels);
    let [lowest, highest] = extremes(words.scores);
    draw_column(&mut sheet, COLUMNS[0], &labels[0], VERMILION, &lowest);
    draw_column(&mut sheet, COLUMNS[1], &labels[1], BLUE, &highest);
    sheet.picture(theme)
}

fn draw_title(sheet: &mut Sheet, words: &Words) {
    let what = match words.scores.len() {
        1 => "one word".to_owned(),
        count => format!("{} words", group_digits(count)),
    };
    let title = format!("{what} of the vocabulary, each read alone");
    sheet.text((FRAME_LEFT, 44.0), Align::Left, TITLE, INK, &title);
    let run = fitted_at_both_ends(words.run, SMALL, f64::from(WIDTH) - MARGIN - COLUMNS[0]);
    sheet.text((f64::from(WIDTH) - MARGIN, 46.0), Align::Right, SMALL, GRAY, &run);
}

fn draw_histogram(sheet: &mut Sheet, scores: &[Scored], labels: &[String; 2]) {
    let bins = bins(scores);
    let frame = Frame {
        left: FRAME_LEFT,
        top: 132.0,
        right: FRAME_RIGHT,
        bottom: 560.0,
        x: Axis::new(0.0, 1.0, 0.1),
        y: Axis::counts(bins.iter().map(|count| *count as f64)),
    };
    frame.draw(sheet, &format!("probability of “{}”", labels[1]));
    for (number, count) in bins.iter().enumerate().filter(|(_, count)| **count > 0) {
        let edge = |number: usize| number as f64 / BINS as f64;
        let (left, top) = frame.place(edge(number), *count as f64);
        let (right, bottom) = frame.place(edge(number + 1), 0.0);
        // A bar of a single word must be seen too.
        let top = top.min(bottom - 1.0);
        sheet.bar(
            [(left + 1.0, top), (right - 1.0, bottom)],
            shade(edge(number) + 0.5 / BINS as f64),
        );
    }
    draw_figures(sheet, &frame, scores, labels);
}

/// The figures above the histogram, and the median in it.
fn draw_figures(sheet: &mut Sheet, frame: &Frame, scores: &[Scored], labels: &[String; 2]) {
    let Some(Figures { median, mean, below }) = Figures::of(scores) else { return };
    let (x, _) = frame.place(median, 0.0);
    let dashes = Dashes { skip: 0.0, on: 9.0, off: 6.0 };
    sheet.dashes(&[(x, frame.top), (x, frame.bottom)], dashes, 1.6, INK);
    let y = frame.top - 28.0;
    let side = |share: f64, label: &str| format!("{:.1} % {label}", 100.0 * share);
    let above = side(1.0 - below, &labels[1]);
    sheet.text((frame.left, y), Align::Left, TEXT, VERMILION, &side(below, &labels[0]));
    sheet.text((frame.right, y), Align::Right, TEXT, BLUE, &above);
    let middle = ((frame.left + frame.right) / 2.0, y);
    let figures = format!("median {median:.3} (dashed), mean {mean:.3}");
    sheet.text(middle, Align::Center, SMALL, GRAY, &figures);
}

fn draw_column(sheet: &mut Sheet, left: f64, label: &str, color: Color, words: &[&Scored]) {
    let right = left + COLUMN;
    let heading = fitted(&format!("most {label}"), TEXT, COLUMN);
    sheet.text((left, 104.0), Align::Left, TEXT, color, &heading);
    sheet.line(&[(left, 124.0), (right, 124.0)], 1.5, color);
    for (number, (word, score)) in words.iter().enumerate() {
        let y = 152.0 + 42.0 * number as f64;
        sheet.text((left, y), Align::Left, TEXT, INK, &fitted(word, TEXT, COLUMN - SCORE));
        sheet.text((right, y), Align::Right, SMALL, GRAY, &format!("{score:.4}"));
    }
}

/// From the colour of the first class over a light gray to that of the second.
fn shade(probability: f64) -> Color {
    let middle = Color::new((200, 200, 200), (84, 88, 95));
    let color = if probability < 0.5 { VERMILION } else { BLUE };
    color.mixed(middle, (2.0 * probability - 1.0).abs().sqrt() as f32)
}

/// How many words lie in each of [`BINS`] equal parts of 0 to 1.
fn bins(scores: &[Scored]) -> [usize; BINS] {
    let mut bins = [0; BINS];
    for (_, score) in scores {
        bins[((score * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    bins
}

/// What the words are in sum.
#[derive(Debug, PartialEq)]
struct Figures {
    median: f64,
    mean: f64,
    /// The share of words below 0.5.
    below: f64,
}

impl Figures {
    fn of(scores: &[Scored]) -> Option<Self> {
        let mut sorted: Vec<f64> = scores.iter().map(|(_, score)| *score).collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let median = (sorted.get(count.checked_sub(1)? / 2)? + sorted.get(count / 2)?) / 2.0;
        let mean = sorted.iter().sum::<f64>() / count as f64;
        let below = sorted.iter().filter(|score| **score < 0.5).count() as f64 / count as f64;
        Some(Self { median, mean, below })
    }
}

/// The words with the lowest probabilities, lowest first, and those with the highest, highest
/// first; earlier words first where they are equal. No word is on both sides.
fn extremes(scores: &[Scored]) -> [Vec<&Scored>; 2] {
    let most = EXTREMES.min(scores.len());
    let mut words: Vec<&Scored> = scores.iter().collect();
    words.sort_by(|a, b| b.1.total_cmp(&a.1));
    let rest = words.split_off(most.min(scores.len().div_ceil(2)));
    let mut lowest = rest;
    lowest.sort_by(|a, b| a.1.total_cmp(&b.1));
    lowest.truncate(most);
    [lowest, words]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(scores: &[f64]) -> Vec<Scored> {
        scores.iter().enumerate().map(|(i, score)| (format!("w{i}"), *score)).collect()
    }

    fn names(words: &[&Scored]) -> Vec<String> {
        words.iter().map(|(word, _)| word.clone()).collect()
    }

    #[test]
    fn every_word_is_in_one_bin() {
        let bins = bins(&scores(&[0.0, 0.024, 0.025, 0.5, 0.999, 1.0]));
        assert_eq!((bins[0], bins[1], bins[20], bins[39]), (2, 1, 1, 2));
        assert_eq!(bins.iter().sum::<usize>(), 6);
    }

    #[test]
    fn the_extreme_words_are_in_order() {
        let many: Vec<f64> = (0..100).map(|i| f64::from((i * 37) % 100) / 100.0).collect();
        let many = scores(&many);
        let [lowest, highest] = extremes(&many);
        assert_eq!((lowest.len(), highest.len()), (EXTREMES, EXTREMES));
        assert_eq!((lowest[0].1, lowest[9].1), (0.0, 0.09));
        assert_eq!((highest[0].1, highest[9].1), (0.99, 0.9));
    }

    #[test]
    fn no_word_is_extreme_twice() {
        let few = scores(&[0.5, 0.5, 0.5]);
        let [lowest, highest] = extremes(&few);
        assert_eq!(
            (names(&lowest), names(&highest)),
            (vec!["w2".into()], vec!["w0".into(), "w1".into()])
        );
        assert_eq!(extremes(&scores(&[0.5]))[0].len(), 0);
        assert_eq!(extremes(&[]), [vec![], vec![]] as [Vec<&Scored>; 2]);
    }

    #[test]
    fn figures_are_those_of_all_words() {
        let of = |values: &[f64]| Figures::of(&scores(values));
        assert_eq!(
            of(&[1.0, 0.0, 0.25, 0.75]),
            Some(Figures { median: 0.5, mean: 0.5, below: 0.5 })
        );
        assert_eq!(of(&[0.5]), Some(Figures { median: 0.5, mean: 0.5, below: 0.0 }));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn long_words_are_cut() {
        let scores = vec![("a".repeat(500), 0.9), ("b".into(), 0.1)];
        let words = Words { run: "run", labels: ["neg", "pos"], scores: &scores };
        let svg = draw(&words, Theme::Auto).unwrap().svg;
        assert!(svg.contains("aaaaa…") && !svg.contains(&"a".repeat(40)));
        assert!(svg.contains("probability of “pos”"));
    }
}
