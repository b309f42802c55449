//! Messages about CUDA, with a driver and a libtorch_cuda of the tests' own in place of those that
//! this machine may have.

use std::process::Command;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::common::{Place, assert_fails};

/// A driver that answers what the environment says.
const DRIVER: &str = r#"
#include <stdlib.h>
#include <string.h>
static int number(const char *name) { return getenv(name) ? atoi(getenv(name)) : 0; }
int cuInit(unsigned flags) { return number("FAKE_STATUS"); }
int cuDriverGetVersion(int *version) { *version = number("FAKE_CUDA"); return 0; }
int cuDeviceGetCount(int *count) { *count = number("FAKE_COUNT"); return 0; }
int cuDeviceGetName(char *name, int length, int device) { strcpy(name, "GPU of the tests"); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 1u << 30; return 0; }
"#;

/// libtorch's CUDA half without anything in it but what the CUDA runtime would say.
const TORCH: &str = "int cudaRuntimeGetVersion(int *version) { *version = 13000; return 0; }\n";

fn compiled(place: &Place, name: &str, source: &str, options: &[&str]) {
    let file = format!("{name}.c");
    std::fs::write(place.path(&file), source).unwrap();
    let mut compiler = Command::new("cc");
    compiler.current_dir(place.path("")).args(["-shared", "-fPIC", "-o", name, &file]);
    let done = compiler.args(options).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A machine with this driver, and perhaps with libtorch's CUDA half.
fn machine(with_torch: bool) -> Place {
    let place = Place::with_data();
    compiled(&place, "libcuda.so.1", DRIVER, &[]);
    if with_torch {
        compiled(&place, "libtorch_cuda.so", TORCH, &[]);
    }
    place
}

fn devices(place: &Place, line: &str, settings: &[(&str, &str)]) -> assert_cmd::Command {
    let mut command = place.lstmtext(line);
    command.env("LD_LIBRARY_PATH", place.path("")).env_remove("CUDA_VISIBLE_DEVICES");
    command.envs([("FAKE_CUDA", "13010"), ("FAKE_COUNT", "2")]);
    command.envs(settings.iter().copied());
    command
}

#[test]
fn the_driver_says_why_there_is_no_device() {
    let place = machine(true);
    for (settings, says) in [
        (
            &[("FAKE_CUDA", "12020")][..],
            "too old: it knows CUDA up to 12.2, this libtorch needs 13.",
        ),
        (&[("FAKE_COUNT", "0")], "cuda: no CUDA device: the NVIDIA driver finds no device"),
        (
            &[("FAKE_STATUS", "100"), ("CUDA_VISIBLE_DEVICES", "7")],
            "CUDA_VISIBLE_DEVICES is \"7\", which shows the driver none",
        ),
        (&[("FAKE_STATUS", "803")], "error 803: its parts are of different versions"),
        (&[("FAKE_STATUS", "42")], "the NVIDIA driver answers with error 42; see nvidia-smi"),
        // This libtorch_cuda has no devices.
        (&[], "cuda: no CUDA device: libtorch finds none, though the driver does"),
    ] {
        let done = devices(&place, "devices", settings).assert().success();
        done.stdout(contains(says)).stderr("");
        let command = devices(&place, "train small.yaml --device cuda", settings);
        assert_fails(command, 1, &["--device cuda: no CUDA device: "]);
    }
}

#[test]
fn a_gpu_that_cannot_be_used_is_pointed_out() {
    for (with_torch, says) in [
        (false, "this libtorch is the CPU set"),
        (true, "libtorch finds none, though the driver does"),
    ] {
        // The CUDA set lies where the program looks.
        let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/.libtorch/lib/libtorch_cuda.so");
        if !with_torch && std::path::Path::new(installed).exists() {
            continue;
        }
        let place = machine(with_torch);
        let line = "train small.yaml --out run --set train.epochs=1";
        let note = format!("note: the CPU computes; no CUDA device: {says}");
        devices(&place, line, &[]).assert().success().stderr(contains(note));
        let hidden = [("FAKE_STATUS", "100"), ("CUDA_VISIBLE_DEVICES", "")];
        let line = "train small.yaml --out other --set train.epochs=1";
        let quiet = devices(&place, line, &hidden).assert().success();
        quiet.stderr(contains("note: the CPU").not());
    }
}

#[test]
fn a_libtorch_of_other_versions_is_an_error_that_says_so() {
    let place = machine(false);
    // One that needs a CUDA that is not there.
    compiled(&place, "libcudart.so.12", "int other(void) { return 0; }\n", &[]);
    let needs = ["-Wl,--no-as-needed", "-L.", "-l:libcudart.so.12"];
    compiled(&place, "libtorch_cuda.so", TORCH, &needs);
    std::fs::remove_file(place.path("libcudart.so.12")).unwrap();
    let done = devices(&place, "devices", &[]).assert().success();
    done.stdout(contains(
        "is missing, or of another version of CUDA: libcudart.so.12: cannot open",
    ));
    // One of another libtorch.
    let unknown = "extern int at_of_another_version(void);\n\
                   int call(void) { return at_of_another_version(); }\n";
    compiled(&place, "libtorch_cuda.so", unknown, &[]);
    let done = devices(&place, "devices", &[]).assert().success();
    done.stdout(
        contains("of another version than the rest of libtorch").and(contains("undefined symbol")),
    );
}

#[test]
fn libtorch_may_lie_elsewhere() {
    let place = machine(true);
    // The same but for libtorch's CUDA half.
    std::fs::create_dir_all(place.path("torch/lib")).unwrap();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.libtorch/lib")).unwrap() {
        let library = entry.unwrap();
        let link = place.path("torch/lib").join(library.file_name());
        std::os::unix::fs::symlink(library.path().canonicalize().unwrap(), link).unwrap();
    }
    let cuda = place.path("torch/lib/libtorch_cuda.so");
    let _ = std::fs::remove_file(&cuda);
    std::fs::rename(place.path("libtorch_cuda.so"), cuda).unwrap();
    let with = |folder: &str| {
        let mut command = devices(&place, "devices", &[]);
        command.env("LSTMTEXT_LIBTORCH", folder);
        command
    };
    for folder in ["torch", "torch/lib"] {
        let done = with(folder).assert().success();
        done.stdout(contains("libtorch 2.11.0").and(contains("libtorch finds none")));
    }
    assert_fails(with("nowhere"), 1, &["LSTMTEXT_LIBTORCH is \"nowhere\"", "no libtorch_cpu.so"]);
}
