//! Compares language models on the device with the same ones on the CPU.

use tch::Device;

use lstmtext::backend::LanguageModelLearner;
use lstmtext_torch::language_model::TorchLanguageModel;
use lstmtext_torch::libtorch::Numerics;

use crate::device;
use crate::language_model_case::{ALL, KINDS, LanguageModelCase, train};

/// Applies the settings of a case to libtorch, and creates its language model on a device.
fn learner(case: &LanguageModelCase, device: Device) -> TorchLanguageModel {
    Numerics::new(&case.config).apply().unwrap();
    let (spec, settings) = (case.spec(), case.settings.clone());
    TorchLanguageModel::new(&spec, settings, case.weights(), device).unwrap()
}

/// Every step has other negatives and dropout masks.
#[test]
#[ignore = "needs a CUDA device"]
fn steps_and_scores_of_language_models_agree_with_the_cpu() {
    for (precision, tolerance) in [("fp32", 1e-3), ("bf16", 5e-2)] {
        for kind in KINDS {
            let mut case = LanguageModelCase::new(kind, &format!("precision: {precision}\n"));
            case.settings.dropout = ALL;
            case.settings.gradient_clip = Some(0.2);
            let batches = case.batches(10, 8);
            let results = |device: Device| {
                let mut learner = learner(&case, device);
                let mut results: Vec<f64> = train(&mut learner, &batches, 0)
                    .into_iter()
                    .flat_map(|stats| stats.losses.into_iter().chain([stats.gradient_norm]))
                    .collect();
                for (index, batch) in batches.iter().enumerate() {
                    results.extend(learner.score(batch, index == 0).unwrap().concat());
                }
                results
            };
            let (on_cpu, on_device) = (results(Device::Cpu), results(device()));
            assert_eq!(on_cpu.len(), on_device.len());
            for (cpu, device) in on_cpu.iter().zip(&on_device) {
                let error = (cpu - device).abs() / (1.0 + cpu.abs());
                assert!(error < tolerance, "{precision}, {kind}: {device} instead of {cpu}");
            }
        }
    }
}

#[test]
#[ignore = "needs a CUDA device"]
fn deterministic_language_models_have_identical_bits() {
    for precision in ["tf32", "bf16"] {
        for kind in KINDS {
            let fields = format!("precision: {precision}\ndeterministic: true\n");
            let mut case = LanguageModelCase::new(kind, &fields);
            case.settings.dropout = ALL;
            let batches = case.batches(5, 30);
            let mut runs = (0..2).map(|_| {
                let mut learner = learner(&case, device());
                train(&mut learner, &batches, 0);
                let all = learner.weights().into_iter().chain(learner.optimizer_state());
                all.flat_map(|tensor| tensor.values).map(f32::to_bits).collect::<Vec<u32>>()
            });
            assert!(runs.next() == runs.next(), "{fields}{kind}");
        }
    }
}
