//! Training in bf16.

use super::*;
use crate::backend::kernel::OperandFormat;

/// Gradients are those of single precision up to rounding, on every processor, and scores have single precision.
#[test]
fn bf16_changes_gradients_little_and_scores_not_at_all() {
    for kind in KINDS {
        let mut case = Case::new(kind);
        let [batch, next]: [_; 2] = case.batches(6);
        let results = |case: &Case, instructions: Instructions| {
            let mut learner = case.learner(instructions);
            let before = learner.score(&batch, true).unwrap();
            let (losses, _) = learner.compute_gradients(&batch, 1, Group::ALONE).unwrap();
            let scores = learner.score(&next, false).unwrap();
            (losses, gradients(&learner).concat(), [before, scores])
        };
        for instructions in Instructions::available() {
            let floats = results(&case, instructions);
            case.settings.precision = Precision::Bf16;
            let bf16 = results(&case, instructions);
            case.settings.precision = Precision::Fp32;
            let context = format!("{kind} {instructions} {:?}", OperandFormat::bf16(instructions));
            assert_eq!(bf16.2, floats.2, "{context}");
            for (bf16, floats) in bf16.0.iter().zip(&floats.0) {
                assert!(
                    bf16 != floats && (bf16 - floats).abs() < 0.01,
                    "{context}: {bf16} {floats}"
                );
            }
            let norm = |values: &[f32]| values.iter().map(|v| v * v).sum::<f32>().sqrt();
            let difference: Vec<f32> = bf16.1.iter().zip(&floats.1).map(|(a, b)| a - b).collect();
            let error = norm(&difference) / norm(&floats.1);
            assert!(error > 0.0 && error < 0.01, "{context}: {error}");
        }
    }
}
