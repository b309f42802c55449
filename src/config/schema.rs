//! Every field of a configuration: its meaning, type, default and range.
//!
//! The doc comments here are the reference that users read (`lstmtext config`, README).

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::fields::{above, at_least, between, section};
use super::inputs::Inputs;
use super::sweep::SweepSection;
use super::value::{ClassWeights, Column, Columns, Every, Portion, TokenBudget, choice};

section! {
    /// A whole configuration.
    pub struct Config {
        /// Name of the experiment; by default the configuration file's own.
        name: Option<String> = None;
        /// Where the examples come from.
        data: DataConfig;
        /// How a text becomes ids.
        text: TextConfig;
        /// The network.
        model: ModelConfig;
        /// Several texts in one example, each read by an embedding and LSTM of its own, whose
        /// results are put beside each other: {story: {lstm: {units: 32}}, question: {column: q}}.
        /// What an input leaves out is as in the sections text and model; its column is by default
        /// the one of its name. Without inputs there is one, from data.text_column.
        inputs: Inputs = Inputs::default();
        /// How the model is trained.
        train: TrainConfig;
        /// What computes. native: this program's own kernel, on the CPU. libtorch: on the CPU or on
        /// a CUDA device. auto: native on the CPU, which is faster, libtorch on CUDA.
        backend: Backend = Backend::Auto;
        /// What a CUDA device multiplies. fp32: numbers in full. tf32: of each number in a product the
        /// first 10 bits behind the point, which PyTorch allows cuDNN by default. bf16, fp16: in the
        /// LSTM numbers of 16 bits; weights, optimizer, pooling and loss stay in fp32, and with fp16
        /// the loss is scaled, and a step left out whose gradient is too large all the same. On the
        /// CPU libtorch computes in 16 bits too, slowly; the native backend always in fp32.
        precision: Precision = Precision::Tf32;
        /// Whether two runs on the same CUDA device are the same bit by bit, which takes longer. On
        /// the CPU they are anyway, if on as many threads.
        deterministic: bool = false;
        /// What lstmtext sweep varies; every other command does without it. Each field, named with
        /// its dots, has a list of values, as {model.lstm.units: [32, 64], seed: [1, 2, 3]}, and
        /// every combination is trained; seed is train.seed. With trials: N so many combinations
        /// are drawn instead, by search_seed (1), and each is trained with every seed; a field may
        /// then have {uniform: [low, high]}, log_uniform, integers or log_integers. cases:
        /// [{field: value}, {}] varies several fields together.
        sweep: SweepSection = SweepSection::default();
    }
}

section! {
    /// One of several inputs.
    pub struct InputSection {
        /// Column or key of the text.
        column: Option<Columns> = None;
        /// How it becomes ids.
        text: TextConfig;
        /// Its word vectors.
        embedding: EmbeddingConfig;
        /// Its LSTM.
        lstm: LstmConfig;
        /// How its sequence of hidden states becomes one vector.
        pooling: Pooling = Pooling::Max;
    }
}

section! {
    /// Where the examples come from.
    pub struct DataConfig {
        /// File or folder with the training examples; a pattern such as folder/*_train.txt takes
        /// several files together (so it does below). Required.
        train: PathBuf = PathBuf::new();
        /// File or folder with the validation examples; without it they are split off the
        /// training examples.
        validation: Option<PathBuf> = None;
        /// File or folder with the test examples, which are scored once, after training.
        test: Option<PathBuf> = None;
        /// Format of the files; auto goes by the extension. Each may also be compressed (.gz, .zst).
        format: Format = Format::Auto;
        /// Column (CSV, TSV) or key (JSON lines) of the text; of several, as [title, body], the
        /// texts are joined by a space. Files of the format babi have story, question and label.
        text_column: Columns = Columns::named("text");
        /// Column (CSV, TSV) or key (JSON lines) of the label.
        label_column: Column = Column::Name("label".into());
        /// Whether the first line of a CSV or TSV file names the columns.
        header: bool = true;
        /// Only the rows whose columns (or keys) have these values, as {source: imdb}.
        filter: BTreeMap<String, String> = BTreeMap::new();
        /// Better names for labels, as {0: negative, 1: positive}.
        label_names: BTreeMap<String, String> = BTreeMap::new();
        /// The labels in the order of their class numbers; by default those of the training
        /// examples, sorted. Of a folder per class, only these are read.
        labels: Vec<String> = Vec::new();
        /// What a label does that only validation or test examples have: stop everything, or become
        /// a class too, which the model then hardly ever chooses.
        unseen_labels: UnseenLabels = UnseenLabels::Error;
        /// What a line that cannot be read does: stop everything, or be skipped and counted.
        broken_lines: BrokenLines = BrokenLines::Error;
        /// Most MB of a line (or of a file of a folder per class); a longer one is an error.
        max_line_mb: u64 = 100, between(1.0, 100_000.0);
        /// Most MB that a compressed file may unpack to.
        max_unpacked_mb: u64 = 100_000, between(1.0, 100_000_000.0);
        /// Whether the tokens of a file are kept in the user's cache folder (LSTMTEXT_CACHE, or
        /// ~/.cache/lstmtext), from where they need no memory and the next run takes them. auto:
        /// those of files of more than 256 MB.
        cache: CacheUse = CacheUse::Auto;
        /// How validation and test examples are split off the training file.
        split: SplitConfig;
    }
}

section! {
    /// How validation and test examples are split off the training file.
    pub struct SplitConfig {
        /// Part that becomes validation examples where data.validation names no file.
        validation: Portion = Portion::Fraction(0.1);
        /// Part that becomes test examples where data.test names no file.
        test: Portion = Portion::Count(0);
        /// stratified: drawn at random, each label with its share, equal texts kept together.
        /// position: the end of the file, as Keras's validation_split (first training, then
        /// validation, then test).
        method: SplitMethod = SplitMethod::Stratified;
        /// position: shuffle the training file first, as keras.datasets does, so that the end of a
        /// file that is sorted by label becomes a fair part of it.
        shuffle: bool = false;
        /// Seed of the draw or shuffle. It is not train.seed, so that runs with several seeds share
        /// one split.
        seed: u64 = 1;
    }
}

section! {
    /// How a text becomes ids.
    pub struct TextConfig {
        /// keras: split at spaces and at Keras's filter characters, which vanish. words: words
        /// and punctuation marks, with "n't" and "'s" tokens of their own. whitespace: split at
        /// spaces. characters: every character a token.
        tokenizer: TokenizerKind = TokenizerKind::Words;
        /// Lower-case the text first.
        lowercase: bool = true;
        /// Replace HTML tags such as <br /> by a space first.
        strip_tags: bool = true;
        /// At most this many ids, the four special ones included (Keras's num_words).
        vocabulary_size: usize = 20_000, between(5.0, 50_000_000.0);
        /// Words that occur less often in the training examples become OOV.
        min_count: u64 = 2, at_least(1.0);
        /// Longer texts are cut to this many tokens.
        max_length: usize = 400, between(1.0, 1_000_000.0);
        /// Which end of a longer text is cut away; middle keeps both ends.
        truncate: Truncate = Truncate::Middle;
        /// back: fill short texts at the end, where the network never looks. front: fill every
        /// text up to max_length at the start with PAD, which the LSTM reads, as Keras without
        /// masking.
        pad: PadSide = PadSide::Back;
        /// Put a START token in front of every text.
        start_token: bool = false;
        /// Training examples with more tokens are left out once the words are counted, and so are
        /// validation examples that are split off them; test examples never are.
        train_max_length: Option<usize> = None, at_least(1.0);
        /// File with the words that have ids, written by lstmtext data vocab, in place of those of
        /// the training examples; the first vocabulary_size ids of it are used.
        vocabulary: Option<PathBuf> = None;
    }
}

section! {
    /// The network.
    pub struct ModelConfig {
        /// The word vectors.
        embedding: EmbeddingConfig;
        /// The LSTM.
        lstm: LstmConfig;
        /// How a sequence of hidden states becomes one vector: the last of them, their mean, or
        /// the maximum of each unit; padding never counts.
        pooling: Pooling = Pooling::Max;
        /// The layer that turns the pooled vector into logits.
        head: HeadConfig;
        /// keras: embedding U(-0.05, 0.05), Glorot uniform kernels, orthogonal recurrent kernel,
        /// forget-gate bias 1. pytorch: embedding N(0, 1), all else U(-1/sqrt(fan), 1/sqrt(fan)), gate biases the sum of
        /// two such draws.
        initialization: Initialization = Initialization::Keras;
    }
}

section! {
    /// The word vectors.
    pub struct EmbeddingConfig {
        /// Embedding dimension: the numbers in a word vector.
        size: usize = 64, between(1.0, 65_536.0);
        /// Dropout rate on single numbers of the word vectors.
        dropout: f64 = 0.0, between(0.0, 0.99);
        /// Dropout rate on whole words: all of a word's vector or nothing of it.
        word_dropout: f64 = 0.0, between(0.0, 0.99);
        /// File with pre-trained word vectors of this size: the text form of word2vec, GloVe or
        /// fastText (.txt, .vec; .gz, .zst), or a matrix .npy with a list of words .txt beside it.
        vectors: Option<PathBuf> = None;
        /// How word vectors begin where vectors names no file. keras: U(-0.05, 0.05). pytorch: N(0, 1). auto:
        /// as model.initialization says.
        initialization: EmbeddingInitialization = EmbeddingInitialization::Auto;
        /// Whether training changes the word vectors; false freezes them.
        trainable: bool = true;
    }
}

section! {
    /// The LSTM.
    pub struct LstmConfig {
        /// Hidden units, in each direction.
        units: usize = 64, between(1.0, 65_536.0);
        /// LSTM layers on top of each other.
        layers: usize = 1, between(1.0, 64.0);
        /// A second LSTM reads each text backwards; its result is put beside the first's.
        bidirectional: bool = false;
        /// Dropout rate between two layers.
        dropout: f64 = 0.0, between(0.0, 0.99);
    }
}

section! {
    /// The layer that turns the pooled vector into logits.
    pub struct HeadConfig {
        /// Dropout rate on the pooled vector.
        dropout: f64 = 0.5, between(0.0, 0.99);
        /// sigmoid: one logit, for 2 classes. softmax: one logit a class. auto: sigmoid for 2
        /// classes, softmax for more.
        activation: Activation = Activation::Auto;
    }
}

section! {
    /// How the model is trained.
    pub struct TrainConfig {
        /// Most passes over the training examples.
        epochs: usize = 20, between(1.0, 1_000_000.0);
        /// Examples in a batch.
        batch_size: usize = 32, between(1.0, 1_000_000.0);
        /// Tokens in a batch, padding included; replaces batch_size where it is set. auto: as many as
        /// fit into the memory of the CUDA device, which is tried out, and the number found is kept
        /// with the run. More tokens are fewer steps: a larger learning rate may be needed.
        token_budget: Option<TokenBudget> = None, at_least(1.0);
        /// Examples in a batch where nothing is trained (validation, test); there too, token_budget
        /// replaces it.
        validation_batch_size: usize = 256, between(1.0, 1_000_000.0);
        /// Put texts of like length together, which saves padding.
        bucketing: bool = true;
        /// Batches whose examples are sorted by length together; more saves padding, fewer mixes
        /// better.
        bucketing_window: usize = 50, at_least(1.0);
        /// The rule that turns gradients into steps.
        optimizer: OptimizerKind = OptimizerKind::Adam;
        /// Learning rate at the top of the schedule. null: adam and adamw 0.002, rmsprop 0.001,
        /// adadelta 1.0, sgd 0.1.
        learning_rate: Option<f64> = None, above(0.0);
        /// How the learning rate changes.
        schedule: ScheduleConfig;
        /// adam and adamw: constants.
        adam: AdamConfig;
        /// rmsprop: constants.
        rmsprop: RmspropConfig;
        /// adadelta: constants.
        adadelta: AdadeltaConfig;
        /// sgd: constants.
        sgd: SgdConfig;
        /// Change only the rows of the embedding that have a gradient in a batch, and their optimizer
        /// state, as torch.optim.SparseAdam. false: every row at every step, as Keras's and PyTorch's
        /// Adam, which takes longer.
        sparse_embedding: bool = true;
        /// Weight decay: weight_decay x weight is added to the gradient; adamw takes it off the
        /// weights directly. null: adamw 0.01, else 0.
        weight_decay: Option<f64> = None, at_least(0.0);
        /// Largest norm of all gradients together; larger ones are scaled down to it.
        gradient_clip: Option<f64> = Some(1.0), above(0.0);
        /// What an error in an example of each class weighs in training.
        class_weights: ClassWeights = ClassWeights::None;
        /// Label smoothing: the share of the target spread evenly over all classes.
        label_smoothing: f64 = 0.0, between(0.0, 0.99);
        /// Seed of the initial weights, the order of the examples and dropout.
        seed: u64 = 1;
        /// When to stop before the last epoch.
        early_stopping: EarlyStoppingConfig;
        /// How often the validation examples are evaluated.
        validate_every: Every = Every::Epoch;
        /// How often last/ is written; it is written at the end and on Ctrl-C in any case.
        checkpoint_every: Every = Every::Epoch;
        /// Steps between two points of the curves in TensorBoard.
        log_every: u64 = 1, at_least(1.0);
        /// What TensorBoard shows besides curves and settings.
        tensorboard: TensorboardConfig;
    }
}

section! {
    /// How the learning rate changes.
    pub struct ScheduleConfig {
        /// constant. linear and cosine: down to end_factor at the end. exponential: times
        /// decay each epoch. plateau: times factor when the early-stopping metric stands still.
        name: ScheduleKind = ScheduleKind::Linear;
        /// Steps in which the rate first climbs from 0.
        warmup_steps: u64 = 0;
        /// linear, cosine: what is left of the learning rate when training ends.
        end_factor: f64 = 0.0, between(0.0, 1.0);
        /// exponential: what is left of the learning rate after each epoch.
        decay: f64 = 0.9, between(0.0, 1.0);
        /// plateau: what is left of the learning rate after each plateau.
        factor: f64 = 0.5, between(0.0, 1.0);
        /// plateau: validations without a new best that are waited for.
        patience: usize = 1;
        /// plateau: least share of the learning rate.
        min_factor: f64 = 0.01, between(0.0, 1.0);
    }
}

section! {
    /// adam and adamw: constants.
    pub struct AdamConfig {
        /// Decay rate of the first moment, the mean gradient.
        beta1: f64 = 0.9, between(0.0, 0.999999);
        /// Decay rate of the second moment, the mean squared gradient.
        beta2: f64 = 0.999, between(0.0, 0.999999);
        /// Added to the denominator. Keras's default; PyTorch's is 1e-8.
        epsilon: f64 = 1e-7, above(0.0);
    }
}

section! {
    /// rmsprop: constants.
    pub struct RmspropConfig {
        /// Decay rate of the mean squared gradient (PyTorch calls it alpha, default 0.99).
        rho: f64 = 0.9, between(0.0, 0.999999);
        /// Added to the denominator.
        epsilon: f64 = 1e-7, above(0.0);
        /// Momentum: the share of the last step that is kept.
        momentum: f64 = 0.0, between(0.0, 0.999999);
    }
}

section! {
    /// adadelta: constants.
    pub struct AdadeltaConfig {
        /// Decay rate of the mean squared gradients and steps.
        rho: f64 = 0.95, between(0.0, 0.999999);
        /// Added to the denominator.
        epsilon: f64 = 1e-6, above(0.0);
    }
}

section! {
    /// sgd: constants.
    pub struct SgdConfig {
        /// Momentum: the share of the last step that is kept.
        momentum: f64 = 0.0, between(0.0, 0.999999);
        /// Nesterov momentum.
        nesterov: bool = false;
    }
}

section! {
    /// When to stop before the last epoch.
    pub struct EarlyStoppingConfig {
        /// What decides which epoch is best.
        metric: StoppingMetric = StoppingMetric::ValidationLoss;
        /// Patience: validations without a new best after which training stops; null trains every
        /// epoch.
        patience: Option<usize> = Some(3), at_least(1.0);
        /// A new best must be better by more than this.
        min_delta: f64 = 0.0, at_least(0.0);
        /// Score the test examples with the weights of the best epoch (best/) rather than the last.
        restore_best: bool = true;
    }
}

section! {
    /// What TensorBoard shows besides curves and settings.
    pub struct TensorboardConfig {
        /// Precision-recall curves on the validation examples at each validation: of two classes the
        /// second's, else those of the 10 classes with the most examples.
        pr_curves: bool = true;
        /// A picture of the confusion matrix of the validation examples at each validation.
        confusion_matrix: bool = true;
        /// Validation examples, the same ones at each validation, that are shown with their words as
        /// the model reads them, label and prediction. 0: none.
        predictions: usize = 8, between(0.0, 1_000.0);
        /// Steps between two sets of histograms, of trained weights and their gradients; those of an
        /// embedding are of the words in the batch. null: none.
        histograms: Option<u64> = None, at_least(1.0);
        /// Words, the most frequent ones, whose vectors the embedding projector shows when training
        /// has ended. null: none.
        projector: Option<usize> = None, at_least(1.0);
    }
}

choice! {
    /// What computes.
    pub enum Backend {
        /// Native on the CPU, libtorch on CUDA.
        Auto = "auto",
        /// The kernel of this program.
        Native = "native",
        /// libtorch.
        Libtorch = "libtorch",
    }
}

choice! {
    /// What a CUDA device multiplies.
    pub enum Precision {
        /// 32 bits.
        Fp32 = "fp32",
        /// 32 bits, of which 19 count.
        Tf32 = "tf32",
        /// 16 bits with the range of 32.
        Bf16 = "bf16",
        /// 16 bits of small range.
        Fp16 = "fp16",
    }
}

choice! {
    /// Format of a data file.
    pub enum Format {
        /// By the extension.
        Auto = "auto",
        /// Comma-separated, RFC 4180.
        Csv = "csv",
        /// Tab-separated, no quoting.
        Tsv = "tsv",
        /// One JSON object a line.
        Jsonl = "jsonl",
        /// `__label__NAME text`, a line each.
        Fasttext = "fasttext",
        /// A folder per class with a file per text, as aclImdb.
        Folder = "folder",
        /// Stories with questions, as the bAbI tasks.
        Babi = "babi",
    }
}

choice! {
    /// Whether tokens are kept between runs.
    pub enum CacheUse {
        /// Those of large files.
        Auto = "auto",
        /// Those of every file.
        Always = "always",
        /// In memory only.
        Never = "never",
    }
}

choice! {
    /// What to do about a line that cannot be read.
    pub enum BrokenLines {
        /// Stop with file and line.
        Error = "error",
        /// Leave it out and count it.
        Skip = "skip",
    }
}

choice! {
    /// What to do about a label without training examples.
    pub enum UnseenLabels {
        /// Stop with file and line.
        Error = "error",
        /// Make it a class.
        Class = "class",
    }
}

choice! {
    /// How examples are split off.
    pub enum SplitMethod {
        /// Random, label by label.
        Stratified = "stratified",
        /// The end of the file.
        Position = "position",
    }
}

choice! {
    /// How a text is cut into tokens.
    pub enum TokenizerKind {
        /// Keras's Tokenizer.
        Keras = "keras",
        /// Words and punctuation.
        Words = "words",
        /// At spaces.
        Whitespace = "whitespace",
        /// Every character.
        Characters = "characters",
    }
}

choice! {
    /// Which part of a long text is cut away.
    pub enum Truncate {
        /// The start.
        Front = "front",
        /// The end.
        Back = "back",
        /// The middle.
        Middle = "middle",
    }
}

choice! {
    /// Where short texts are filled.
    pub enum PadSide {
        /// At the start, visible to the LSTM.
        Front = "front",
        /// At the end, never seen.
        Back = "back",
    }
}

choice! {
    /// How hidden states become one vector.
    pub enum Pooling {
        /// The last state.
        Last = "last",
        /// The mean over real tokens.
        Mean = "mean",
        /// The maximum over real tokens.
        Max = "max",
    }
}

choice! {
    /// How weights start.
    pub enum Initialization {
        /// As Keras.
        Keras = "keras",
        /// As PyTorch.
        Pytorch = "pytorch",
    }
}

choice! {
    /// How word vectors start.
    pub enum EmbeddingInitialization {
        /// As all other weights.
        Auto = "auto",
        /// As Keras.
        Keras = "keras",
        /// As PyTorch.
        Pytorch = "pytorch",
    }
}

choice! {
    /// How logits become probabilities.
    pub enum Activation {
        /// Sigmoid for 2 classes, else softmax.
        Auto = "auto",
        /// One logit.
        Sigmoid = "sigmoid",
        /// A logit a class.
        Softmax = "softmax",
    }
}

choice! {
    /// The optimizers.
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
    /// The learning-rate schedules.
    pub enum ScheduleKind {
        /// Always the same.
        Constant = "constant",
        /// Straight down.
        Linear = "linear",
        /// Half a cosine down.
        Cosine = "cosine",
        /// By a factor each epoch.
        Exponential = "exponential",
        /// By a factor at each plateau.
        Plateau = "plateau",
    }
}

choice! {
    /// What decides which epoch is best.
    pub enum StoppingMetric {
        /// Lower is better.
        ValidationLoss = "validation_loss",
        /// Higher is better.
        ValidationAccuracy = "validation_accuracy",
    }
}
