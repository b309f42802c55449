//! What training minimizes and what metrics count. Nothing here knows how a network computes.

pub mod metrics;
