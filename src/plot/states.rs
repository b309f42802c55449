//! How a model reads a text: the probability after each word, and the gates at each.

use anyhow::ensure;

use crate::output::format::group_digits;

use super::sheet::{Align, Dashes, Point, Sheet, fitted, width};
use super::{
    Axis, BLUE, COLORS, Color, Frame, GRAY, GRID, INK, Picture, SMALL, TEXT, Theme, VERMILION,
};

const MARGIN: f64 = 36.0;
const LEFT: f64 = 100.0;
/// Beside the charts, for the names of their lines.
const LEGEND: f64 = 190.0;
/// The charts of a short text and of a long one.
const NARROWEST: f64 = 560.0;
const WIDEST: f64 = 1500.0;
/// Between words, where they have room.
const PITCH: f64 = 26.0;
/// Words that are named are this far apart at least.
const APART: f64 = 16.0;
/// Steps closer together than this have no dots.
const DOTS_APART: f64 = 9.0;

const PROBABILITY_HEIGHT: f64 = 260.0;
const GATES_HEIGHT: f64 = 170.0;
/// From the title of a chart to its top, and from its bottom to the next title.
const TITLE_HEIGHT: f64 = 34.0;
const GAP: f64 = 46.0;
/// The longest word below the charts, and what is left free above and below all of them.
const LONGEST_WORD: f64 = 150.0;
const WORDS_MARGINS: [f64; 2] = [10.0, 30.0];
/// A word that moves the probability by so much has the whole colour.
const STRONG: f64 = 0.2;
/// Between ticks.
const STEP: f64 = 0.2;

/// Lines of a chart with more than two classes.
const MOST_CLASSES: usize = 6;
/// The gates in the order of their weights.
const GATES: [&str; 4] = ["input gate", "forget gate", "cell gate", "output gate"];

/// What is drawn of a text.
#[derive(Clone, Debug)]
pub struct StatesPlot<'a> {
    /// What tells it from others, where there are any.
    pub name: Option<String>,
    /// The tokens that are read, and all that the text has.
    pub read: (usize, usize),
    /// The words, at least one.
    pub words: &'a [String],
    /// The label of each class.
    pub labels: &'a [String],
    /// After each word the probability of every class.
    pub probabilities: &'a [Vec<f64>],
    /// What each direction of a layer did.
    pub gates: Vec<Gates<'a>>,
}

/// The gates of one direction of a layer.
#[derive(Clone, Debug)]
pub struct Gates<'a> {
    /// What stands above them.
    pub title: String,
    /// At each word the means of input, forget, cell and output gate over all units.
    pub means: &'a [[f32; 4]],
}

/// The most texts in one picture.
pub const MOST_TEXTS: usize = 12;

/// Draws for each text a chart of the probabilities and one of the gates of each direction, over its
/// words.
///
/// # Errors
/// Where there are more than [`MOST_TEXTS`], or the drawing cannot be encoded.
pub fn draw(plots: &[StatesPlot], theme: Theme) -> anyhow::Result<Picture> {
    let count = plots.len();
    ensure!(count <= MOST_TEXTS, "a picture has at most {MOST_TEXTS} texts, not {count}");
    let parts: Vec<Part> = plots.iter().map(Part::new).collect();
    let right = parts.iter().map(|part| part.columns.right).fold(0.0, f64::max) + LEGEND;
    let bottom = MARGIN + parts.iter().map(Part::height).sum::<f64>();
    let mut sheet = Sheet::new(right.ceil() as u32, bottom.ceil() as u32);
    let mut top = MARGIN;
    for part in &parts {
        part.draw(&mut sheet, top);
        top += part.height();
    }
    sheet.picture(theme)
}

/// The part of a picture that a text has.
struct Part {
    columns: Columns,
    charts: Vec<Chart>,
    named: Vec<NamedWord>,
}

impl Part {
    fn new(plot: &StatesPlot) -> Self {
        let (columns, charts) = (Columns::of(plot.words), charts(plot));
        let changes = changes(plot, &charts[0].lines);
        let named = named(&changes, &columns).into_iter().map(|number| NamedWord {
            number,
            name: fitted(&plot.words[number], SMALL, LONGEST_WORD),
            color: word_color(changes[number], plot.labels.len()),
        });
        Self { named: named.collect(), columns, charts }
    }

    fn height(&self) -> f64 {
        let charts = self.charts.iter().map(|chart| TITLE_HEIGHT + chart.height + GAP);
        let words = self.named.iter().map(|word| width(&word.name, SMALL)).fold(0.0, f64::max);
        charts.sum::<f64>() - GAP + words + WORDS_MARGINS.iter().sum::<f64>()
    }

    fn draw(&self, sheet: &mut Sheet, mut top: f64) {
        for chart in &self.charts {
            let frame = chart.frame(top + TITLE_HEIGHT, &self.columns);
            let words = self.named.iter().map(|word| word.number);
            chart.draw(sheet, &frame, &self.columns, words);
            top = frame.bottom + GAP;
        }
        for word in &self.named {
            let place = (self.columns.middle(word.number), top - GAP + WORDS_MARGINS[0]);
            sheet.upward(place, Align::Right, SMALL, word.color, &word.name);
        }
    }
}

/// A word that is named below the charts.
struct NamedWord {
    number: usize,
    name: String,
    color: Color,
}

/// Where words lie.
struct Columns {
    left: f64,
    right: f64,
    pitch: f64,
}

impl Columns {
    fn of(words: &[String]) -> Self {
        let words = words.len().max(1) as f64;
        let room = (PITCH * words).clamp(NARROWEST, WIDEST);
        Self { left: LEFT, pitch: room / words, right: LEFT + room }
    }

    fn middle(&self, word: usize) -> f64 {
        self.left + self.pitch * (word as f64 + 0.5)
    }
}

/// A chart over all words.
struct Chart {
    title: String,
    height: f64,
    /// From the lowest value to the highest.
    axis: Axis,
    lines: Vec<Line>,
    /// Whether the line at one half means something.
    divided: bool,
}

struct Line {
    name: String,
    color: Color,
    /// After each word.
    values: Vec<f64>,
}

fn charts(plot: &StatesPlot) -> Vec<Chart> {
    let gates = plot.gates.iter().map(|gates| {
        let line = |gate: usize| Line {
            name: GATES[gate].to_owned(),
            color: COLORS[gate],
            values: gates.means.iter().map(|means| f64::from(means[gate])).collect(),
        };
        let lines: Vec<Line> = (0..GATES.len()).map(line).collect();
        let lowest = lines.iter().flat_map(|line| &line.values).fold(0.0, |a: f64, b| a.min(*b));
        let low = (lowest / STEP).floor() * STEP;
        Chart {
            title: format!("{}, means over its units", gates.title),
            height: GATES_HEIGHT * (1.0 - low),
            axis: Axis::new(low, 1.0, STEP),
            lines,
            divided: false,
        }
    });
    [probability_chart(plot)].into_iter().chain(gates).collect()
}

fn probability_chart(plot: &StatesPlot) -> Chart {
    let line = |(number, class): (usize, usize)| Line {
        name: plot.labels[class].clone(),
        color: COLORS[number % COLORS.len()],
        values: plot.probabilities.iter().map(|row| row[class]).collect(),
    };
    let classes = shown_classes(plot.labels.len(), plot.probabilities);
    let class = match plot.labels {
        [_, second] => format!("“{}”", fitted(second, TEXT, 200.0)),
        _ => "each class".to_owned(),
    };
    let name =
        plot.name.as_ref().map_or(String::new(), |name| format!("{}: ", fitted(name, TEXT, 120.0)));
    let cut = match plot.read {
        (read, all) if read < all => {
            format!(" ({} of {} are read)", group_digits(read), group_digits(all))
        }
        _ => String::new(),
    };
    let title = format!("{name}probability of {class} after each word{cut}");
    Chart {
        title,
        height: PROBABILITY_HEIGHT,
        axis: Axis::new(0.0, 1.0, STEP),
        lines: classes.into_iter().enumerate().map(line).collect(),
        divided: plot.labels.len() == 2,
    }
}

/// Of two classes the second, else those that are the most probable at any word; in their order.
fn shown_classes(classes: usize, probabilities: &[Vec<f64>]) -> Vec<usize> {
    if classes == 2 {
        return vec![1];
    }
    let peak = |class: &usize| probabilities.iter().map(|row| row[*class]).fold(0.0, f64::max);
    let mut shown: Vec<usize> = (0..classes).collect();
    shown.sort_by(|a, b| peak(b).total_cmp(&peak(a)));
    shown.truncate(MOST_CLASSES);
    shown.sort_unstable();
    shown
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
        sheet: &mut Sheet,
        frame: &Frame,
        columns: &Columns,
        named: impl Iterator<Item = usize>,
    ) {
        sheet.text((frame.left, frame.top - 20.0), Align::Left, TEXT, INK, &self.title);
        frame.draw_y(sheet);
        for word in named {
            let x = columns.middle(word);
            sheet.line(&[(x, frame.top), (x, frame.bottom)], 1.0, GRID);
        }
        if self.divided {
            let (_, y) = frame.place(0.0, 0.5);
            let dashes = Dashes { skip: 0.0, on: 6.0, off: 5.0 };
            sheet.dashes(&[(frame.left, y), (frame.right, y)], dashes, 1.4, GRAY);
        }
        for (number, line) in self.lines.iter().enumerate() {
            let place = |(word, value): (usize, &f64)| -> Point {
                (columns.middle(word), frame.place(0.0, *value).1)
            };
            let points: Vec<Point> = line.values.iter().enumerate().map(place).collect();
            sheet.line(&points, 2.2, line.color);
            if columns.pitch >= DOTS_APART || points.len() == 1 {
                points.iter().for_each(|point| sheet.dot(*point, 3.4, line.color));
            }
            if self.lines.len() > 1 {
                draw_legend(sheet, frame, number, line);
            }
        }
    }
}

/// The name of a line beside its chart.
fn draw_legend(sheet: &mut Sheet, frame: &Frame, number: usize, line: &Line) {
    const SAMPLE: f64 = 26.0;
    let (left, y) = (frame.right + 18.0, frame.top + 12.0 + 27.0 * number as f64);
    sheet.line(&[(left, y), (left + SAMPLE, y)], 2.6, line.color);
    let room = LEGEND - 18.0 - SAMPLE - 10.0 - 6.0;
    let name = fitted(&line.name, SMALL, room);
    debug_assert!(width(&name, SMALL) <= room);
    sheet.text((left + SAMPLE + 10.0, y), Align::Left, SMALL, INK, &name);
}

/// Of two classes that of the one that a word speaks for, the stronger the more the line rises or falls.
fn word_color(change: f64, classes: usize) -> Color {
    if classes != 2 {
        return INK;
    }
    let side = if change < 0.0 { VERMILION } else { BLUE };
    side.mixed(GRAY, (change.abs() / STRONG).min(1.0) as f32)
}

/// How far the lines move with each word: of two classes with its sign. What was before the first
/// word is not known; all classes are taken for equally probable there.
fn changes(plot: &StatesPlot, lines: &[Line]) -> Vec<f64> {
    let even = 1.0 / plot.labels.len().max(1) as f64;
    let change = |word: usize| {
        let moved = lines.iter().map(|line| {
            let before = if word == 0 { even } else { line.values[word - 1] };
            line.values[word] - before
        });
        moved.fold(0.0, |most: f64, change| if change.abs() > most.abs() { change } else { most })
    };
    (0..plot.words.len()).map(change).collect()
}

/// The words that have room for their names, those with the largest changes first, in their order.
fn named(changes: &[f64], columns: &Columns) -> Vec<usize> {
    let mut order: Vec<usize> = (0..changes.len()).collect();
    order.sort_by(|a, b| changes[*b].abs().total_cmp(&changes[*a].abs()));
    // The columns of the words to the left and right that have no room any more.
    let around = (APART / columns.pitch).ceil() as usize - 1;
    let mut taken = vec![false; changes.len()];
    let mut named = Vec::new();
    for number in order {
        if !taken[number] {
            let last = (number + around).min(taken.len() - 1);
            taken[number.saturating_sub(around)..=last].fill(true);
            named.push(number);
        }
    }
    named.sort_unstable();
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(pitch: f64, words: usize) -> Columns {
        Columns { left: 0.0, pitch, right: pitch * words as f64 }
    }

    #[test]
    fn words_that_change_most_are_named_where_there_is_room() {
        let changes = [0.1, -0.9, 0.2, 0.3, 0.0, 0.5];
        assert_eq!(named(&changes, &columns(16.0, 6)), [0, 1, 2, 3, 4, 5]);
        // Neighbours of a named word have no room.
        assert_eq!(named(&changes, &columns(9.0, 6)), [1, 3, 5]);
        assert_eq!(named(&changes, &columns(6.0, 6)), [1, 5]);
        assert_eq!((word_color(-0.9, 2), word_color(0.2, 2)), (VERMILION, BLUE));
        assert_eq!((word_color(0.0, 2), word_color(0.5, 3)), (GRAY, INK));
        assert!(named(&[], &columns(6.0, 0)).is_empty());
    }

    #[test]
    fn of_many_classes_the_most_probable_ones_are_shown() {
        let row = |peak: usize| (0..9).map(|class| if class == peak { 0.9 } else { 0.0 }).collect();
        let rows: Vec<Vec<f64>> = [8, 2, 5, 5].map(row).to_vec();
        let shown = shown_classes(9, &rows);
        assert_eq!(shown.len(), MOST_CLASSES);
        assert!([2, 5, 8].iter().all(|class| shown.contains(class)) && shown.is_sorted());
        assert_eq!(shown_classes(2, &[vec![0.9, 0.1]]), [1]);
    }

    #[test]
    fn texts_of_any_length_are_drawn() {
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
            let plot = StatesPlot {
                name: None,
                read: (count, count + 7),
                words,
                labels: &labels,
                probabilities,
                gates,
            };
            let svg = draw(&[plot], Theme::Auto).unwrap().svg;
            assert!(
                svg.contains("probability of “pos” after each word (") && svg.contains("are read)")
            );
            assert!(svg.contains("forget gate") && svg.contains("layer 1, forward, means"));
            let named = svg.matches("rotate(270").count();
            assert!(named == count || (count > 100 && (47..94).contains(&named)), "{named}");
        }
    }
}
