//! libtorch's errors, which tch's plain methods turn into panics.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};

/// What `Result::unwrap` says of a tch error, before and after libtorch's own message.
const BEFORE: &str = "Torch(\"";

/// Why libtorch could not go on.
#[derive(Clone, Debug)]
pub struct LibtorchError {
    /// The first line of what libtorch says.
    message: String,
    /// What it was at.
    work: Option<BatchContext>,
}

/// A batch that is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchContext {
    /// Whether something is learned from it.
    pub training: bool,
    /// B.
    pub examples: usize,
    /// T of the longest input.
    pub longest: usize,
}

impl LibtorchError {
    /// Of libtorch's own words.
    pub fn new(message: &str) -> Self {
        let line = message.lines().next().unwrap_or_default();
        Self { message: line.trim().to_owned(), work: None }
    }

    /// What a panic was about, where it was libtorch's.
    fn of_panic(payload: &(dyn Any + Send)) -> Option<Self> {
        if let Some(failure) = payload.downcast_ref::<Self>() {
            return Some(failure.clone());
        }
        let (_, rest) = payload.downcast_ref::<String>()?.split_once(BEFORE)?;
        let end = rest.find("\\n").or_else(|| rest.rfind('"')).unwrap_or(rest.len());
        Some(Self::new(&rest[..end].replace("\\\"", "\"")))
    }

    /// Whether a device, or this machine, has no memory left.
    pub fn is_out_of_memory(&self) -> bool {
        // CUDA, the CPU, cuBLAS, cuDNN.
        let signs = ["out of memory", "can't allocate memory", "ALLOC_FAILED", "ALLOCATION_FAILED"];
        signs.iter().any(|sign| self.message.contains(sign))
    }

    /// Whether a smaller batch may do better: cuDNN has limits of its own.
    fn is_of_size(&self) -> bool {
        self.is_out_of_memory() || self.message.contains("CUDNN_STATUS")
    }

    fn out_of_memory(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let device = if self.message.contains("CPU") { "this machine" } else { "the device" };
        write!(f, "{device} has not enough memory")?;
        if let Some(BatchContext { training, examples, longest }) = self.work {
            let batch = if training { "a training batch" } else { "a batch" };
            write!(f, " for {batch} of {examples} examples, the longest of {longest} tokens")?;
        }
        // What the process has beside PyTorch's is not known in a container.
        let sizes = [
            "Tried to allocate",
            "total capacity of",
            "of which",
            "allocated memory",
            "PyTorch, and",
        ];
        match sizes.map(|before| Size::after(&self.message, before)) {
            [Some(wanted), Some(total), Some(free), Some(own), Some(reserved)] => {
                let own = own.0 + reserved.0;
                let (needed, others) = (own + wanted.0, total.0 - free.0 - own);
                write!(f, ": at least {} are needed, it has {total}", Size(needed))?;
                // CUDA itself takes some 500 MB.
                if others > total.0 / 50.0 {
                    write!(f, ", of which others have taken {}", Size(others))?;
                }
            }
            _ => match Size::after(&self.message, "ried to allocate") {
                Some(wanted) => write!(f, ": {wanted} at once were refused")?,
                None => write!(f, ": {}", self.message)?,
            },
        }
        f.write_str(match self.work {
            Some(BatchContext { training: false, .. }) => {
                "; lower the batch size (--batch-size of predict, else train.validation_batch_size)"
            }
            _ => {
                "; lower train.batch_size, or set train.token_budget (on a CUDA device auto finds the \
                 largest that fits), lower text.max_length, or make the model smaller"
            }
        })
    }
}

impl fmt::Display for LibtorchError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { message, .. } = self;
        if self.is_out_of_memory() {
            return self.out_of_memory(f);
        }
        if let Some((kernel, _)) = message.split_once(" does not have a deterministic") {
            return write!(
                f,
                "libtorch has no deterministic kernel for {kernel}, so that deterministic: true cannot \
                 be kept; set deterministic: false"
            );
        }
        write!(f, "libtorch: {message}")?;
        if message.contains("no kernel image") {
            f.write_str("; this libtorch has no code for a GPU of that architecture")?;
        } else if message.contains("NOT_SUPPORTED") || message.contains("BAD_PARAM") {
            f.write_str(
                "; cuDNN may take no batch of that size: lower text.max_length or the batch size",
            )?;
        } else if message.contains("CUDA error") || message.contains("EXECUTION_FAILED") {
            f.write_str(
                "; the GPU failed or was lost: nvidia-smi and the system's log (dmesg) say more",
            )?;
        }
        Ok(())
    }
}

impl Error for LibtorchError {}

/// An amount of memory in bytes.
#[derive(Clone, Copy)]
struct Size(f64);

impl Size {
    /// The first size after these words, as libtorch writes it: 512.00 MiB, or 64 bytes.
    fn after(message: &str, before: &str) -> Option<Self> {
        let (_, rest) = message.split_once(before)?;
        let mut words = rest.split_whitespace();
        let number: f64 = words.next()?.parse().ok()?;
        let unit = match words.next()?.trim_end_matches(['.', ',', ';']) {
            "bytes" => 1.0,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            "GiB" => 1024.0 * 1024.0 * 1024.0,
            _ => return None,
        };
        Some(Self(number * unit))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mebibytes = self.0 / (1024.0 * 1024.0);
        if mebibytes >= 1024.0 {
            return write!(f, "{:.2} GiB", mebibytes / 1024.0);
        }
        write!(f, "{mebibytes:.1} MiB")
    }
}

/// Runs `work`; where libtorch fails in it (no memory left, say), that is a [`LibtorchError`] and not a
/// panic with a trace.
///
/// # Errors
/// The work's own, or libtorch's.
pub fn catch_libtorch_panics<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info: &PanicHookInfo| {
        if LibtorchError::of_panic(info.payload()).is_none() {
            usual(info);
        }
    }));
    caught(work).unwrap_or_else(|failure| Err(failure.into()))
}

/// Runs `work` on a batch, which a failure of libtorch's then names.
pub fn with_batch_context<T>(batch: BatchContext, work: impl FnOnce() -> T) -> T {
    caught(work).unwrap_or_else(|failure| {
        panic::resume_unwind(Box::new(LibtorchError {
            work: failure.work.or(Some(batch)),
            ..failure
        }))
    })
}

/// Runs `work`; nothing where there is not enough memory for it, or cuDNN takes nothing so large.
pub fn unless_out_of_memory<T>(work: impl FnOnce() -> T) -> Option<T> {
    match caught(work) {
        Ok(result) => Some(result),
        Err(failure) if failure.is_of_size() => None,
        Err(failure) => panic::resume_unwind(Box::new(failure)),
    }
}

/// What `work` gives, or how libtorch failed in it; any other panic goes on.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, LibtorchError> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        LibtorchError::of_panic(&*payload).unwrap_or_else(|| panic::resume_unwind(payload))
    })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    const WORK: BatchContext = BatchContext { training: true, examples: 64, longest: 400 };

    fn impossible() -> Tensor {
        Tensor::zeros([1 << 20, 1 << 30], (Kind::Float, Device::Cpu))
    }

    #[test]
    fn what_libtorch_says_is_an_error() {
        let work = || Ok(Tensor::from_slice(&[1.0_f32]).view([2, 3]));
        let message = catch_libtorch_panics(work).unwrap_err().to_string();
        assert!(message.starts_with("libtorch: shape '[2, 3]' is invalid"), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }

    #[test]
    fn a_lack_of_memory_names_the_batch_and_the_setting() {
        let error = catch_libtorch_panics(|| Ok(with_batch_context(WORK, impossible)))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "this machine has not enough memory for a training batch of 64 examples, the longest of \
             400 tokens: 4194304.00 GiB at once were refused; lower train.batch_size, or set \
             train.token_budget (on a CUDA device auto finds the largest that fits), lower \
             text.max_length, or make the model smaller"
        );
        let mut failure = LibtorchError::new(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB \
             of which 512.00 MiB is free. Process 7 has 70.00 GiB memory in use. Of the allocated memory \
             8.00 GiB is allocated by PyTorch, and 100.00 MiB is reserved by PyTorch but \
             unallocated.\nMore.",
        );
        failure.work = Some(BatchContext { training: false, ..WORK });
        let message = failure.to_string();
        let expected = "the device has not enough memory for a batch of 64 examples, the longest of 400 \
                        tokens: at least 10.10 GiB are needed, it has 79.10 GiB, of which others have \
                        taken 70.50 GiB; lower the batch size (--batch-size of predict, else \
                        train.validation_batch_size)";
        assert_eq!(message, expected);
        for message in [
            "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
            "CUBLAS_STATUS_ALLOC_FAILED when",
        ] {
            let failure = LibtorchError::new(message);
            let text = failure.to_string();
            assert!(failure.is_out_of_memory() && text.contains(message), "{text}");
        }
    }

    #[test]
    fn only_a_lack_of_memory_can_be_looked_past() {
        assert!(unless_out_of_memory(impossible).is_none());
        assert_eq!(unless_out_of_memory(|| 3), Some(3));
        let wrong = || Ok(unless_out_of_memory(|| Tensor::from_slice(&[1_i64]).view([2])));
        let error = catch_libtorch_panics(wrong).unwrap_err();
        assert!(!error.downcast_ref::<LibtorchError>().unwrap().is_out_of_memory());
    }

    #[test]
    fn what_is_known_of_a_failure_is_said() {
        for (message, says) in [
            (
                "put_ does not have a deterministic implementation, but you set",
                "libtorch has no deterministic kernel for put_, so that deterministic: true cannot be \
                 kept; set deterministic: false",
            ),
            (
                "CUDA error: unspecified launch failure",
                "libtorch: CUDA error: unspecified launch failure; the GPU failed or was lost: nvidia-smi \
                 and the system's log (dmesg) say more",
            ),
            (
                "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear",
                "libtorch: cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear; cuDNN may take \
                 no batch of that size: lower text.max_length or the batch size",
            ),
            (
                "CUDA error: no kernel image is available for execution on the device",
                "libtorch: CUDA error: no kernel image is available for execution on the device; this \
                 libtorch has no code for a GPU of that architecture",
            ),
        ] {
            assert_eq!(LibtorchError::new(message).to_string(), says);
        }
    }

    /// libtorch does refuse, in the words that are looked for.
    #[test]
    fn a_kernel_that_is_not_deterministic_is_refused() {
        let put = || {
            let place = Tensor::from_slice(&[0_i64, 0]);
            Tensor::zeros([2], (Kind::Float, Device::Cpu)).put(
                &place,
                &Tensor::from_slice(&[1_f32, 2.0]),
                false,
            )
        };
        let set = |deterministic| {
            let yaml = format!("data: {{train: x}}\ndeterministic: {deterministic}\n");
            let config = lstmtext::config::parse(&yaml, "test", &[]).unwrap().config;
            super::super::Numerics::of(&config).set().unwrap();
        };
        set(true);
        let error = catch_libtorch_panics(|| Ok(put())).unwrap_err().to_string();
        set(false);
        assert!(error.starts_with("libtorch has no deterministic kernel for put_, so"), "{error}");
        assert!(catch_libtorch_panics(|| Ok(put())).is_ok());
    }
}
