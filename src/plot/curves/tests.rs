use super::run::epochs;
use super::*;
use crate::events::Scalar;
use crate::objective::AddedLosses;
use crate::objective::metrics::Score;
use crate::run::records::{ValidationRecord, ValidationTime};

fn record(epoch: usize, step: u64, loss: f64) -> ValidationRecord {
    let validation = Score::new(loss, 0.5);
    let train = Score::new(0.7, 0.4);
    let added = AddedLosses::default();
    let (learning_rate, branch_scales) = (1e-3, None);
    ValidationRecord { epoch, step, train, added, validation, learning_rate, branch_scales }
}

#[test]
fn one_record_per_epoch_is_at_that_epoch() {
    // With a token budget, epochs differ in their numbers of steps.
    let records = [record(1, 102, 0.3), record(2, 201, 0.2), record(3, 304, 0.4)];
    assert_eq!(epochs(&records), [1.0, 2.0, 3.0]);
}

#[test]
fn records_within_an_epoch_are_at_their_steps() {
    let records: Vec<ValidationRecord> =
        (1..=8_usize).map(|i| record((25 * i).div_ceil(100), 25 * i as u64, 0.1)).collect();
    assert_eq!(epochs(&records), [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]);
    let rare = [record(2, 150, 0.1), record(3, 300, 0.1)];
    assert_eq!(epochs(&rare), [1.5, 3.0]);
}

#[test]
fn positions_stay_in_their_epoch() {
    let records = [record(0, 0, 0.1), record(1, 100, 0.1), record(2, 101, 0.1)];
    assert_eq!(epochs(&records), [0.0, 1.0, 1.01]);
    assert_eq!(epochs(&[record(1, 200, 0.1), record(3, 210, 0.1)]), [1.0, 2.0]);
}

fn curves(name: &str, records: Vec<ValidationRecord>, best: Option<Score>) -> RunCurves {
    let times =
        records.iter().map(|record| ValidationTime { step: record.step, train_seconds: 2.0 });
    RunCurves {
        name: name.into(),
        times: times.collect(),
        records,
        metric: Metric::Loss,
        steps: [const { Vec::new() }; 4],
        best,
    }
}

fn scalars(values: impl Iterator<Item = f64>) -> Vec<Scalar> {
    (1..).zip(values).map(|(step, value)| Scalar { step, value }).collect()
}

fn options(x_axis: XAxis) -> Options {
    Options { x_axis, smoothing: 0.6, hidden: 0, theme: Theme::Auto }
}

#[test]
fn the_best_validation_is_given_or_has_the_lowest_loss() {
    let records = vec![record(1, 10, 0.3), record(2, 20, 0.2), record(3, 30, 0.2)];
    let best = |best| Run::new(&curves("a", records.clone(), best), XAxis::Epoch).best;
    assert_eq!(best(None), Some(1));
    assert_eq!(best(Some(records[0].validation)), Some(0));
    assert_eq!(best(Some(Score::new(9.0, 0.0))), Some(1));
    assert_eq!(Run::new(&curves("a", Vec::new(), None), XAxis::Epoch).best, None);
}

#[test]
fn points_are_placed_on_the_chosen_axis() {
    let mut run = curves("a", vec![record(1, 10, 0.3), record(2, 20, 0.2)], None);
    run.steps[0] = scalars([0.8; 20].into_iter());
    for (x_axis, tenth, last) in
        [(XAxis::Epoch, 1.0, 2.0), (XAxis::Step, 10.0, 20.0), (XAxis::Time, 2.0, 4.0)]
    {
        let curve = charts(None)[0].curve(&Run::new(&run, x_axis), last / 300.0, 0.6);
        assert_eq!(curve.validation, [(tenth, 0.3), (last, 0.2)]);
        assert!((curve.training[9].0 - tenth).abs() < 1e-9 && curve.training.len() == 20);
        assert!((curve.training[4].0 - tenth / 2.0).abs() < 1e-9);
        assert_eq!(curve.best, Some((last, 0.2)));
    }
}

#[test]
fn training_curves_are_from_event_files_or_else_from_records() {
    let mut run = curves("a", vec![record(1, 10, 0.3)], None);
    let all_curves = |run: &RunCurves, smoothing| {
        charts(None).map(|chart| chart.curve(&Run::new(run, XAxis::Step), 3.0, smoothing))
    };
    let [loss, accuracy, rate, speed] = all_curves(&run, 0.6);
    assert_eq!(loss.training, [(10.0, 0.7)]);
    assert_eq!(accuracy.training, [(10.0, 40.0)]);
    assert_eq!((rate.training, speed.training), (vec![(10.0, 1e-3)], vec![]));

    run.steps = [0.5, 0.25, 1e-4, 9.0].map(|value| scalars((0..900).map(|i| value + f64::from(i))));
    let [loss, accuracy, rate, speed] = all_curves(&run, 0.6);
    assert_eq!((loss.raw.len(), loss.training.len()), (300, 300));
    assert_eq!(accuracy.raw[1], (5.0, 425.0));
    assert!(accuracy.training[9].1 < accuracy.raw[9].1);
    assert!(rate.raw.is_empty() && (rate.training[1].1 - 4.0001).abs() < 1e-9);
    assert_eq!(speed.training[0], speed.raw[0]);
    let [loss, ..] = all_curves(&run, 0.0);
    assert!(loss.raw.is_empty() && loss.training.len() == 300);
}

#[test]
fn a_run_without_validations_is_plotted_by_step() {
    let mut run = curves("young", Vec::new(), None);
    run.steps[0] = scalars([0.7, 0.6].into_iter());
    let svg = draw(&[run], &options(XAxis::Step)).unwrap().svg;
    for text in ["no validation yet", "not measured", "step", "young"] {
        assert!(svg.contains(text), "{text}");
    }
}

#[test]
fn the_unit_of_time_fits_its_range() {
    for (seconds, unit) in [(60.0, "seconds"), (3_600.0, "minutes"), (90_000.0, "hours")] {
        let mut run = curves("a", vec![record(1, 10, 0.25)], None);
        run.times[0].train_seconds = seconds;
        let svg = draw(&[run], &options(XAxis::Time)).unwrap().svg;
        assert!(svg.contains(&format!("training time in {unit}")));
    }
}

#[test]
fn every_run_is_in_the_legend() {
    let runs: Vec<RunCurves> =
        (0..9).map(|i| curves(&format!("run<{i}>"), vec![record(1, 10, 0.25)], None)).collect();
    let svg = draw(&runs, &options(XAxis::Epoch)).unwrap().svg;
    for i in 0..9 {
        assert!(svg.contains(&format!("run&lt;{i}&gt;")));
    }
    assert_eq!(svg.matches("best at epoch 1: validation loss 0.2500").count(), 9);
}

#[test]
fn runs_that_diverge_are_clipped_with_a_mark() {
    let losses = |losses: [f64; 3]| {
        (1..).zip(losses).map(|(epoch, loss)| record(epoch, 10 * epoch as u64, loss)).collect()
    };
    let runs = [
        curves("good", losses([0.6, 0.4, 0.3]), None),
        curves("diverged", losses([0.7, 90.0, 12_345.0]), None),
    ];
    let svg = draw(&runs, &options(XAxis::Epoch)).unwrap().svg;
    assert!(svg.contains("clipped: values up to 12,345"), "{svg}");
    assert!(!svg.contains("10,000"), "{svg}");
    let svg = draw(&runs[..1], &options(XAxis::Epoch)).unwrap().svg;
    assert!(!svg.contains("clipped"));
}

#[test]
fn a_model_that_was_only_fitted_is_not_clipped() {
    let mut fitted = record(0, 0, 0.41);
    (fitted.train.loss, fitted.learning_rate) = (0.0005, 0.00003);
    let svg = draw(&[curves("frozen", vec![fitted], None)], &options(XAxis::Epoch)).unwrap().svg;
    assert!(!svg.contains("clipped"), "{svg}");
}

#[test]
fn values_that_are_not_finite_are_left_out() {
    let mut run = curves("a", vec![record(1, 10, 0.3)], None);
    run.steps[0] = scalars([0.8, f64::NAN, f64::INFINITY, 0.7].into_iter());
    let curve = charts(None)[0].curve(&Run::new(&run, XAxis::Step), 0.1, 0.6);
    assert_eq!((curve.raw.len(), curve.training.len()), (2, 2));
}

#[test]
fn the_legend_counts_the_runs_that_are_not_shown() {
    let run = curves("a", vec![record(1, 10, 0.25)], None);
    let options = Options { hidden: 5, ..options(XAxis::Epoch) };
    assert!(draw(&[run], &options).unwrap().svg.contains("not shown: 5 more runs"));
}
