//! `lstmtext lr-find`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};
use serde::Serialize;

use super::arguments::{ComputeArgs, SetArgs};
use super::exit::SUCCESS;
use super::hints::{program, set_options};
use super::output_file;
use crate::backend::Backends;
use crate::config::{ConfigError, positive_integer};
use crate::data::prepared::PreparedData;
use crate::distributed::SingleProcess;
use crate::io::replace::write_output;
use crate::output::format::{group_digits, pluralize};
use crate::output::shell::quoted_path;
use crate::output::{message, note, print, print_json};
use crate::plot::Theme;
use crate::plot::learning_rates::{self, LossAtRate};
use crate::run::checkpoint::Checkpoint;
use crate::system::signals::{Interrupt, Messages};
use crate::train::range_test::{RangePoint, RangeTest, suggestion};
use crate::train::setup::{self, Beginning};

const EXAMPLES: &str = "\
Examples:
  lstmtext lr-find mine.yaml
  lstmtext lr-find mine.yaml --to rates.png --steps 200
  lstmtext lr-find mine.yaml --set train.optimizer=sgd --max-lr 100

Trains for some steps while the learning rate rises from --min-lr to --max-lr (Smith 2017), and draws the \
loss. The suggestion is the rate at which the loss falls fastest; the best peak rate is usually between it \
and the rate of the lowest loss. Nothing but the picture is saved.";

const MESSAGES: Messages =
    Messages { first: "\nstopping after this step\n", second: "\nquit; nothing is saved\n" };

/// Find a learning rate with a range test
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LrFindArgs {
    /// Configuration file (YAML)
    config: PathBuf,
    /// Learning rate of the first step
    #[arg(long, value_name = "RATE", default_value = "1e-6", value_parser = rate)]
    min_lr: f64,
    /// Learning rate of the last step
    #[arg(long, value_name = "RATE", default_value = "1", value_parser = rate)]
    max_lr: f64,
    /// Number of steps; the test ends earlier if the loss explodes
    #[arg(long, value_name = "N", default_value = "100", value_parser = positive_integer)]
    steps: NonZeroUsize,
    /// Picture of the loss: an .svg or .png file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "lr-find.svg",
        value_parser = PathBufValueParser::new().try_map(picture)
    )]
    to: PathBuf,
    /// Theme of the picture
    #[arg(long, value_name = "THEME", default_value = "auto")]
    theme: Theme,
    /// Print the suggestion and all losses as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    compute: ComputeArgs,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| *rate > 0.0 && rate.is_finite());
    rate.ok_or_else(|| "expected a number > 0".to_owned())
}

fn picture(path: PathBuf) -> Result<PathBuf, String> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg" | "png") => Ok(path),
        _ => Err("the file name must end in .svg or .png".to_owned()),
    }
}

/// Output of --json.
#[derive(Serialize)]
struct Report<'a> {
    /// Learning rate at which the loss falls fastest; `None` if it does not fall.
    suggestion: Option<f64>,
    /// Learning rate of the lowest smoothed loss.
    lowest: f64,
    picture: &'a Path,
    points: &'a [RangePoint],
}

/// Runs the command.
pub fn run(args: LrFindArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    ensure!(
        args.min_lr < args.max_lr,
        ConfigError::new(format!("--min-lr {} is not below --max-lr {}", args.min_lr, args.max_lr))
    );
    ensure!(
        args.steps.get() >= 20,
        ConfigError::new(format!("--steps {}: a curve needs at least 20 steps", args.steps))
    );
    let mut resolved = args.set.load(&args.config)?;
    output_file::check("--to", &args.to, &resolved.config, Some(&args.config))?;
    resolved.set_shards(resolved.config.train.shard_count());
    let backend = args.compute.start_training(backends, &resolved.config)?;
    let source = Checkpoint::open_source(&resolved.config)?;
    let known = source.as_ref().map(Checkpoint::known_encoders).unwrap_or_default();
    let mut data = PreparedData::prepare_with(resolved, &known, None)?;
    data.notes().for_each(note);
    setup::resolve_token_budget(&*backend, &mut data, &SingleProcess)?;
    let beginning = source.as_ref().map_or(Beginning::New, Beginning::From);
    let test = RangeTest { low: args.min_lr, high: args.max_lr, steps: args.steps.get() };
    message(format!(
        "{} at learning rates from {} to {}, {} training examples, on {backend}",
        pluralize(test.steps, "step"),
        args.min_lr,
        args.max_lr,
        group_digits(data.train.len())
    ));
    let interrupt = Interrupt::listen_with(MESSAGES)?;
    let mut points = Vec::new();
    backend.catch(&mut || {
        let mut learner = setup::learner(&*backend, &data, beginning)?;
        points = test.run(&mut *learner, &data, &interrupt)?;
        Ok(())
    })?;
    if let Some(signal) = interrupt.signal() {
        return Ok(128 + signal as u8);
    }
    let by_loss = |a: &&RangePoint, b: &&RangePoint| a.smoothed.total_cmp(&b.smoothed);
    let lowest = points.iter().min_by(by_loss).map(|point| point.learning_rate);
    let lowest = lowest.with_context(|| {
        format!("the loss is not finite at the learning rate {}; lower --min-lr", args.min_lr)
    })?;
    let suggested = suggestion(&points).map(|index| rounded(points[index].learning_rate));
    args.draw(&data, &points, suggested)?;
    if args.json {
        let (picture, points) = (&*args.to, &points[..]);
        print_json(&Report { suggestion: suggested, lowest, picture, points })?;
        return Ok(SUCCESS);
    }
    message(format!("the loss is lowest at {lowest:.1e}; see {}", args.to.display()));
    match suggested {
        Some(rate) => {
            print(&format!("suggestion: --set train.learning_rate={rate}"))?;
            let (config, set) = (quoted_path(&args.config), set_options(&args.set.overrides));
            message(format!(
                "\nnext:\n  {} train {config}{set} --set train.learning_rate={rate}",
                program()
            ));
        }
        None => note(
            "the loss does not fall, so there is no suggestion: look at the picture, and try more --steps \
             or other limits",
        ),
    }
    Ok(SUCCESS)
}

/// Rounds to two significant digits: a range test does not tell more.
fn rounded(rate: f64) -> f64 {
    format!("{rate:.1e}").parse().unwrap_or(rate)
}

impl LrFindArgs {
    fn draw(
        &self,
        data: &PreparedData,
        points: &[RangePoint],
        suggested: Option<f64>,
    ) -> anyhow::Result<()> {
        let loss = |point: &RangePoint| LossAtRate {
            rate: point.learning_rate,
            loss: point.loss,
            smoothed: point.smoothed,
        };
        let losses: Vec<LossAtRate> = points.iter().map(loss).collect();
        let name = data.resolved.config.name.clone().unwrap_or_else(|| "run".to_owned());
        let picture = learning_rates::draw(&name, &losses, suggested, self.theme)?;
        let is_svg = self.to.extension().is_some_and(|extension| extension == "svg");
        write_output(&self.to, if is_svg { picture.svg.as_bytes() } else { &picture.png })
    }
}
