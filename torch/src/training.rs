//! Training on one of the backends.

use crate::engine::Engine;
use crate::learner::{TorchLearner, model, to_arrays};
use crate::model::Model;
use lstmtext::backend::native::NativeLearner;
use lstmtext::data::prepared::PreparedData;
use lstmtext::random::{SeedPurpose, derive_seed};
use lstmtext::run::checkpoint::Checkpoint;
use lstmtext::run::directory::RunDirectory;
use lstmtext::system::signals::Interrupt;
use lstmtext::train::trainer::{Ending, Trainer, class_weights};

/// A run that is about to begin or to go on, on one of the backends.
pub enum Training<'a> {
    /// On the kernel.
    Native(Box<Trainer<'a, NativeLearner>>),
    /// On libtorch.
    Libtorch(Box<Trainer<'a, TorchLearner>>),
}

impl<'a> Training<'a> {
    /// A new run in `run`.
    ///
    /// # Errors
    /// Where the model cannot be made or the run folder cannot be written.
    pub fn begin(
        experiment: &'a PreparedData,
        run: RunDirectory,
        engine: Engine,
    ) -> anyhow::Result<Self> {
        Self::assemble(experiment, run, engine, None)
    }

    /// The run that wrote `checkpoint`, where it was.
    ///
    /// # Errors
    /// Where the checkpoint does not fit the configuration.
    pub fn resume(
        experiment: &'a PreparedData,
        run: RunDirectory,
        checkpoint: &Checkpoint,
        engine: Engine,
    ) -> anyhow::Result<Self> {
        Self::assemble(experiment, run, engine, Some(checkpoint))
    }

    fn assemble(
        experiment: &'a PreparedData,
        run: RunDirectory,
        engine: Engine,
        checkpoint: Option<&Checkpoint>,
    ) -> anyhow::Result<Self> {
        Ok(match engine {
            Engine::Native => {
                let learner = native_learner(experiment, checkpoint)?;
                Self::Native(Box::new(Trainer::new(experiment, run, learner, checkpoint)?))
            }
            Engine::Libtorch(device) => {
                let learner = torch_learner(experiment, checkpoint, device)?;
                Self::Libtorch(Box::new(Trainer::new(experiment, run, learner, checkpoint)?))
            }
        })
    }

    /// Trains until the run is over or a signal comes.
    ///
    /// # Errors
    /// Where a file cannot be written, or the loss or a gradient is not finite any more.
    pub fn train(self, interrupt: &Interrupt) -> anyhow::Result<Ending> {
        match self {
            Self::Native(trainer) => trainer.train(interrupt),
            Self::Libtorch(trainer) => trainer.train(interrupt),
        }
    }
}

/// A learner on the kernel with the weights of a checkpoint, or initial ones.
///
/// # Errors
/// Where the model cannot be made, or does not fit the checkpoint.
pub fn native_learner(
    experiment: &PreparedData,
    checkpoint: Option<&Checkpoint>,
) -> anyhow::Result<NativeLearner> {
    let config = &experiment.resolved.config;
    let (words, classes) = (experiment.encoders.sizes(), experiment.labels.len());
    let class_weights = class_weights(&config.train, experiment)?;
    let weights = match checkpoint {
        Some(checkpoint) => checkpoint.weights()?,
        None => to_arrays(initial_model(experiment, tch::Device::Cpu)?.state()),
    };
    NativeLearner::new(config, &words, classes, weights, class_weights)
}

/// The same on libtorch.
///
/// # Errors
/// As [`native_learner`].
pub fn torch_learner(
    experiment: &PreparedData,
    checkpoint: Option<&Checkpoint>,
    device: tch::Device,
) -> anyhow::Result<TorchLearner> {
    let config = &experiment.resolved.config.train;
    let class_weights = class_weights(config, experiment)?;
    let model = match checkpoint {
        Some(checkpoint) => model(checkpoint, device)?,
        None => initial_model(experiment, device)?,
    };
    Ok(TorchLearner::new(model, config, &class_weights))
}

fn initial_model(experiment: &PreparedData, device: tch::Device) -> anyhow::Result<Model> {
    let config = &experiment.resolved.config;
    let seed = derive_seed(config.train.seed, SeedPurpose::Weights);
    let words = experiment.encoders.sizes();
    let model = Model::new(config, &words, experiment.labels.len(), seed, device)?;
    for (input, vectors) in experiment.vectors.iter().enumerate() {
        if let Some(vectors) = vectors {
            model.set_vectors(input, &vectors.values);
        }
    }
    Ok(model)
}
