//! Fit of the scaling that makes probabilities match frequencies, on examples that training has not used.

use rayon::prelude::*;

use super::calibration::{Line, Scaling};
use super::labelling::log_softmax;
use crate::config::Labelling;
use crate::data::Targets;

/// Maximum number of steps of a fit. Few are needed.
const MAX_STEPS: usize = 100;
/// Steps that change the loss of all examples by less than this are not made.
const TOLERANCE: f64 = 1e-12;
/// Bounds of the inverse temperature.
const INVERSE_TEMPERATURES: [f64; 2] = [0.01, 100.0];

/// Returns the scaling with which the loss of the examples is smallest: a temperature, or for several labels
/// per text, a line for the log-odds of each label. `rows` are their log-probabilities, [N, C] in row-major
/// order.
///
/// Few examples change little. For a temperature, one more example with any label counts, as for the scales
/// of branches. For a line, the squared distance of slope and offset from 1 and 0 is added to the loss, with
/// the weight of one example. A scaling that does not lower the loss itself is replaced by the identity.
pub fn fit_scaling(
    labelling: Labelling,
    rows: &[f64],
    classes: usize,
    targets: &Targets,
) -> Scaling {
    if targets.is_empty() {
        return Scaling::identity(labelling, classes);
    }
    match labelling {
        Labelling::One => Scaling::Temperature(fit_temperature(rows, classes, targets)),
        Labelling::Several => {
            let line = |class: usize| {
                let logits: Vec<f64> = rows
                    .chunks_exact(classes)
                    .flat_map(|row| labelling.logits(&row[class..=class]))
                    .collect();
                let shares: Vec<f64> = targets.iter().map(|target| target.share(class)).collect();
                fit_line(&logits, &shares)
            };
            Scaling::LogOdds((0..classes).into_par_iter().map(line).collect())
        }
    }
}

/// Returns the temperature. The loss is convex in its inverse b, and its derivative is the mean over the
/// examples of Σ (p_c(b) − q_c) z_c, with the log-probabilities z and the targets q.
fn fit_temperature(rows: &[f64], classes: usize, targets: &Targets) -> f64 {
    // The additional example spreads a share of each target evenly over all classes.
    let spread = 1.0 / (targets.len() + 1) as f64;
    let derivatives = |inverse: f64| {
        let each = rows.chunks_exact(classes).zip(targets.iter()).map(|(row, target)| {
            let mut scaled: Vec<f64> = row.iter().map(|value| inverse * value).collect();
            log_softmax(&mut scaled);
            let (mut gradient, mut mean, mut square) = (0.0, 0.0, 0.0);
            for (class, (value, scaled)) in row.iter().zip(&scaled).enumerate() {
                let share = (1.0 - spread) * target.share(class) + spread / classes as f64;
                let probability = scaled.exp();
                gradient += (probability - share) * value;
                mean += probability * value;
                square += probability * value * value;
            }
            (gradient, square - mean * mean)
        });
        each.fold((0.0, 0.0), |sum, each| (sum.0 + each.0, sum.1 + each.1))
    };
    let [mut low, mut high] = INVERSE_TEMPERATURES;
    let mut inverse: f64 = 1.0;
    for _ in 0..MAX_STEPS {
        let (gradient, curvature) = derivatives(inverse);
        match gradient > 0.0 {
            true => high = inverse,
            false => low = inverse,
        }
        let newton = inverse - gradient / curvature;
        // Bisection where a Newton step leaves the interval of the root.
        let next = if newton > low && newton < high { newton } else { (low * high).sqrt() };
        let decrease = ((next - inverse) * gradient).abs();
        inverse = next;
        if decrease < TOLERANCE {
            break;
        }
    }
    let loss = |inverse: f64| -> f64 {
        let each = rows.chunks_exact(classes).zip(targets.iter()).map(|(row, target)| {
            let mut scaled: Vec<f64> = row.iter().map(|value| inverse * value).collect();
            log_softmax(&mut scaled);
            scaled
                .iter()
                .enumerate()
                .map(|(class, value)| -target.share(class) * value)
                .sum::<f64>()
        });
        each.sum()
    };
    if loss(inverse) < loss(1.0) { 1.0 / inverse } else { 1.0 }
}

/// Returns the line for the log-odds of a label. `shares` are 1 for the examples that have it, and 0 for
/// others.
fn fit_line(logits: &[f64], shares: &[f64]) -> Line {
    let free = minimize(Line::IDENTITY, true, logits, shares);
    let line = match free.slope < 0.0 {
        // The loss is convex, so that the smallest one for slopes that are not negative is at 0.
        true => minimize(Line { slope: 0.0, offset: 0.0 }, false, logits, shares),
        false => free,
    };
    let is_better = loss(line, logits, shares) < loss(Line::IDENTITY, logits, shares);
    if is_better { line } else { Line::IDENTITY }
}

/// Minimizes the loss of a line by Newton's method, which the added distance keeps well-defined.
fn minimize(start: Line, has_free_slope: bool, logits: &[f64], shares: &[f64]) -> Line {
    let mut line = start;
    for _ in 0..MAX_STEPS {
        let mut gradient = [line.slope - 1.0, line.offset];
        let mut hessian = [1.0, 0.0, 1.0];
        for (logit, share) in logits.iter().zip(shares) {
            let probability = sigmoid(line.at(*logit));
            let weight = probability * (1.0 - probability);
            gradient[0] += (probability - share) * logit;
            gradient[1] += probability - share;
            hessian[0] += weight * logit * logit;
            hessian[1] += weight * logit;
            hessian[2] += weight;
        }
        let step = match has_free_slope {
            true => {
                let determinant = hessian[0] * hessian[2] - hessian[1] * hessian[1];
                [
                    (hessian[1] * gradient[1] - hessian[2] * gradient[0]) / determinant,
                    (hessian[1] * gradient[0] - hessian[0] * gradient[1]) / determinant,
                ]
            }
            false => [0.0, -gradient[1] / hessian[2]],
        };
        let slope = step[0] * gradient[0] + step[1] * gradient[1];
        let before = penalized_loss(line, logits, shares);
        let mut fraction = 1.0;
        let moved = |fraction: f64| Line {
            slope: line.slope + fraction * step[0],
            offset: line.offset + fraction * step[1],
        };
        while penalized_loss(moved(fraction), logits, shares) > before + 1e-4 * fraction * slope
            && fraction > TOLERANCE
        {
            fraction /= 2.0;
        }
        line = moved(fraction);
        if slope.abs() < TOLERANCE {
            break;
        }
    }
    line
}

fn penalized_loss(line: Line, logits: &[f64], shares: &[f64]) -> f64 {
    let distance = (line.slope - 1.0).powi(2) + line.offset.powi(2);
    loss(line, logits, shares) + distance / 2.0
}

/// Returns the sum of the binary cross-entropies.
fn loss(line: Line, logits: &[f64], shares: &[f64]) -> f64 {
    let each = logits.iter().zip(shares).map(|(logit, share)| {
        let logit = line.at(*logit);
        logit.max(0.0) + (-logit.abs()).exp().ln_1p() - share * logit
    });
    each.sum()
}

fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;
    use crate::objective::{LossFunction, Objective};

    const EXAMPLES: usize = 4_000;

    /// Draws logits, and labels with the probabilities of `truth` of them.
    fn binary(truth: impl Fn(f64) -> f64, examples: usize) -> (Vec<f64>, Vec<f64>) {
        let mut random = Pcg64::seed_from_u64(7);
        let draw = |_| {
            let logit = random.random_range(-4.0..4.0);
            let has_label = random.random_range(0.0..1.0) < sigmoid(truth(logit));
            (logit, f64::from(u8::from(has_label)))
        };
        (0..examples).map(draw).unzip()
    }

    fn mean_loss(labelling: Labelling, scaling: &Scaling, rows: &[f64], targets: &Targets) -> f64 {
        let objective = Objective::plain(labelling);
        let classes = rows.len() / targets.len();
        let each = rows.chunks_exact(classes).zip(targets.iter()).map(|(row, target)| {
            let mut row = row.to_vec();
            scaling.apply(labelling, &mut row);
            objective.loss(&mut row, target)
        });
        each.sum::<f64>() / targets.len() as f64
    }

    /// Draws log-probabilities of three classes whose logits are `factor` times too large.
    fn three_classes(factor: f64, examples: usize) -> (Vec<f64>, Targets) {
        let mut random = Pcg64::seed_from_u64(11);
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for _ in 0..examples {
            let mut row: Vec<f64> = (0..3).map(|_| random.random_range(-2.0..2.0)).collect();
            let mut truth = row.clone();
            log_softmax(&mut truth);
            let mut left: f64 = random.random_range(0.0..1.0);
            let label = truth.iter().position(|value| {
                left -= value.exp();
                left < 0.0
            });
            labels.push(label.unwrap_or(2) as u32);
            row.iter_mut().for_each(|logit| *logit *= factor);
            log_softmax(&mut row);
            rows.extend(row);
        }
        (rows, labels.into())
    }

    #[test]
    fn the_temperature_is_found() {
        for factor in [0.5, 1.0, 3.0] {
            let (rows, targets) = three_classes(factor, EXAMPLES);
            let scaling = fit_scaling(Labelling::One, &rows, 3, &targets);
            let Scaling::Temperature(temperature) = scaling else { panic!("{scaling:?}") };
            assert!((temperature / factor - 1.0).abs() < 0.06, "{factor}: {temperature}");
            let loss = |temperature| {
                mean_loss(Labelling::One, &Scaling::Temperature(temperature), &rows, &targets)
            };
            assert!(loss(temperature) <= loss(1.0));
            for other in [0.97, 1.03] {
                assert!(loss(temperature) <= loss(temperature * other), "{factor} {other}");
            }
        }
    }

    #[test]
    fn right_predictions_do_not_become_certain() {
        let row = [0.8_f64, 0.2].map(f64::ln);
        let fit = |count: usize| {
            let scaling =
                fit_scaling(Labelling::One, &row.repeat(count), 2, &vec![0; count].into());
            let mut scaled = row;
            scaling.apply(Labelling::One, &mut scaled);
            scaled[0].exp()
        };
        assert!((0.8..0.85).contains(&fit(2)), "{}", fit(2));
        assert!((0.99..0.999).contains(&fit(200)), "{}", fit(200));
        // Wrong predictions become unsure.
        let wrong = fit_scaling(Labelling::One, &row.repeat(50), 2, &vec![1; 50].into());
        let Scaling::Temperature(temperature) = wrong else { panic!("{wrong:?}") };
        assert!(temperature > 99.9, "{temperature}");
    }

    #[test]
    fn the_line_of_each_label_is_found() {
        for (slope, offset) in [(0.5, 1.0), (1.0, 0.0), (1.5, -0.7)] {
            let (logits, shares) = binary(|logit| slope * logit + offset, EXAMPLES);
            let line = fit_line(&logits, &shares);
            assert!((line.slope - slope).abs() < 0.1, "{slope}: {line:?}");
            assert!((line.offset - offset).abs() < 0.1, "{offset}: {line:?}");
        }
    }

    #[test]
    fn a_slope_is_never_negative() {
        let (logits, shares) = binary(|logit| 1.0 - logit, EXAMPLES);
        let line = fit_line(&logits, &shares);
        assert_eq!(line.slope, 0.0);
        // The share of the label, whatever the logit.
        let share = shares.iter().sum::<f64>() / shares.len() as f64;
        assert!((sigmoid(line.offset) - share).abs() < 1e-3, "{line:?}");
    }

    #[test]
    fn labels_with_few_examples_stay_almost_as_they_are() {
        let (logits, shares) = binary(|logit| 3.0 * logit + 2.0, 3);
        let few = fit_line(&logits, &shares);
        assert!((few.slope - 1.0).abs() < 1.0 && few.offset.abs() < 1.0, "{few:?}");
        assert_eq!(fit_line(&[], &[]), Line::IDENTITY);
        // A label that no example has becomes less probable, but not impossible.
        let never = fit_line(&[-1.0; 20], &[0.0; 20]);
        assert!((0.001..0.2).contains(&sigmoid(never.at(-1.0))), "{never:?}");
    }

    #[test]
    fn several_labels_are_fitted_one_by_one() {
        let (logits, shares) = binary(|logit| 0.5 * logit + 1.0, EXAMPLES);
        let several = Labelling::Several;
        let rows: Vec<f64> = logits
            .iter()
            .flat_map(|logit| {
                let mut row = [*logit, 0.0];
                several.log_probabilities(&mut row);
                row
            })
            .collect();
        let sets: Vec<Vec<u32>> =
            shares.iter().map(|share| if *share == 1.0 { vec![0] } else { vec![] }).collect();
        let targets = Targets::LabelSets(sets.iter().map(Vec::as_slice).collect());
        let scaling = fit_scaling(several, &rows, 2, &targets);
        let Scaling::LogOdds(lines) = &scaling else { panic!("{scaling:?}") };
        let alone = fit_line(&logits, &shares);
        assert!((lines[0].slope - alone.slope).abs() < 1e-9);
        assert!(lines[1].offset < -3.0, "{lines:?}");
        let identity = Scaling::identity(several, 2);
        let loss = |scaling| mean_loss(several, scaling, &rows, &targets);
        assert!(loss(&scaling) < loss(&identity));
        // No examples, no change.
        assert_eq!(fit_scaling(several, &[], 2, &Targets::default()), identity);
    }
}
