//! Downloads from a server in this process, and archives built by hand.

mod archive;
mod download;
mod server;
