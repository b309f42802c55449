//! Prints what each word of a text contributes to the prediction:
//!
//! ```sh
//! cargo run --release --example explain --no-default-features -- runs/a "A slow start, but wonderful."
//! ```

#![allow(
    clippy::print_stdout,
    reason = "the lints of this crate send output through its own functions"
)]

use std::env;
use std::path::Path;

use anyhow::Context;
use lstmtext::explanation::Explainer;
use lstmtext::run::saved_model::SavedModel;

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let (path, text) =
        arguments.next().zip(arguments.next()).context("usage: explain CHECKPOINT TEXT")?;
    let explainer = Explainer::new(&SavedModel::open(Path::new(&path), &[])?)?;
    let explanation = explainer.explain(&[text], None, None)?;
    println!("{} {:.4}", explanation.label, explanation.probability);
    for word in explanation.inputs.iter().flat_map(|input| &input.words) {
        println!("{:+.4}  {}", word.contribution, word.word);
    }
    Ok(())
}
