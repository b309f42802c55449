//! The Python module: predictions of saved models. It converts arguments and results, and computes nothing itself.

mod model;
mod pool;

use pyo3::pymodule;

/// The native part of the package `lstmtext`.
#[pymodule]
mod _lstmtext {
    #[pymodule_export]
    use super::model::Model;
}
