//! What follows training without taking part in it.

pub mod console;
