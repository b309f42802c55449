//! The process and the machine: floating-point mode, allocator, threads, signals, devices, and the
//! launch of the libtorch program. Nothing here knows about models or data.

pub mod device;
pub mod interrupt;
pub mod process;
