//! Classifies the lines of stdin:
//!
//! ```sh
//! cargo run --release --example predict --no-default-features -- runs/a < texts.txt
//! ```

#![allow(
    clippy::print_stdout,
    reason = "the lints of this crate send output through its own functions"
)]

use std::io;

use anyhow::Context;
use lstmtext::Classifier;

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("usage: predict CHECKPOINT < texts.txt")?;
    let classifier = Classifier::load(path)?;
    let texts: Vec<String> = io::stdin().lines().collect::<Result<_, _>>()?;
    for prediction in classifier.predict(&texts)? {
        println!("{}\t{:.4}", prediction.label, prediction.probability);
    }
    Ok(())
}
