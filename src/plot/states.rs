//! Probabilities and mean gate activations of an LSTM after each word of a text, and the attention to
//! each word.

use anyhow::ensure;

use super::axis::Axis;
use super::canvas::{Canvas, Picture};
use super::color::{BLUE, Color, FOREGROUND, GRAY, GRID, PALETTE, Theme, VERMILION};
use super::frame::Frame;
use super::geometry::{Dashes, Point};
use super::text::{Align, MEDIUM, SMALL, short_names, text_width, truncate_middle};
use crate::config::Labelling;
use crate::output::format::group_digits;

const MARGIN: f64 = 36.0;
const LEFT: f64 = 100.0;
/// Width of the legend, to the right of the charts.
const LEGEND_WIDTH: f64 = 300.0;
/// Length of a line in the legend, and the maximum width of a name.
const LINE: f64 = 26.0;
const NAME_WIDTH: f64 = LEGEND_WIDTH - 18.0 - LINE - 10.0 - 6.0;
/// Minimum and maximum width of the charts.
const MIN_WIDTH: f64 = 560.0;
const MAX_WIDTH: f64 = 1500.0;
/// Maximum distance between words.
const MAX_PITCH: f64 = 26.0;
/// Minimum distance between words with a label.
const LABEL_PITCH: f64 = 16.0;
/// Minimum distance between words with a dot.
const DOT_PITCH: f64 = 9.0;

const PROBABILITY_HEIGHT: f64 = 260.0;
const ATTENTION_HEIGHT: f64 = 130.0;
const GATES_HEIGHT: f64 = 170.0;
/// Distance from the title of a chart to its top, and from its bottom to the next title.
const TITLE_HEIGHT: f64 = 34.0;
const GAP: f64 = 46.0;
/// Maximum length of a word label, and the margins above and below all of them.
const MAX_LABEL: f64 = 150.0;
const LABEL_MARGINS: [f64; 2] = [10.0, 30.0];
/// Change of the probability at which a word label gets its full color.
const STRONG_CHANGE: f64 = 0.2;
/// Distance between ticks.
const TICK_STEP: f64 = 0.2;

/// Maximum number of lines in a chart of more than two classes.
const MAX_CLASSES: usize = 6;
/// Gates in the order of their weights.
const GATES: [&str; 4] = ["input gate", "forget gate", "cell gate", "output gate"];

/// The states of an LSTM over a text.
#[derive(Clone, Debug)]
pub struct StatesPlot<'a> {
    /// Name of the text, if there are several.
    pub name: Option<String>,
    /// Words that the model reads, at least one: `[T]`.
    pub words: &'a [String],
    /// Number of tokens that were truncated.
    pub tokens_unread: usize,
    /// Label of each class: `[C]`.
    pub labels: &'a [String],
    /// Number of labels that a text can have.
    pub labelling: Labelling,
    /// Class probabilities after each word: [T, C].
    pub probabilities: &'a [Vec<f64>],
    /// Attention weight of each word, if the model has attention: `[T]`.
    pub attention: Option<&'a [f32]>,
    /// Gates of each layer and direction.
    pub gates: Vec<Gates<'a>>,
}

impl StatesPlot<'_> {
    /// Label of the second of two classes that exclude each other, whose probability says all.
    fn second_class(&self) -> Option<&str> {
        match (self.labelling, self.labels) {
            (Labelling::One, [_, second]) => Some(second),
            _ => None,
        }
    }
}

/// The gates of one direction of a layer.
#[derive(Clone, Debug)]
pub struct Gates<'a> {
    /// Title of the chart.
    pub title: String,
    /// Mean activations of input, forget, cell and output gate over all units, at each word: [T, 4].
    pub means: &'a [[f32; 4]],
}

/// Maximum number of texts in a picture.
pub const MAX_TEXTS: usize = 12;

/// Draws the probabilities, the attention and the gates of each text over its words.
///
/// # Errors
/// Returns an error if there are more than [`MAX_TEXTS`] texts, or if the picture cannot be encoded.
pub fn draw(plots: &[StatesPlot], theme: Theme) -> anyhow::Result<Picture> {
    let count = plots.len();
    ensure!(count <= MAX_TEXTS, "a picture can contain at most {MAX_TEXTS} texts, not {count}");
    let panels: Vec<Panel> = plots.iter().map(Panel::new).collect();
    let right = panels.iter().map(|panel| panel.columns.right).fold(0.0, f64::max) + LEGEND_WIDTH;
    let bottom = MARGIN + panels.iter().map(Panel::height).sum::<f64>();
    let mut canvas = Canvas::new(right.ceil() as u32, bottom.ceil() as u32);
    let mut top = MARGIN;
    for panel in &panels {
        panel.draw(&mut canvas, top);
        top += panel.height();
    }
    canvas.render(theme)
}

/// The charts of a text, with word labels below.
struct Panel {
    columns: Columns,
    charts: Vec<Chart>,
    labels: Vec<WordLabel>,
}

impl Panel {
    fn new(plot: &StatesPlot) -> Self {
        let (columns, charts) = (Columns::new(plot.words.len()), charts(plot));
        let changes = changes(plot, &charts[0].lines);
        let labels = labeled_words(&changes, &columns).into_iter().map(|index| WordLabel {
            index,
            text: truncate_middle(&plot.words[index], SMALL, MAX_LABEL),
            color: word_color(changes[index], plot.second_class().is_some()),
        });
        Self { labels: labels.collect(), columns, charts }
    }

    fn height(&self) -> f64 {
        let charts = self.charts.iter().map(|chart| TITLE_HEIGHT + chart.height + GAP);
        let labels =
            self.labels.iter().map(|label| text_width(&label.text, SMALL)).fold(0.0, f64::max);
        charts.sum::<f64>() - GAP + labels + LABEL_MARGINS.iter().sum::<f64>()
    }

    fn draw(&self, canvas: &mut Canvas, mut top: f64) {
        for chart in &self.charts {
            let frame = chart.frame(top + TITLE_HEIGHT, &self.columns);
            let labeled = self.labels.iter().map(|label| label.index);
            chart.draw(canvas, &frame, &self.columns, labeled);
            top = frame.bottom + GAP;
        }
        for label in &self.labels {
            let position = (self.columns.center(label.index), top - GAP + LABEL_MARGINS[0]);
            canvas.vertical_text(position, SMALL, label.color, &label.text);
        }
    }
}

/// The label of a word, below the charts.
struct WordLabel {
    /// Index of the word.
    index: usize,
    text: String,
    color: Color,
}

/// Horizontal positions of words.
struct Columns {
    left: f64,
    right: f64,
    /// Distance between words.
    pitch: f64,
}

impl Columns {
    fn new(words: usize) -> Self {
        let words = words.max(1) as f64;
        let width = (MAX_PITCH * words).clamp(MIN_WIDTH, MAX_WIDTH);
        Self { left: LEFT, pitch: width / words, right: LEFT + width }
    }

    fn center(&self, word: usize) -> f64 {
        self.left + self.pitch * (word as f64 + 0.5)
    }
}

/// A chart over all words.
struct Chart {
    title: String,
    height: f64,
    axis: Axis,
    lines: Vec<Line>,
    /// True if a dashed line marks one half.
    has_midline: bool,
}

struct Line {
    name: String,
    color: Color,
    /// Value at each word: `[T]`.
    values: Vec<f64>,
}

fn charts(plot: &StatesPlot) -> Vec<Chart> {
    let gates = plot.gates.iter().map(|gates| {
        let line = |gate: usize| Line {
            name: GATES[gate].to_owned(),
            color: PALETTE[gate],
            values: gates.means.iter().map(|means| f64::from(means[gate])).collect(),
        };
        let lines: Vec<Line> = (0..GATES.len()).map(line).collect();
        let lowest = lines.iter().flat_map(|line| &line.values).fold(0.0, |a: f64, b| a.min(*b));
        let low = (lowest / TICK_STEP).floor() * TICK_STEP;
        Chart {
            title: format!("{}: gate activations, mean over units", gates.title),
            height: GATES_HEIGHT * (1.0 - low),
            axis: Axis::new(low, 1.0, TICK_STEP),
            lines,
            has_midline: false,
        }
    });
    let attention = plot.attention.map(attention_chart);
    [probability_chart(plot)].into_iter().chain(attention).chain(gates).collect()
}

fn probability_chart(plot: &StatesPlot) -> Chart {
    let line = |(number, (class, name)): (usize, (usize, String))| Line {
        name,
        color: PALETTE[number % PALETTE.len()],
        values: plot.probabilities.iter().map(|row| row[class]).collect(),
    };
    let classes = match plot.second_class() {
        Some(_) => vec![1],
        None => selected_classes(plot.labels.len(), plot.probabilities),
    };
    let names: Vec<(usize, &str)> =
        classes.iter().map(|class| (*class, plot.labels[*class].as_str())).collect();
    let names = short_names(&names, SMALL, NAME_WIDTH);
    let class = match (plot.second_class(), plot.labelling) {
        (Some(second), _) => format!("“{}”", truncate_middle(second, MEDIUM, 200.0)),
        (None, Labelling::One) => "each class".to_owned(),
        (None, Labelling::Several) => "each label".to_owned(),
    };
    let name = plot
        .name
        .as_ref()
        .map_or(String::new(), |name| format!("{}: ", truncate_middle(name, MEDIUM, 120.0)));
    let read = plot.words.len();
    let truncated = match plot.tokens_unread {
        0 => String::new(),
        unread => {
            format!(" ({} of {} tokens)", group_digits(read), group_digits(read + unread))
        }
    };
    let title = format!("{name}probability of {class} after each word{truncated}");
    Chart {
        title,
        height: PROBABILITY_HEIGHT,
        axis: Axis::new(0.0, 1.0, TICK_STEP),
        lines: classes.into_iter().zip(names).enumerate().map(line).collect(),
        has_midline: plot.second_class().is_some() || plot.labelling == Labelling::Several,
    }
}

fn attention_chart(weights: &[f32]) -> Chart {
    let values: Vec<f64> = weights.iter().map(|weight| f64::from(*weight)).collect();
    Chart {
        title: "attention weight of each word".to_owned(),
        height: ATTENTION_HEIGHT,
        axis: Axis::from_zero(values.iter().copied()),
        lines: vec![Line { name: "attention".to_owned(), color: PALETTE[0], values }],
        has_midline: false,
    }
}

/// Returns the classes with the highest probabilities at any word, in class order.
fn selected_classes(classes: usize, probabilities: &[Vec<f64>]) -> Vec<usize> {
    let peak = |class: &usize| probabilities.iter().map(|row| row[*class]).fold(0.0, f64::max);
    let mut selected: Vec<usize> = (0..classes).collect();
    selected.sort_by(|a, b| peak(b).total_cmp(&peak(a)));
    selected.truncate(MAX_CLASSES);
    selected.sort_unstable();
    selected
}

impl Chart {
    fn frame(&self, top: f64, columns: &Columns) -> Frame {
        Frame {
            left: columns.left,
            right: columns.right,
            top,
            bottom: top + self.height,
            x: Axis::new(0.0, 1.0, 1.0),
            y: self.axis.clone(),
        }
    }

    fn draw(
        &self,
        canvas: &mut Canvas,
        frame: &Frame,
        columns: &Columns,
        labeled: impl Iterator<Item = usize>,
    ) {
        canvas.text((frame.left, frame.top - 20.0), Align::Left, MEDIUM, FOREGROUND, &self.title);
        frame.draw_y(canvas);
        for word in labeled {
            let x = columns.center(word);
            canvas.line(&[(x, frame.top), (x, frame.bottom)], 1.0, GRID);
        }
        if self.has_midline {
            let (_, y) = frame.point(0.0, 0.5);
            let dashes = Dashes { skip: 0.0, on: 6.0, off: 5.0 };
            canvas.dashes(&[(frame.left, y), (frame.right, y)], dashes, 1.4, GRAY);
        }
        for (number, line) in self.lines.iter().enumerate() {
            let point = |(word, value): (usize, &f64)| -> Point {
                (columns.center(word), frame.point(0.0, *value).1)
            };
            let points: Vec<Point> = line.values.iter().enumerate().map(point).collect();
            canvas.line(&points, 2.2, line.color);
            if columns.pitch >= DOT_PITCH || points.len() == 1 {
                points.iter().for_each(|point| canvas.dot(*point, 3.4, line.color));
            }
            if self.lines.len() > 1 {
                draw_legend(canvas, frame, number, line);
            }
        }
    }
}

/// Draws the name of a line to the right of its chart.
fn draw_legend(canvas: &mut Canvas, frame: &Frame, number: usize, line: &Line) {
    let (left, y) = (frame.right + 18.0, frame.top + 12.0 + 27.0 * number as f64);
    canvas.line(&[(left, y), (left + LINE, y)], 2.6, line.color);
    canvas.text((left + LINE + 10.0, y), Align::Left, SMALL, FOREGROUND, &line.name);
}

/// Returns the color of a word label. With two classes that exclude each other, it is the color of the class that
/// the word makes more probable, blended with gray if the change is small.
fn word_color(change: f64, has_two_classes: bool) -> Color {
    if !has_two_classes {
        return FOREGROUND;
    }
    let side = if change < 0.0 { VERMILION } else { BLUE };
    side.over(GRAY, (change.abs() / STRONG_CHANGE).min(1.0) as f32)
}

/// Returns the largest change of a line at each word. Before the first word, all classes are taken as equally
/// probable, and each of several labels as probable as its absence.
fn changes(plot: &StatesPlot, lines: &[Line]) -> Vec<f64> {
    let uniform = match plot.labelling {
        Labelling::One => 1.0 / plot.labels.len().max(1) as f64,
        Labelling::Several => 0.5,
    };
    let change = |word: usize| {
        let changes = lines.iter().map(|line| {
            let before = if word == 0 { uniform } else { line.values[word - 1] };
            line.values[word] - before
        });
        changes.fold(0.0, |max: f64, change| if change.abs() > max.abs() { change } else { max })
    };
    (0..plot.words.len()).map(change).collect()
}

/// Returns the indices of the words that get a label, in text order. If space is short, words with large
/// changes are preferred.
fn labeled_words(changes: &[f64], columns: &Columns) -> Vec<usize> {
    let mut order: Vec<usize> = (0..changes.len()).collect();
    order.sort_by(|a, b| changes[*b].abs().total_cmp(&changes[*a].abs()));
    // Number of neighbors on each side for which a label leaves no space.
    let neighbors = (LABEL_PITCH / columns.pitch).ceil() as usize - 1;
    let mut covered = vec![false; changes.len()];
    let mut labeled = Vec::new();
    for index in order {
        if !covered[index] {
            let last = (index + neighbors).min(covered.len() - 1);
            covered[index.saturating_sub(neighbors)..=last].fill(true);
            labeled.push(index);
        }
    }
    labeled.sort_unstable();
    labeled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(pitch: f64, words: usize) -> Columns {
        Columns { left: 0.0, pitch, right: pitch * words as f64 }
    }

    #[test]
    fn words_with_large_changes_are_labeled_first() {
        let changes = [0.1, -0.9, 0.2, 0.3, 0.0, 0.5];
        assert_eq!(labeled_words(&changes, &columns(16.0, 6)), [0, 1, 2, 3, 4, 5]);
        // A label leaves no space for those of its neighbors.
        assert_eq!(labeled_words(&changes, &columns(9.0, 6)), [1, 3, 5]);
        assert_eq!(labeled_words(&changes, &columns(6.0, 6)), [1, 5]);
        assert_eq!((word_color(-0.9, true), word_color(0.2, true)), (VERMILION, BLUE));
        assert_eq!((word_color(0.0, true), word_color(0.5, false)), (GRAY, FOREGROUND));
        assert!(labeled_words(&[], &columns(6.0, 0)).is_empty());
    }

    #[test]
    fn the_most_probable_of_many_classes_are_selected() {
        let row = |peak: usize| (0..9).map(|class| if class == peak { 0.9 } else { 0.0 }).collect();
        let rows: Vec<Vec<f64>> = [8, 2, 5, 5].map(row).to_vec();
        let selected = selected_classes(9, &rows);
        assert_eq!(selected.len(), MAX_CLASSES);
        assert!([2, 5, 8].iter().all(|class| selected.contains(class)) && selected.is_sorted());
    }

    #[test]
    fn texts_of_any_length_can_be_drawn() {
        let labels = ["neg".to_owned(), "pos".to_owned()];
        for count in [1, 2, 40, 3_000_usize] {
            let words: Vec<String> = (0..count).map(|word| format!("word{word}")).collect();
            let probabilities: Vec<Vec<f64>> = (0..count)
                .map(|word| word as f64 / count as f64)
                .map(|p| vec![1.0 - p, p])
                .collect();
            let means = vec![[0.5, 0.9, -0.3, 0.4]; count];
            let gates = vec![Gates { title: "layer 1, forward".into(), means: &means }];
            let (words, probabilities) = (&words[..], &probabilities[..]);
            let attention = &vec![1.0 / count as f32; count][..];
            let plot = StatesPlot {
                name: None,
                words,
                tokens_unread: 7,
                labels: &labels,
                labelling: Labelling::One,
                probabilities,
                attention: Some(attention),
                gates,
            };
            let svg = draw(std::slice::from_ref(&plot), Theme::Auto).unwrap().svg;
            let several = StatesPlot { labelling: Labelling::Several, ..plot };
            let of_each = draw(&[several], Theme::Auto).unwrap().svg;
            assert!(of_each.contains("probability of each label after each word ("));
            assert!(of_each.contains("neg") && of_each.contains("pos"));
            assert!(
                svg.contains("probability of “pos” after each word (") && svg.contains(" tokens)")
            );
            assert!(svg.contains("attention weight of each word"));
            assert!(svg.contains("forget gate") && svg.contains("layer 1, forward: gate"));
            let labels = svg.matches("rotate(270").count();
            assert!(labels == count || (count > 100 && (47..94).contains(&labels)), "{labels}");
        }
    }
}
