//! Per-word probabilities: the probability of the second of two classes for every word of a vocabulary.

use super::axis::Axis;
use super::canvas::{Canvas, Picture};
use super::color::{BLUE, Color, FOREGROUND, GRAY, Theme, VERMILION};
use super::frame::Frame;
use super::geometry::Dashes;
use super::text::{Align, LARGE, MEDIUM, SMALL, short_names, truncate, truncate_middle};
use crate::output::format::group_digits;

const WIDTH: u32 = 1500;
const HEIGHT: u32 = 650;
const MARGIN: f64 = 36.0;
/// Left and right edge of the histogram.
const FRAME_LEFT: f64 = 100.0;
const FRAME_RIGHT: f64 = 940.0;
/// Number of bars of the histogram.
const BINS: usize = 40;
/// Number of words in each column.
const COLUMN_WORDS: usize = 10;
/// Left edges of the columns of words, and their width.
const COLUMNS: [f64; 2] = [980.0, 1236.0];
const COLUMN_WIDTH: f64 = 228.0;
/// Width of a probability, including the space before it.
const PROBABILITY_WIDTH: f64 = 70.0;

/// A word and the probability of the second class.
type WordProbability = (String, f64);

/// Per-word probabilities of a run.
#[derive(Clone, Copy, Debug)]
pub struct WordsPlot<'a> {
    /// Name of the run.
    pub run: &'a str,
    /// Labels of both classes. Probabilities are those of the second.
    pub labels: [&'a str; 2],
    /// Every word with its probability.
    pub words: &'a [(String, f64)],
}

/// Draws a histogram of the probabilities, and lists the words with the lowest and the highest ones.
///
/// # Errors
/// Returns an error if the picture cannot be encoded.
pub fn draw(plot: &WordsPlot, theme: Theme) -> anyhow::Result<Picture> {
    let labels: Vec<(usize, &str)> = plot.labels.into_iter().enumerate().collect();
    let labels = short_names(&labels, MEDIUM, 160.0);
    let mut canvas = Canvas::new(WIDTH, HEIGHT);
    draw_title(&mut canvas, plot);
    draw_histogram(&mut canvas, plot.words, &labels);
    let [lowest, highest] = extremes(plot.words);
    draw_column(&mut canvas, COLUMNS[0], &labels[0], VERMILION, &lowest);
    draw_column(&mut canvas, COLUMNS[1], &labels[1], BLUE, &highest);
    canvas.render(theme)
}

fn draw_title(canvas: &mut Canvas, plot: &WordsPlot) {
    let words = match plot.words.len() {
        1 => "one word".to_owned(),
        count => format!("{} words", group_digits(count)),
    };
    let title = format!("{words} of the vocabulary, each classified alone");
    canvas.text((FRAME_LEFT, 44.0), Align::Left, LARGE, FOREGROUND, &title);
    let run = truncate_middle(plot.run, SMALL, f64::from(WIDTH) - MARGIN - COLUMNS[0]);
    canvas.text((f64::from(WIDTH) - MARGIN, 46.0), Align::Right, SMALL, GRAY, &run);
}

fn draw_histogram(canvas: &mut Canvas, words: &[WordProbability], labels: &[String]) {
    let bins = bins(words);
    let frame = Frame {
        left: FRAME_LEFT,
        top: 132.0,
        right: FRAME_RIGHT,
        bottom: 560.0,
        x: Axis::new(0.0, 1.0, 0.1),
        y: Axis::counts(bins.iter().map(|count| *count as f64)),
    };
    frame.draw(canvas, &format!("probability of “{}”", labels[1]));
    for (number, count) in bins.iter().enumerate().filter(|(_, count)| **count > 0) {
        let edge = |number: usize| number as f64 / BINS as f64;
        let (left, top) = frame.point(edge(number), *count as f64);
        let (right, bottom) = frame.point(edge(number + 1), 0.0);
        // A bar of a single word is at least one pixel high.
        let top = top.min(bottom - 1.0);
        canvas.bar(
            [(left + 1.0, top), (right - 1.0, bottom)],
            shade(edge(number) + 0.5 / BINS as f64),
        );
    }
    draw_statistics(canvas, &frame, words, labels);
}

/// Draws the statistics above the histogram, and the median in it.
fn draw_statistics(
    canvas: &mut Canvas,
    frame: &Frame,
    words: &[WordProbability],
    labels: &[String],
) {
    let Some(Statistics { median, mean, below }) = Statistics::of(words) else { return };
    let (x, _) = frame.point(median, 0.0);
    let dashes = Dashes { skip: 0.0, on: 9.0, off: 6.0 };
    canvas.dashes(&[(x, frame.top), (x, frame.bottom)], dashes, 1.6, FOREGROUND);
    let y = frame.top - 28.0;
    let side = |fraction: f64, label: &str| format!("{:.1} % {label}", 100.0 * fraction);
    let above = side(1.0 - below, &labels[1]);
    canvas.text((frame.left, y), Align::Left, MEDIUM, VERMILION, &side(below, &labels[0]));
    canvas.text((frame.right, y), Align::Right, MEDIUM, BLUE, &above);
    let center = ((frame.left + frame.right) / 2.0, y);
    let statistics = format!("median {median:.3} (dashed), mean {mean:.3}");
    canvas.text(center, Align::Center, SMALL, GRAY, &statistics);
}

fn draw_column(
    canvas: &mut Canvas,
    left: f64,
    label: &str,
    color: Color,
    words: &[&WordProbability],
) {
    let right = left + COLUMN_WIDTH;
    let header = truncate(&format!("most {label}"), MEDIUM, COLUMN_WIDTH);
    canvas.text((left, 104.0), Align::Left, MEDIUM, color, &header);
    canvas.line(&[(left, 124.0), (right, 124.0)], 1.5, color);
    for (number, (word, probability)) in words.iter().enumerate() {
        let y = 152.0 + 42.0 * number as f64;
        canvas.text(
            (left, y),
            Align::Left,
            MEDIUM,
            FOREGROUND,
            &truncate(word, MEDIUM, COLUMN_WIDTH - PROBABILITY_WIDTH),
        );
        canvas.text((right, y), Align::Right, SMALL, GRAY, &format!("{probability:.4}"));
    }
}

/// Returns the color of a probability, from that of the first class through gray to that of the second.
fn shade(probability: f64) -> Color {
    let middle = Color::new((200, 200, 200), (84, 88, 95));
    let color = if probability < 0.5 { VERMILION } else { BLUE };
    color.over(middle, (2.0 * probability - 1.0).abs().sqrt() as f32)
}

/// Counts the words in each of [`BINS`] equal intervals from 0 to 1.
fn bins(words: &[WordProbability]) -> [usize; BINS] {
    let mut bins = [0; BINS];
    for (_, probability) in words {
        bins[((probability * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    bins
}

/// Statistics over all words.
#[derive(Debug, PartialEq)]
struct Statistics {
    median: f64,
    mean: f64,
    /// Fraction of words below 0.5.
    below: f64,
}

impl Statistics {
    fn of(words: &[WordProbability]) -> Option<Self> {
        let mut sorted: Vec<f64> = words.iter().map(|(_, probability)| *probability).collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let median = (sorted.get(count.checked_sub(1)? / 2)? + sorted.get(count / 2)?) / 2.0;
        let mean = sorted.iter().sum::<f64>() / count as f64;
        let below =
            sorted.iter().filter(|probability| **probability < 0.5).count() as f64 / count as f64;
        Some(Self { median, mean, below })
    }
}

/// Returns the words with the lowest probabilities, lowest first, and those with the highest, highest first.
/// Ties keep the order of the vocabulary. No word is in both lists.
fn extremes(words: &[WordProbability]) -> [Vec<&WordProbability>; 2] {
    let mut highest: Vec<&WordProbability> = words.iter().collect();
    highest.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut lowest = highest.split_off(COLUMN_WORDS.min(words.len().div_ceil(2)));
    lowest.sort_by(|a, b| a.1.total_cmp(&b.1));
    lowest.truncate(COLUMN_WORDS);
    [lowest, highest]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(probabilities: &[f64]) -> Vec<WordProbability> {
        let word = |(index, probability): (usize, &f64)| (format!("w{index}"), *probability);
        probabilities.iter().enumerate().map(word).collect()
    }

    fn names(words: &[&WordProbability]) -> Vec<String> {
        words.iter().map(|(word, _)| word.clone()).collect()
    }

    #[test]
    fn every_word_is_in_one_bin() {
        let bins = bins(&words(&[0.0, 0.024, 0.025, 0.5, 0.999, 1.0]));
        assert_eq!((bins[0], bins[1], bins[20], bins[39]), (2, 1, 1, 2));
        assert_eq!(bins.iter().sum::<usize>(), 6);
    }

    #[test]
    fn extreme_words_are_sorted() {
        let many: Vec<f64> = (0..100).map(|i| f64::from((i * 37) % 100) / 100.0).collect();
        let many = words(&many);
        let [lowest, highest] = extremes(&many);
        assert_eq!((lowest.len(), highest.len()), (COLUMN_WORDS, COLUMN_WORDS));
        assert_eq!((lowest[0].1, lowest[9].1), (0.0, 0.09));
        assert_eq!((highest[0].1, highest[9].1), (0.99, 0.9));
    }

    #[test]
    fn no_word_is_in_both_lists() {
        let few = words(&[0.5, 0.5, 0.5]);
        let [lowest, highest] = extremes(&few);
        assert_eq!(
            (names(&lowest), names(&highest)),
            (vec!["w2".into()], vec!["w0".into(), "w1".into()])
        );
        assert_eq!(extremes(&words(&[0.5]))[0].len(), 0);
        assert_eq!(extremes(&[]), [vec![], vec![]] as [Vec<&WordProbability>; 2]);
    }

    #[test]
    fn statistics_are_over_all_words() {
        let of = |values: &[f64]| Statistics::of(&words(values));
        assert_eq!(
            of(&[1.0, 0.0, 0.25, 0.75]),
            Some(Statistics { median: 0.5, mean: 0.5, below: 0.5 })
        );
        assert_eq!(of(&[0.5]), Some(Statistics { median: 0.5, mean: 0.5, below: 0.0 }));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn long_words_are_truncated() {
        let words = [("a".repeat(500), 0.9), ("b".into(), 0.1)];
        let plot = WordsPlot { run: "run", labels: ["neg", "pos"], words: &words };
        let svg = draw(&plot, Theme::Auto).unwrap().svg;
        assert!(svg.contains("aaaaa…") && !svg.contains(&"a".repeat(40)));
        assert!(svg.contains("probability of “pos”"));
    }
}
