//! HTTP server: predictions, explanations, metrics, and an HTML page to try the model. Models and
//! their computation belong elsewhere.

mod access;
mod api;
mod batching;
mod bodies;
mod error;
mod limits;
mod metrics;
mod options;
mod server;

pub use options::ServerOptions;
pub use server::serve;
