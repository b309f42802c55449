//! libtorch's errors, which tch's plain methods turn into panics.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};

use anyhow::anyhow;

/// What `Result::unwrap` says of a tch error, before and after libtorch's own message.
const BEFORE: &str = "Torch(\"";

/// Runs `work`; where libtorch fails in it (no memory left, say), that is an error like any other
/// and not a panic with a trace.
///
/// # Errors
/// The work's own, or libtorch's.
pub fn errors_not_panics<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info: &PanicHookInfo| {
        if libtorch_message(text_of(info.payload())).is_none() {
            usual(info);
        }
    }));
    match panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(payload) => match libtorch_message(text_of(&*payload)) {
            Some(message) => Err(anyhow!("libtorch: {message}{}", advice(&message))),
            None => panic::resume_unwind(payload),
        },
    }
}

fn text_of(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<String>().map(String::as_str)
}

/// The first line of libtorch's message in the text of a panic.
fn libtorch_message(panic: Option<&str>) -> Option<String> {
    let (_, rest) = panic?.split_once(BEFORE)?;
    let end = rest.find("\\n").or_else(|| rest.rfind('"')).unwrap_or(rest.len());
    Some(rest[..end].replace("\\\"", "\""))
}

/// What to do about it.
fn advice(message: &str) -> &'static str {
    let memory = ["out of memory", "can't allocate", "alloc"];
    match memory.iter().any(|sign| message.contains(sign)) {
        true => {
            "; there is not enough memory: lower train.batch_size (or set train.token_budget), \
             train.validation_batch_size, text.max_length or the size of the model"
        }
        false => "",
    }
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;

    #[test]
    fn what_libtorch_says_is_an_error() {
        let work = || Ok(Tensor::from_slice(&[1.0_f32]).view([2, 3]));
        let message = errors_not_panics(work).unwrap_err().to_string();
        assert!(message.starts_with("libtorch: shape '[2, 3]' is invalid"), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }

    #[test]
    fn a_lack_of_memory_comes_with_advice() {
        let work = || Ok(Tensor::zeros([1 << 20, 1 << 30], (tch::Kind::Float, tch::Device::Cpu)));
        let message = errors_not_panics(work).unwrap_err().to_string();
        assert!(message.contains("train.batch_size"), "{message}");
    }
}
