//! HTTP server: predictions, explanations, metrics, and an HTML page to try the model. Models and
//! their computation belong elsewhere.

mod api;
mod batching;
mod limits;
mod metrics;
mod server;

pub use limits::Limits;
pub use server::serve;
