//! The process and the machine: floating-point mode, memory, threads, signals, devices, the
//! processes that a launcher has started, and launching `lstmtext-torch`. Nothing here knows about models, data or commands.

pub mod allocator;
pub mod device;
mod floating_point;
pub mod memory;
pub mod process;
pub mod processes;
pub mod signals;
pub mod threads;
pub mod torch_program;
