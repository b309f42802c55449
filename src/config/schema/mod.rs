//! The fields of the configuration: type, default, range and description, one file per section.
//! The doc comments of fields are the reference for users; code that uses the values does not belong
//! here.

mod data;
mod inputs;
mod model;
mod pooling;
mod pretrain;
mod text;
mod train;

pub use data::{
    BrokenLines, CacheUse, DataConfig, FoldUse, Format, Labelling, Quoting, SplitConfig,
    SplitMethod, UnseenLabels,
};
pub(super) use inputs::input_fields;
pub use inputs::{Input, Inputs};
pub use model::{
    Activation, EmbeddingConfig, EmbeddingInitialization, HeadConfig, Initialization, LstmConfig,
    ModelConfig, NgramWeighting, NgramsConfig, SubwordsConfig,
};
pub use pooling::{Pooling, Poolings};
pub use pretrain::{
    LanguageModelConfig, PretrainConfig, Stage, Stages, VectorsConfig, VectorsMethod,
};
pub use text::{PadSide, TextConfig, TokenizerKind, TokenizerSetting, Truncate};
pub use train::{
    AdadeltaConfig, AdamConfig, AdversarialConfig, AverageConfig, AverageMethod, CollectiveKind,
    DistillationConfig, EarlyStoppingConfig, Finetune, LossKind, OptimizerKind, RmspropConfig,
    ScheduleConfig, ScheduleKind, SgdConfig, TensorboardConfig, TrainConfig, UnfreezeConfig,
    VirtualAdversarialConfig,
};

use serde_yaml::Value;

use super::fields::{Collector, Field, SectionReader, section};
use super::metric::Metric;
use super::types::SweepSection;
use super::value::choice;

/// The section that only `lstmtext sweep` uses.
pub const SWEEP: &str = "sweep";

/// The key in [`SWEEP`] for fields that vary together.
pub const CASES: &str = "cases";

section! {
    /// A complete configuration.
    pub struct Config {
        /// Name of the experiment. null: the name of the configuration file without its extension.
        name: Option<String> = None;
        /// Training, validation and test data.
        data: DataConfig;
        /// Text preprocessing: tokenization, vocabulary, truncation and padding.
        text: TextConfig;
        /// Model architecture.
        model: ModelConfig;
        /// Inputs of a model with several texts per example, such as a story and a question. Each
        /// input has its own embedding, LSTM and pooling; the pooled vectors are concatenated.
        /// Example: {story: {lstm: {units: 32}}, question: {column: q}}. Settings that an input
        /// omits are taken from text and model, and its column defaults to its name. Empty: a single
        /// input, the text in data.text_column.
        inputs: Inputs = Inputs::default();
        /// Training: batches, optimizer, regularization, stopping and logging.
        train: TrainConfig;
        /// Learning from text without labels: the training examples and the texts in data.unlabelled.
        pretrain: PretrainConfig;
        /// Compute backend. native: the built-in kernel, which runs on the CPU. libtorch: PyTorch's
        /// C++ library, on the CPU or a CUDA device. auto: native on the CPU, where it is faster,
        /// and libtorch on CUDA.
        backend: BackendKind = BackendKind::Auto;
        /// Floating-point precision. fp32: full single precision. tf32: TensorFloat-32 in matrix products
        /// on CUDA, which keeps 10 bits of the mantissa and is what PyTorch allows cuDNN by default; fp32
        /// on the CPU. bf16, fp16: 16 bits in the LSTM; weights, optimizer state, pooling and loss stay
        /// in fp32, and fp16 uses dynamic loss scaling and skips steps whose gradients overflow. The native
        /// backend multiplies bf16 and adds in fp32, which is faster on AMD processors with AVX-512 BF16, and has
        /// no fp16. On the CPU, libtorch also computes in 16 bits, slowly.
        precision: Precision = Precision::Tf32;
        /// Use deterministic algorithms on CUDA, so that two runs on the same device are identical
        /// bit for bit. Slower. On the CPU, two runs on the same machine always are; with libtorch,
        /// they need the same number of threads.
        deterministic: bool = false;
        /// Hyperparameter search for lstmtext sweep. Maps each field, named with dots, to a list of
        /// values: {model.lstm.units: [32, 64], seed: [1, 2, 3]} trains every combination. seed is
        /// short for train.seed. trials: N draws N random combinations instead, with the random seed
        /// search_seed (default 1), and trains each with every seed; a field can then also be
        /// {uniform: [low, high]}, log_uniform, integers or log_integers. cases: [{field: value},
        /// {}] varies several fields together. method: grid trains every combination. random: trials random
        /// ones. asha: random ones, of which the better ones are promoted to more epochs (Li et al. 2020), within
        /// budget: 5m, trials: N, or both. tpe: as asha, but new combinations resemble the better ones (Bergstra et
        /// al. 2011). random can have a budget, too.
        sweep: SweepSection = SweepSection::default();
    }
}

impl Config {
    /// Metric that determines the best checkpoint and ranks runs.
    pub fn metric(&self) -> &Metric {
        &self.train.early_stopping.metric
    }
}

/// Returns every field with its default value.
pub fn defaults() -> Vec<Field> {
    let mut collector = Collector::default();
    Config::read_fields(&mut SectionReader::root(&Value::Null, &mut collector));
    collector.fields
}

choice! {
    /// Compute backend.
    pub enum BackendKind {
        /// Native on the CPU, libtorch on CUDA.
        Auto = "auto",
        /// The built-in kernel.
        Native = "native",
        /// libtorch.
        Libtorch = "libtorch",
    }
}

choice! {
    /// Floating-point precision.
    pub enum Precision {
        /// 32 bits.
        Fp32 = "fp32",
        /// 32 bits, of which matrix products use 19.
        Tf32 = "tf32",
        /// 16 bits with the range of 32-bit numbers.
        Bf16 = "bf16",
        /// 16 bits with a small range.
        Fp16 = "fp16",
    }
}

impl Precision {
    /// Returns true if LSTMs compute in 16 bits.
    pub fn is_half(self) -> bool {
        matches!(self, Self::Bf16 | Self::Fp16)
    }
}
