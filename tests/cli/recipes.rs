//! The configurations with pre-training, at the size of a toy.

use std::fs;

use crate::common::{TestDir, checkout, csv, examples, stderr};

/// Settings with which a recipe runs in a second.
const TOY: &str = "--set text.min_count=1 --set model.embedding.size=8 --set model.lstm.units=12 \
     --set data.train=train.csv --set data.test=test.csv --set data.unlabelled=more.txt \
     --set data.split.validation=40 --set pretrain.vectors.epochs=2 --set train.learning_rate=0.02 \
     --set pretrain.language_model.batch_size=4 --set pretrain.language_model.sequence_length=8 \
     --set pretrain.language_model.epochs=4 --set pretrain.language_model.negatives=20 \
     --set pretrain.language_model.validate_every=50";

#[test]
fn recipes_with_pre_training_run() {
    let more: String = examples(&["neg", "pos"], 300, 5)
        .iter()
        .map(|example| example.text.clone() + "\n")
        .collect();
    for (recipe, settings, parts) in [
        ("imdb_best", "", &["stage vectors:", "stage language_model:", "n-grams", "epoch 2/2"][..]),
        ("imdb_few", "", &["head: fitted to ", "n-grams: fitted to ", "only the output layers"]),
        ("imdb_gpu", "--set train.epochs=1 --device cpu", &["adversarial", "virtual adversarial"]),
    ] {
        let dir = TestDir::new()
            .file("train.csv", csv(&examples(&["neg", "pos"], 240, 1)))
            .file("test.csv", csv(&examples(&["neg", "pos"], 60, 2)))
            .file("more.txt", &more);
        let config = fs::read(checkout().join(format!("configs/{recipe}.yaml"))).unwrap();
        let dir = dir.file("recipe.yaml", config);
        let printed = stderr(&dir.train(&format!("recipe.yaml --out run {TOY} {settings}")));
        for part in parts {
            assert!(printed.contains(part), "{recipe}: {part:?} is not in: {printed}");
        }
        assert!(dir.test_accuracy("run") > 0.8, "{recipe}: {printed}");
        if recipe == "imdb_best" {
            // The same command again resumes the run, which is finished.
            let again = stderr(&dir.train("--resume run"));
            assert!(again.contains("the run is finished"), "{again}");
        }
    }
}
