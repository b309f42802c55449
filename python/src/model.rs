//! A saved model as a Python object.

use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail, ensure};
use lstmtext::Classifier;
use lstmtext::config::{Column, Labelling};
use lstmtext::explanation::{Explainer, Method};
use lstmtext::prediction::Embedder;
use lstmtext::run::checkpoint::Compaction;
use lstmtext::run::saved_model::SavedModel;
use lstmtext::text::Tokenizer;
use numpy::{PyArray1, PyArray2, PyArrayMethods};
use pyo3::exceptions::{PyFileNotFoundError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::pool::Pool;

/// Probability of each label, [N, C], and the indices of the predicted labels of each text.
type Predictions<'py> = (Bound<'py, PyArray2<f64>>, Vec<Vec<usize>>);

/// A checkpoint, the best checkpoint of a run, or an ensemble. Texts are given as columns: a list of strings for each
/// text column of the model.
#[pyclass(frozen, module = "lstmtext._lstmtext")]
pub struct Model {
    path: PathBuf,
    /// Hashes of the files from which the model was loaded.
    fingerprint: Vec<String>,
    pool: Pool,
    /// Labels in the order of the columns of `probabilities`.
    #[pyo3(get)]
    labels: Vec<String>,
    /// Names of the text columns.
    #[pyo3(get)]
    columns: Vec<String>,
    /// True if a text can have several labels.
    #[pyo3(get)]
    multi_label: bool,
    classifier: Mutex<Classifier>,
    /// Loaded by the first call that needs it.
    embedder: Mutex<Option<Embedder>>,
    explainer: Mutex<Option<Explainer>>,
}

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (path, threads=None))]
    fn new(py: Python, path: PathBuf, threads: Option<NonZeroUsize>) -> PyResult<Self> {
        py.detach(|| Self::load(path, threads)).map_err(to_python)
    }

    /// Probability of each label, [N, C], and the indices of the predicted labels of each text.
    fn probabilities<'py>(
        &self,
        py: Python<'py>,
        columns: Vec<Vec<String>>,
        batch_size: NonZeroUsize,
    ) -> PyResult<Predictions<'py>> {
        let classes = self.labels.len();
        let (mut values, predicted) = self.compute(py, &self.classifier, |classifier| {
            let values =
                classifier.log_probabilities(&classifier.encode(&columns)?, batch_size.get())?;
            let rows = values.chunks_exact(classes);
            let predicted: Vec<_> = rows.map(|row| classifier.predicted(row)).collect();
            Ok((values, predicted))
        })?;
        values.iter_mut().for_each(|value| *value = value.exp());
        let array = PyArray1::from_vec(py, values);
        Ok((array.reshape([predicted.len(), classes])?, predicted))
    }

    /// Pooled hidden states of the LSTM, [N, D].
    fn embed<'py>(
        &self,
        py: Python<'py>,
        columns: Vec<Vec<String>>,
        batch_size: NonZeroUsize,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let count = columns.first().map_or(0, Vec::len);
        if columns.len() != self.columns.len() || columns.iter().any(|column| column.len() != count)
        {
            let names = self.columns.join(", ");
            return Err(PyValueError::new_err(format!("expected texts of the columns {names}")));
        }
        let (values, size) = self.compute(py, &self.embedder, |embedder| {
            let embedder = self.loaded(embedder, Embedder::new)?;
            Ok((embedder.embed(&columns, batch_size.get())?, embedder.size()))
        })?;
        PyArray1::from_vec(py, values).reshape([count, size])
    }

    /// Explanation of the prediction for one text, in JSON. `texts` has the text of each column.
    #[pyo3(signature = (texts, label=None, method=None))]
    fn explain(
        &self,
        py: Python,
        texts: Vec<String>,
        label: Option<String>,
        method: Option<String>,
    ) -> PyResult<String> {
        let class = label.map(|label| self.class_index(&label)).transpose().map_err(to_python)?;
        let method = match method.as_deref() {
            None => None,
            Some("integrated-gradients") => Some(Method::IntegratedGradients),
            Some("leave-one-out") => Some(Method::LeaveOneOut),
            Some(other) => {
                return Err(PyValueError::new_err(format!(
                    "method is \"{other}\"; use \"integrated-gradients\" or \"leave-one-out\""
                )));
            }
        };
        self.compute(py, &self.explainer, |explainer| {
            let explainer = self.loaded(explainer, Explainer::new)?;
            let explanation = explainer.explain(&texts, class, method)?;
            serde_json::to_string(&explanation).context("cannot encode the explanation")
        })
    }

    /// Tokens of texts, as the first input of the model reads them before it truncates them.
    fn tokenize(&self, py: Python, texts: Vec<String>) -> PyResult<Vec<Vec<String>>> {
        self.compute(py, &self.classifier, |classifier| {
            let input = classifier.inputs().iter().next().context("the model has no input")?;
            let mut tokenizer = Tokenizer::new(&input.text);
            let tokens = |text: &String| {
                let mut tokens = Vec::new();
                tokenizer.tokens(text, |token| tokens.push(token.to_owned()));
                tokens
            };
            Ok(texts.iter().map(tokens).collect())
        })
    }

    /// Writes the checkpoint to the new directory `to`, without what only training needs.
    fn export_for_prediction(&self, py: Python, to: PathBuf) -> PyResult<()> {
        py.detach(|| {
            let saved = SavedModel::open(&self.path, &[])?;
            self.check_unchanged(&saved)?;
            let [checkpoint] = &saved.members[..] else { bail!("it is an ensemble") };
            checkpoint.export_compact(&to, Compaction::default()).map(|_| ())
        })
        .map_err(to_python)
    }
}

impl Model {
    fn load(path: PathBuf, threads: Option<NonZeroUsize>) -> anyhow::Result<Self> {
        let saved = SavedModel::open(&path, &[])?;
        let fingerprint = fingerprint(&saved);
        let pool = Pool::new(threads);
        let classifier = pool.run(|| Classifier::of(saved))?;
        Ok(Self {
            path,
            fingerprint,
            pool,
            labels: classifier.labels().to_vec(),
            columns: classifier.inputs().columns().into_iter().map(Column::key).collect(),
            multi_label: classifier.labelling() == Labelling::Several,
            classifier: Mutex::new(classifier),
            embedder: Mutex::default(),
            explainer: Mutex::default(),
        })
    }

    fn class_index(&self, label: &str) -> anyhow::Result<usize> {
        self.labels.iter().position(|other| other == label).with_context(|| {
            format!("the model has no label \"{label}\"; it has: {}", self.labels.join(", "))
        })
    }

    /// Computes with `part` of the model on the threads of this module, while other threads of Python go on.
    fn compute<P: Send, T: Send>(
        &self,
        py: Python,
        part: &Mutex<P>,
        work: impl FnOnce(&mut P) -> anyhow::Result<T> + Send,
    ) -> PyResult<T> {
        py.detach(|| {
            // Locked here: a thread that computes takes over other work while it waits, which would wait for it.
            let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
            let part = &mut *part;
            self.pool.run(move || work(part))
        })
        .map_err(to_python)
    }

    /// Returns what the first call with `load` has loaded.
    fn loaded<'a, T>(
        &self,
        place: &'a mut Option<T>,
        load: impl FnOnce(&SavedModel) -> anyhow::Result<T>,
    ) -> anyhow::Result<&'a T> {
        if place.is_none() {
            let saved = SavedModel::open(&self.path, &[])?;
            self.check_unchanged(&saved)?;
            *place = Some(load(&saved)?);
        }
        place.as_ref().context("the model was not loaded")
    }

    /// Checks that the files are still those from which the model was loaded.
    fn check_unchanged(&self, saved: &SavedModel) -> anyhow::Result<()> {
        ensure!(
            fingerprint(saved) == self.fingerprint,
            "\"{}\" has changed since it was loaded; load it again",
            self.path.display()
        );
        Ok(())
    }
}

/// Hashes of the checkpoints of a model.
fn fingerprint(saved: &SavedModel) -> Vec<String> {
    saved.members.iter().map(|member| member.sha256().to_owned()).collect()
}

/// Turns an error into the exception that Python programs expect.
fn to_python(error: anyhow::Error) -> PyErr {
    let message = format!("{error:#}");
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    match io.map(std::io::Error::kind) {
        Some(ErrorKind::NotFound) => PyFileNotFoundError::new_err(message),
        Some(_) => PyRuntimeError::new_err(message),
        None => PyValueError::new_err(message),
    }
}
