//! Floating-point mode of the CPU.

/// Treats denormal floats as zero in this thread and in every thread that it starts.
///
/// Gradients become denormal after hundreds of steps of backpropagation, and arithmetic on
/// denormals is 10 to 100 times slower.
pub(super) fn flush_denormals() {
    #[cfg(target_arch = "x86_64")]
    {
        const FLUSH_TO_ZERO: u32 = 1 << 15;
        const DENORMALS_ARE_ZERO: u32 = 1 << 6;
        let mut control: u32 = 0;
        // SAFETY: both instructions only copy the SSE control register to and from a local. The
        // bits affect denormals only; rounding and exception masks stay as Rust expects. Rust
        // assumes the default of these two bits as well: constant folding may keep a denormal that
        // is zero at run time. No result here depends on that.
        unsafe {
            std::arch::asm!("stmxcsr [{}]", in(reg) &mut control, options(nostack));
            control |= FLUSH_TO_ZERO | DENORMALS_ARE_ZERO;
            std::arch::asm!("ldmxcsr [{}]", in(reg) &control, options(nostack));
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        const FLUSH_TO_ZERO: u64 = 1 << 24;
        let mut control: u64;
        // SAFETY: reads and writes the floating-point control register of this thread. The bit
        // affects denormals only.
        unsafe {
            std::arch::asm!("mrs {}, fpcr", out(reg) control);
            control |= FLUSH_TO_ZERO;
            std::arch::asm!("msr fpcr, {}", in(reg) control);
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[test]
    fn denormals_are_flushed_in_this_thread_and_in_its_children() {
        let product = || std::hint::black_box(1e-30_f32) * std::hint::black_box(1e-10_f32);
        std::thread::spawn(move || {
            assert!(product() > 0.0, "denormals exist by default");
            super::flush_denormals();
            assert_eq!(product(), 0.0);
            assert_eq!(std::thread::spawn(product).join().unwrap(), 0.0);
        })
        .join()
        .unwrap();
    }
}
