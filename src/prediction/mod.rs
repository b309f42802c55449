//! Labels for new texts.

pub mod text_columns;

use std::path::Path;

use anyhow::{bail, ensure};
use serde::Serialize;

use crate::backend::Inference;
use crate::config::{Column, Inputs};
use crate::data::batch_plan::{BatchLimit, Bucketing};
use crate::run::checkpoint::Checkpoint;
use crate::text::{Corpus, Encoders};

/// Texts computed together.
const BATCH: usize = 256;

/// A trained model, ready for texts. One thread at a time uses it, and computes on all cores.
///
/// ```
/// use lstmtext::Classifier;
///
/// # fn main() -> anyhow::Result<()> {
/// # use lstmtext::model::named_tensors::Array;
/// # use lstmtext::run::checkpoint::{self, Contents};
/// # use lstmtext::config;
/// # use lstmtext::run::progress::Progress;
/// # use lstmtext::text::Encoders;
/// # let model = "embedding: {size: 1}, lstm: {units: 1}, pooling: mean";
/// # let yaml = format!("data: {{train: x.csv}}\ntext: {{min_count: 1}}\nmodel: {{{model}}}\n");
/// # let resolved = config::parse(&yaml, "", &[])?;
/// # let texts = [vec!["superb superb waste".to_owned()]];
/// # let encoders = Encoders::of_texts(&resolved.config.inputs, &texts)?;
/// # let array = |name: &str, shape: &[usize], values: &[f32]| {
/// #     Array { name: name.to_owned(), shape: shape.to_vec(), values: values.to_vec() }
/// # };
/// # let weights = vec![
/// #     array("embedding.weight", &[6, 1], &[0.0, 0.0, 0.0, 0.0, 2.0, -2.0]),
/// #     array("lstm.weight_ih_l0", &[4, 1], &[0.0, 0.0, 2.0, 0.0]),
/// #     array("lstm.weight_hh_l0", &[4, 1], &[0.0; 4]),
/// #     array("lstm.bias_ih_l0", &[4], &[2.0, 0.0, 0.0, 2.0]),
/// #     array("lstm.bias_hh_l0", &[4], &[0.0; 4]),
/// #     array("head.weight", &[1, 1], &[5.0]),
/// #     array("head.bias", &[1], &[0.0]),
/// # ];
/// # let folder = tempfile::tempdir()?;
/// # let run = folder.path().join("wide");
/// # let progress = Progress::default();
/// # let labels = ["negative".to_owned(), "positive".to_owned()];
/// # checkpoint::save(&run, &Contents { resolved: &resolved, labels: &labels, encoders: &encoders,
/// #     weights, memory: Vec::new(), progress: &progress })?;
/// // The folder of a run, or a checkpoint.
/// let classifier = Classifier::load(run)?;
/// let predictions = classifier.predict(&["What a superb film!", "A waste of time."])?;
/// assert_eq!(predictions[0].label, "positive");
/// assert_eq!(predictions[1].label, "negative");
/// for prediction in predictions {
///     println!("{} {:.2}", prediction.label, prediction.probability);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Classifier {
    network: Box<dyn Inference>,
    inputs: Inputs,
    encoders: Encoders,
    labels: Vec<String>,
}

/// What a classifier says of an example.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The most probable class.
    pub label: String,
    /// Its probability, from 0 to 1.
    pub probability: f64,
    /// Every class, or as many as were asked for, the most probable first.
    pub classes: Vec<LabelProbability>,
}

/// How probable a class is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelProbability {
    /// The class's name.
    pub label: String,
    /// From 0 to 1.
    pub probability: f64,
}

impl Classifier {
    /// The checkpoint in the folder `path`, or the best one of the run in it, computed by the kernel
    /// on the CPU.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], and where the weights do not fit the configuration.
    pub fn load(path: impl AsRef<Path>) -> anyhow::Result<Self> {
        let checkpoint = Checkpoint::open(path.as_ref())?;
        let network = checkpoint.native()?;
        Ok(Self::new(checkpoint, Box::new(network)))
    }

    /// Takes what goes with `network`, which has the weights of `checkpoint`.
    pub fn new(checkpoint: Checkpoint, network: Box<dyn Inference>) -> Self {
        Self {
            network,
            inputs: checkpoint.resolved.config.inputs,
            encoders: checkpoint.encoders,
            labels: checkpoint.labels,
        }
    }

    /// The texts that it wants for each example.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The label of each class number.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// What turns the texts of each input into the ids that the model knows.
    pub fn encoders(&self) -> &Encoders {
        &self.encoders
    }

    /// A prediction for each text, in their order.
    ///
    /// # Errors
    /// Where the model reads several columns.
    pub fn predict(&self, texts: &[impl AsRef<str>]) -> anyhow::Result<Vec<Prediction>> {
        let texts = texts.iter().map(|text| text.as_ref().to_owned()).collect();
        self.predict_columns(&[texts], BATCH, usize::MAX)
    }

    /// A prediction for each example, in their order, with its `top` most probable classes; `columns`
    /// has the texts of each column of the inputs. At most `batch_size` examples of like length are
    /// computed together.
    ///
    /// # Errors
    /// Where there are more columns or fewer than the model reads, or one is shorter than another.
    pub fn predict_columns(
        &self,
        columns: &[Vec<String>],
        batch_size: usize,
        top: usize,
    ) -> anyhow::Result<Vec<Prediction>> {
        let names: Vec<String> = self.inputs.columns().into_iter().map(Column::key).collect();
        ensure!(
            columns.len() == names.len(),
            "the model reads the columns {}, and there are {}",
            names.join(", "),
            columns.len()
        );
        let examples = columns[0].len();
        if let Some(other) = columns.iter().find(|column| column.len() != examples) {
            bail!("one column has {examples} texts and another {}", other.len());
        }
        let inputs = self.encoders.encode(columns);
        let lengths: Vec<Vec<usize>> = inputs.iter().map(Corpus::lengths).collect();
        let plan = Bucketing::sorted(BatchLimit::Examples(batch_size), &lengths);
        let batches: Vec<&[u32]> = plan.batches().collect();
        let all = self.network.classify(&inputs, &batches);
        let mut predictions = vec![None; examples];
        for (examples, log_probabilities) in batches.into_iter().zip(all) {
            let rows = log_probabilities.chunks_exact(self.labels.len());
            for (example, row) in examples.iter().zip(rows) {
                predictions[*example as usize] = Some(self.prediction(row, top));
            }
        }
        Ok(predictions.into_iter().flatten().collect())
    }

    fn prediction(&self, log_probabilities: &[f64], top: usize) -> Prediction {
        let classes = ranked(&self.labels, log_probabilities, top.max(1));
        Prediction { label: classes[0].label.clone(), probability: classes[0].probability, classes }
    }
}

/// The `top` most probable of the classes with these log probabilities, the most probable first.
pub(crate) fn ranked(
    labels: &[String],
    log_probabilities: &[f64],
    top: usize,
) -> Vec<LabelProbability> {
    let mut classes: Vec<usize> = (0..log_probabilities.len()).collect();
    classes.sort_by(|a, b| log_probabilities[*b].total_cmp(&log_probabilities[*a]));
    let class = |class: &usize| LabelProbability {
        label: labels[*class].clone(),
        probability: log_probabilities[*class].exp(),
    };
    classes.iter().take(top).map(class).collect()
}
