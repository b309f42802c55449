//! The section `train`.

use std::path::PathBuf;

use crate::config::fields::section;
use crate::config::metric::Metric;
use crate::config::types::{AutoNumber, ClassWeights, Every};
use crate::config::value::{above, at_least, between, choice};
use crate::system::threads::cores;

section! {
    /// Training: batches, optimizer, regularization, stopping and logging.
    pub struct TrainConfig {
        /// Maximum number of epochs.
        epochs: usize = 20, between(1.0, 1_000_000.0);
        /// Number of examples per batch.
        batch_size: usize = 32, between(1.0, 1_000_000.0);
        /// Maximum number of tokens per batch, including padding. Replaces batch_size and
        /// validation_batch_size. auto: the largest number that fits in the memory of the CUDA
        /// device, found by trial and saved with the run. Larger batches mean fewer steps per epoch,
        /// which may need a higher learning rate. null: use batch_size.
        token_budget: Option<AutoNumber> = None, at_least(1.0);
        /// Number of shards into which the native backend cuts each batch. Threads compute shards
        /// concurrently, so at most this many threads are busy. The rounding of a run depends on
        /// this number and not on the number of threads or processes. auto: the number of CPU cores
        /// when the run starts, or of the threads of several processes if that is larger, at most 16 for each
        /// process and at most one for 2 examples of batch_size; it is saved with the run. libtorch
        /// ignores this field.
        shards: AutoNumber = AutoNumber::Auto, between(1.0, 1_024.0);
        /// Order in which gradients are summed if several processes train together. ordered: as one
        /// process adds them, so that the number of processes changes no bit of the result (native
        /// backend). fast: as the communication library adds them.
        collective: CollectiveKind = CollectiveKind::Ordered;
        /// Number of examples per batch in validation and testing.
        validation_batch_size: usize = 256, between(1.0, 1_000_000.0);
        /// Group texts of similar length into batches, which reduces padding.
        bucketing: bool = true;
        /// Number of batches whose examples are sorted by length together. More batches reduce
        /// padding, fewer shuffle better.
        bucketing_window: usize = 50, at_least(1.0);
        /// Optimizer.
        optimizer: OptimizerKind = OptimizerKind::Adam;
        /// Peak learning rate. null: adam and adamw 0.002, rmsprop 0.001, adadelta 1.0, sgd 0.1.
        learning_rate: Option<f64> = None, above(0.0);
        /// Learning rate schedule.
        schedule: ScheduleConfig;
        /// Hyperparameters of adam and adamw.
        adam: AdamConfig;
        /// Hyperparameters of rmsprop.
        rmsprop: RmspropConfig;
        /// Hyperparameters of adadelta.
        adadelta: AdadeltaConfig;
        /// Hyperparameters of sgd.
        sgd: SgdConfig;
        /// Checkpoint, or run (its best checkpoint), from whose weights the training starts. Words,
        /// n-grams and labels are matched by name, new ones are initialized, and the optimizer starts
        /// anew. train --from sets this field. null: random weights.
        from: Option<PathBuf> = None;
        /// Use of the model in train.from. full: train all layers that are not frozen. frozen: keep the embedding
        /// and the LSTMs as they are, fit the head and the n-grams to convergence, each as a logistic regression
        /// with the L2 penalty that generalizes best, and train nothing else, which suits few examples. auto: do
        /// both, and keep the better one by train.early_stopping.metric of the validation examples. With fewer than
        /// 5,000 training examples, a cross-validation chooses the penalties, and the scales of separate branches
        /// (train.scale_branches).
        finetune: Finetune = Finetune::Full;
        /// Fit the head to convergence before training: logistic regression on the pooled states that the
        /// model in train.from computes for the training texts, with the L2 penalty that generalizes best
        /// (linear probing, then fine-tuning, Kumar et al. 2022).
        fit_head: bool = false;
        /// Layers that are not trained: embedding, lstm.0 (the lowest LSTM layer), lstm.1 and so on,
        /// attention, ngrams, head. With several inputs, story.embedding is the layer of one input,
        /// and embedding that of all.
        freeze: Vec<String> = Vec::new();
        /// Factor of the learning rate from each layer to the one below it (discriminative
        /// fine-tuning, Howard and Ruder 2018, who divide by 2.6). The head, attention and n-grams
        /// have the full rate, the top LSTM layer has layer_decay times this rate, the next one
        /// layer_decay², and the embedding the lowest. 1: the same rate for all layers.
        layer_decay: f64 = 1.0, between(0.001, 1.0);
        /// Gradual unfreezing of the layers.
        unfreeze: UnfreezeConfig;
        /// Update only the embedding rows that have a gradient in the batch, and their optimizer
        /// state, like torch.optim.SparseAdam. false: update every row in every step, like Adam in
        /// Keras and PyTorch, which is slower.
        sparse_embedding: bool = true;
        /// Weight decay. Adds weight_decay × weight to the gradient; adamw decays the weights
        /// directly. null: 0.01 for adamw, 0 for the others.
        weight_decay: Option<f64> = None, at_least(0.0);
        /// Maximum norm of the gradients of all parameters together. Larger gradients are scaled
        /// down. null: no clipping.
        gradient_clip: Option<f64> = Some(1.0), above(0.0);
        /// Adversarial training: adds the loss on word vectors that are moved in the direction that
        /// raises the loss most.
        adversarial: AdversarialConfig;
        /// Virtual adversarial training: adds the divergence of the predictions on word vectors that are
        /// moved in the direction that changes the predictions most. Needs no labels, and uses the
        /// texts in data.unlabelled, or else those of the batch.
        virtual_adversarial: VirtualAdversarialConfig;
        /// Weight of the mean entropy of the predictions, which is added to the loss (entropy
        /// minimization, Grandvalet and Bengio 2005). Needs no labels, and uses the texts in
        /// data.unlabelled, or else those of the batch.
        entropy_weight: f64 = 0.0, at_least(0.0);
        /// Weight of the loss of a joint language model, which shares the embedding and the LSTMs, and reads the
        /// training texts and those in data.unlabelled. Keeps a model that starts from a language model from
        /// forgetting it (Chronopoulou, Baziotis and Potamianos 2019). The loss is the mean of both directions in
        /// nats per token. pretrain.language_model sets the batches, the negatives and the dropouts.
        language_model_weight: f64 = 0.0, at_least(0.0);
        /// Averaging of the weights over the steps. Validation, testing, best/ and last/ use the
        /// averages. Training continues from the weights before averaging, which checkpoints have in
        /// raw.safetensors.
        average: AverageConfig;
        /// Scale the branches of a model with an LSTM and n-grams: each validation chooses the factors of
        /// the logits of both, powers of two from 1/64 to 8, with which the validation loss is smallest.
        /// Checkpoints have them in the weights; training continues without them. Protects from an LSTM
        /// that overfits, as it does with few examples, and from probabilities that are too high or too
        /// low. Has no effect if the head or the n-grams are frozen.
        scale_branches: bool = true;
        /// Train the LSTMs and the n-grams as two models, each on a loss of its own, and add their logits. If both
        /// learn from the sum of their logits, the n-grams, which learn faster, leave little to learn for an
        /// LSTM that starts from a language model. The bias belongs to the n-grams. Terms of the loss that
        /// perturb word vectors or need no labels apply to the LSTMs. The losses and accuracies that are
        /// shown are those of both together.
        separate_branches: bool = false;
        /// Loss function. cross_entropy: with several labels per text, the mean of the binary
        /// cross-entropies of all labels. focal: the cross-entropy of each class times (1 − p)^focal_gamma,
        /// where p is the probability of the right answer, which gives examples that are already right
        /// little weight (Lin et al. 2017).
        loss: LossKind = LossKind::CrossEntropy;
        /// Exponent of the focal loss.
        focal_gamma: f64 = 2.0, between(0.0, 100.0);
        /// Knowledge distillation: training on the probabilities of a teacher model in addition to the
        /// labels.
        distillation: DistillationConfig;
        /// Weights of the classes in the training loss. balanced: inversely proportional to the
        /// class frequency, with mean 1 over the training examples. Labels that a mapping omits have
        /// weight 1. With several labels per text, the weight of the texts that have the label
        /// (pos_weight in PyTorch); balanced: the number of texts without the label, divided by that
        /// of those with it.
        class_weights: ClassWeights = ClassWeights::None;
        /// Label smoothing: fraction of the target distribution that is spread evenly over all
        /// classes; with several labels per text, over having and not having each label.
        label_smoothing: f64 = 0.0, between(0.0, 0.99);
        /// Random seed of weight initialization, example order and dropout.
        seed: u64 = 1;
        /// Early stopping.
        early_stopping: EarlyStoppingConfig;
        /// Validation interval: every epoch, or a number of steps.
        validate_every: Every = Every::Epoch;
        /// Interval between writes of the checkpoint last/: every epoch, or a number of steps. It is
        /// also written at the end of training and on Ctrl-C.
        checkpoint_every: Every = Every::Epoch;
        /// Number of steps between two points of the training curves in TensorBoard.
        log_every: u64 = 1, at_least(1.0);
        /// Additional output to TensorBoard.
        tensorboard: TensorboardConfig;
    }
}

impl TrainConfig {
    /// Peak learning rate. Its default depends on the optimizer.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate.unwrap_or(match self.optimizer {
            OptimizerKind::Adam | OptimizerKind::Adamw => 0.002,
            OptimizerKind::Rmsprop => 0.001,
            OptimizerKind::Adadelta => 1.0,
            OptimizerKind::Sgd => 0.1,
        })
    }

    /// Weight decay. Its default depends on the optimizer, as in PyTorch.
    pub fn weight_decay(&self) -> f64 {
        self.weight_decay.unwrap_or(match self.optimizer {
            OptimizerKind::Adamw => 0.01,
            _ => 0.0,
        })
    }

    /// Number of shards of a batch. `auto` is what this machine would choose.
    pub fn shard_count(&self) -> usize {
        self.shards_for(cores(), 1)
    }

    /// Number of shards of a batch. `auto` is what machines with this number of cores in total would choose for
    /// this number of processes.
    pub fn shards_for(&self, cores: usize, processes: usize) -> usize {
        /// Each shard repeats the products of the words that it shares with others, and adds its
        /// gradients to theirs. More shards than this would cost more than more threads gain.
        const MAX: usize = 16;
        let most = cores.min(MAX.saturating_mul(processes));
        match (self.shards, self.token_budget) {
            (AutoNumber::Number(shards), _) => shards,
            (AutoNumber::Auto, Some(_)) => most,
            (AutoNumber::Auto, None) => most.min(self.batch_size / 2).max(1),
        }
    }

    /// Number of epochs after which training stops.
    pub fn epoch_limit(&self) -> usize {
        if self.finetune == Finetune::Frozen { 0 } else { self.epochs }
    }

    /// Returns true if terms of the loss need no labels.
    pub fn has_unlabelled_terms(&self) -> bool {
        self.virtual_adversarial.epsilon.is_some() || self.entropy_weight > 0.0
    }

    /// Returns true if there is a joint language model.
    pub fn has_language_model(&self) -> bool {
        self.language_model_weight > 0.0
    }

    /// Returns true if word vectors are perturbed.
    pub fn has_perturbations(&self) -> bool {
        self.adversarial.epsilon.is_some() || self.virtual_adversarial.epsilon.is_some()
    }

    /// Maximum number of tokens per batch, if it is a fixed number.
    pub fn tokens(&self) -> Option<usize> {
        match self.token_budget {
            Some(AutoNumber::Number(tokens)) => Some(tokens),
            Some(AutoNumber::Auto) | None => None,
        }
    }
}

choice! {
    /// Use of the model from which training starts.
    pub enum Finetune {
        /// Train its layers.
        Full = "full",
        /// Fit the output layers only.
        Frozen = "frozen",
        /// The better one of both.
        Auto = "auto",
    }
}

section! {
    /// Gradual unfreezing of the layers (Howard and Ruder 2018).
    pub struct UnfreezeConfig {
        /// Number of epochs after which the next lower layer is trained too. In the first epochs, only
        /// the head, attention and n-grams are trained, then also the top LSTM layer, and the embedding
        /// last. Layers in train.freeze stay frozen. null: all layers are trained from the start.
        every_epochs: Option<usize> = None, at_least(1.0);
    }
}

section! {
    /// Adversarial training (Miyato, Dai and Goodfellow 2017).
    pub struct AdversarialConfig {
        /// Euclidean norm of the perturbation of all word vectors of an example together, in
        /// standard deviations of the word vectors, weighted by word frequency. Try 1. null: no
        /// adversarial training.
        epsilon: Option<f64> = None, above(0.0);
        /// Weight of the adversarial loss, which is added to the loss.
        weight: f64 = 1.0, above(0.0);
    }
}

section! {
    /// Virtual adversarial training (Miyato, Dai and Goodfellow 2017).
    pub struct VirtualAdversarialConfig {
        /// Norm of the perturbation, as in train.adversarial.epsilon. Try 1. null: no virtual
        /// adversarial training.
        epsilon: Option<f64> = None, above(0.0);
        /// Weight of the mean divergence, which is added to the loss.
        weight: f64 = 1.0, above(0.0);
        /// Norm of the random perturbation from which the direction is found. It only has to be small.
        xi: f64 = 0.1, above(0.0);
    }
}

section! {
    /// Learning rate schedule.
    pub struct ScheduleConfig {
        /// Shape of the schedule. constant: no decay. linear, cosine: decay to end_factor ×
        /// learning_rate at the end of training. exponential: multiply by decay after every epoch.
        /// plateau: multiply by factor when the early-stopping metric stops improving.
        name: ScheduleKind = ScheduleKind::Linear;
        /// Number of warm-up steps, in which the learning rate rises linearly from 0.
        warmup_steps: u64 = 0;
        /// linear, cosine: final learning rate as a fraction of learning_rate.
        end_factor: f64 = 0.0, between(0.0, 1.0);
        /// exponential: decay factor per epoch.
        decay: f64 = 0.9, between(0.0, 1.0);
        /// plateau: factor by which the learning rate is reduced.
        factor: f64 = 0.5, between(0.0, 1.0);
        /// plateau: number of validations without improvement that are tolerated before the learning
        /// rate is reduced.
        patience: usize = 1;
        /// plateau: minimum learning rate as a fraction of learning_rate.
        min_factor: f64 = 0.01, between(0.0, 1.0);
    }
}

section! {
    /// Averaging of the weights over the steps.
    pub struct AverageConfig {
        /// Method. none: no averaging. ema: exponential moving average. swa: stochastic weight
        /// averaging (Izmailov et al. 2018), the mean of the weights after every step from start on.
        method: AverageMethod = AverageMethod::None;
        /// ema: decay rate per step. In the first steps it is lower, (1 + n) / (10 + n) in step n, as
        /// in TensorFlow, so that the average forgets the initial weights and suits short runs.
        decay: f64 = 0.998, between(0.0, 0.99999);
        /// Fraction of train.epochs after which averaging starts. null: 0 for ema, 0.5 for swa.
        start: Option<f64> = None, between(0.0, 0.99);
    }
}

impl AverageConfig {
    /// Fraction of `train.epochs` after which averaging starts. Its default depends on the method.
    pub fn start(&self) -> f64 {
        self.start.unwrap_or(match self.method {
            AverageMethod::None | AverageMethod::Ema => 0.0,
            AverageMethod::Swa => 0.5,
        })
    }
}

section! {
    /// Hyperparameters of adam and adamw.
    pub struct AdamConfig {
        /// Decay rate of the first moment, the running mean of the gradient.
        beta1: f64 = 0.9, between(0.0, 0.999999);
        /// Decay rate of the second moment, the running mean of the squared gradient.
        beta2: f64 = 0.999, between(0.0, 0.999999);
        /// Term added to the denominator for numerical stability. The default is Keras's; PyTorch's
        /// is 1e-8.
        epsilon: f64 = 1e-7, above(0.0);
    }
}

section! {
    /// Hyperparameters of rmsprop.
    pub struct RmspropConfig {
        /// Decay rate of the running mean of the squared gradient (alpha in PyTorch, 0.99 by
        /// default there).
        rho: f64 = 0.9, between(0.0, 0.999999);
        /// Term added to the denominator for numerical stability.
        epsilon: f64 = 1e-7, above(0.0);
        /// Momentum.
        momentum: f64 = 0.0, between(0.0, 0.999999);
    }
}

section! {
    /// Hyperparameters of adadelta.
    pub struct AdadeltaConfig {
        /// Decay rate of the running means of the squared gradient and the squared update.
        rho: f64 = 0.95, between(0.0, 0.999999);
        /// Term added to the denominator for numerical stability.
        epsilon: f64 = 1e-6, above(0.0);
    }
}

section! {
    /// Hyperparameters of sgd.
    pub struct SgdConfig {
        /// Momentum.
        momentum: f64 = 0.0, between(0.0, 0.999999);
        /// Use Nesterov momentum.
        nesterov: bool = false;
    }
}

section! {
    /// Knowledge distillation: training on the probabilities of a teacher model in addition to the labels
    /// (Hinton, Vinyals and Dean 2015).
    pub struct DistillationConfig {
        /// Share of the loss that compares the predictions with the probabilities in data.label_columns;
        /// the rest compares them with the labels in data.label_column. null: no distillation.
        weight: Option<f64> = None, between(0.0, 1.0);
        /// Temperature by which the logits of both models are divided before they are compared. The
        /// loss is multiplied by its square, so that its gradient keeps its size.
        temperature: f64 = 2.0, between(0.01, 1_000.0);
    }
}

section! {
    /// Early stopping.
    pub struct EarlyStoppingConfig {
        /// Validation metric that determines the best checkpoint and ranks runs. A lower loss is
        /// better; for every other metric, a higher value. The lower loss breaks ties. roc_auc and
        /// average_precision are those of the second of two classes, or the mean over more classes.
        /// f1:LABEL and so on are those of one label against the rest.
        metric: Metric = Metric::Loss;
        /// Number of validations without improvement after which training stops. null: train for all
        /// epochs.
        patience: Option<usize> = Some(3), at_least(1.0);
        /// Minimum change in the metric that counts as an improvement.
        min_delta: f64 = 0.0, at_least(0.0);
        /// Weights whose scores a run reports. true: those of the best checkpoint (best/). false: the
        /// final ones (last/).
        restore_best: bool = true;
    }
}

section! {
    /// Additional output to TensorBoard.
    pub struct TensorboardConfig {
        /// Precision-recall curves of the validation examples at each validation: of the second
        /// class if there are 2, otherwise of the 10 most frequent classes; with several labels per
        /// text, of the 50 most frequent labels.
        pr_curves: bool = true;
        /// Image of the confusion matrix of the validation examples at each validation; with several
        /// labels per text, a table of the right and wrong predictions of each label.
        confusion_matrix: bool = true;
        /// Number of validation examples shown with tokens, label and prediction at each validation.
        /// They are always the same examples. 0: none.
        predictions: usize = 8, between(0.0, 1_000.0);
        /// Number of steps between histograms of the trainable weights and their gradients. For an
        /// embedding, they cover the words in the batch. null: no histograms.
        histograms: Option<u64> = None, at_least(1.0);
        /// Number of words, most frequent first, whose vectors the embedding projector shows after
        /// training. null: no projector.
        projector: Option<usize> = None, at_least(1.0);
    }
}

choice! {
    /// Optimizer.
    pub enum OptimizerKind {
        /// Adam (Kingma and Ba 2015).
        Adam = "adam",
        /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
        Adamw = "adamw",
        /// RMSprop (Hinton 2012).
        Rmsprop = "rmsprop",
        /// AdaDelta (Zeiler 2012).
        Adadelta = "adadelta",
        /// Stochastic gradient descent.
        Sgd = "sgd",
    }
}

choice! {
    /// Order in which processes sum gradients.
    pub enum CollectiveKind {
        /// As one process adds them.
        Ordered = "ordered",
        /// As the communication library adds them.
        Fast = "fast",
    }
}

choice! {
    /// Loss function.
    pub enum LossKind {
        /// Cross-entropy.
        CrossEntropy = "cross_entropy",
        /// Focal loss.
        Focal = "focal",
    }
}

choice! {
    /// Method of averaging the weights.
    pub enum AverageMethod {
        /// No averaging.
        None = "none",
        /// Exponential moving average.
        Ema = "ema",
        /// Stochastic weight averaging: the mean.
        Swa = "swa",
    }
}

choice! {
    /// Learning rate schedule.
    pub enum ScheduleKind {
        /// Constant.
        Constant = "constant",
        /// Linear decay.
        Linear = "linear",
        /// Cosine decay.
        Cosine = "cosine",
        /// Decay by a factor per epoch.
        Exponential = "exponential",
        /// Decay by a factor per plateau.
        Plateau = "plateau",
    }
}
