//! The configuration: reads YAML and `--set` overrides, reports every error at once, and prints the
//! resolved configuration and its reference. Code that acts on a configuration does not belong here.

mod contradictions;
mod costs;
mod differences;
mod draft;
mod error;
mod fields;
mod labels;
mod layers;
mod load;
mod load_sweep;
mod metric;
mod overrides;
mod print;
mod resolved;
mod schema;
mod search_space;
mod spelling;
mod suggestions;
mod sweep;
mod template;
mod types;
mod value;
mod yaml;

pub use contradictions::label_in_text;
pub use costs::{Costs, LabelCosts};
pub use differences::{Difference, differences, field_lines};
pub use error::ConfigError;
pub use fields::Field;
pub use layers::{Layer, LayerKind};
#[cfg(test)]
pub use load::parse_plain;
pub use load::{
    Document, defaults_with, load, load_recorded, parse, parse_recorded, settings_before_guess,
};
pub use load_sweep::Sweep;
pub use metric::{LabelMetric, Metric};
pub use overrides::Override;
pub(crate) use overrides::field_path;
pub use print::{inline_yaml, reference, resolved_yaml};
pub use resolved::Resolved;
pub use schema::{
    Activation, AdadeltaConfig, AdamConfig, AdversarialConfig, AverageConfig, AverageMethod,
    BackendKind, BrokenLines, CacheUse, CollectiveKind, Config, DataConfig, DistillationConfig,
    EarlyStoppingConfig, EmbeddingConfig, EmbeddingInitialization, Finetune, FoldUse, Format,
    HeadConfig, Initialization, Input, Inputs, Labelling, LanguageModelConfig, LossKind,
    LstmConfig, ModelConfig, NgramWeighting, NgramsConfig, OptimizerKind, PadSide, Pooling,
    Poolings, Precision, PretrainConfig, Quoting, RmspropConfig, ScheduleConfig, ScheduleKind,
    SgdConfig, SplitConfig, SplitMethod, Stage, Stages, SubwordsConfig, TensorboardConfig,
    TextConfig, TokenizerKind, TokenizerSetting, TrainConfig, Truncate, UnfreezeConfig,
    UnseenLabels, VectorsConfig, VectorsMethod, VirtualAdversarialConfig, defaults,
};
pub use search_space::{SearchPlan, SearchSpace};
pub use suggestions::{PRETRAIN, field_of_argument};
pub use sweep::{Axis, Point, SearchMethod};
pub use types::{
    AutoNumber, ClassWeights, Column, Columns, Delimiter, Every, NgramSizes, Portion, SubwordSizes,
    SweepSection, TimeBudget, VocabularySource,
};
pub use value::{FieldValue, positive_integer};

#[cfg(test)]
mod tests;
