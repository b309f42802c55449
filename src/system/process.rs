//! Settings of the whole process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{allocator, floating_point, signals};
use crate::output::print_panics_as_messages;

/// Prepares the process. Call it first in `main`, before any thread starts.
pub fn prepare() {
    print_panics_as_messages();
    floating_point::flush_denormals();
    allocator::keep_freed_memory();
    signals::ignore_file_size_limit();
}

/// Raises the limit of open files, sockets included, to the maximum that the system allows.
pub fn raise_open_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // If this fails, the old limit still allows many connections.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
