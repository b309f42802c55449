//! Messages about CUDA, tested with a fake driver and a fake libtorch_cuda.

use std::path::Path;
use std::process::Command;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::common::{TestDir, assert_fails};
use crate::lstmtext;

/// Libraries of the libtorch that the program was built with.
const LIBTORCH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.libtorch/lib");

/// Fake driver that returns values from environment variables.
const DRIVER: &str = r#"
#include <stdlib.h>
#include <string.h>
static int number(const char *name) { return getenv(name) ? atoi(getenv(name)) : 0; }
int cuInit(unsigned flags) { return number("FAKE_STATUS"); }
int cuDriverGetVersion(int *version) { *version = number("FAKE_CUDA"); return 0; }
int cuDeviceGetCount(int *count) { *count = number("FAKE_COUNT"); return 0; }
int cuDeviceGetName(char *name, int length, int device) { strcpy(name, "Fake GPU"); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 1u << 30; return 0; }
"#;

/// Fake CUDA library of libtorch, with nothing but the version of the CUDA runtime.
const TORCH: &str = "int cudaRuntimeGetVersion(int *version) { *version = 13000; return 0; }\n";

fn compile(dir: &TestDir, name: &str, source: &str, options: &[&str]) {
    let file = format!("{name}.c");
    std::fs::write(dir.path(&file), source).unwrap();
    let mut compiler = Command::new("cc");
    compiler.current_dir(dir.path("")).args(["-shared", "-fPIC", "-o", name, &file]);
    let done = compiler.args(options).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Creates a directory with the fake driver and optionally the fake libtorch_cuda.
fn dir_with_driver(with_torch: bool) -> TestDir {
    let dir = TestDir::with_data();
    compile(&dir, "libcuda.so.1", DRIVER, &[]);
    if with_torch {
        compile(&dir, "libtorch_cuda.so", TORCH, &[]);
    }
    dir
}

/// Returns the command `lstmtext-torch` with the fake driver.
fn with_driver(dir: &TestDir, line: &str, settings: &[(&str, &str)]) -> assert_cmd::Command {
    set_driver(dir.lstmtext(line), dir, settings)
}

fn set_driver(
    mut command: assert_cmd::Command,
    dir: &TestDir,
    settings: &[(&str, &str)],
) -> assert_cmd::Command {
    command.env("LD_LIBRARY_PATH", dir.path("")).env_remove("CUDA_VISIBLE_DEVICES");
    command.envs([("FAKE_CUDA", "13010"), ("FAKE_COUNT", "2")]);
    command.envs(settings.iter().copied());
    command
}

#[test]
fn driver_errors_are_explained() {
    let dir = dir_with_driver(true);
    for (settings, message) in [
        (
            &[("FAKE_CUDA", "12020")][..],
            "too old: it supports CUDA up to 12.2, but this libtorch needs 13.",
        ),
        (&[("FAKE_COUNT", "0")], "cuda: no CUDA device: the NVIDIA driver finds no device"),
        (
            &[("FAKE_STATUS", "100"), ("CUDA_VISIBLE_DEVICES", "7")],
            "CUDA_VISIBLE_DEVICES is \"7\", which hides all devices",
        ),
        (&[("FAKE_STATUS", "803")], "error 803: the versions of its components differ"),
        (&[("FAKE_STATUS", "42")], "the NVIDIA driver reports error 42; run nvidia-smi"),
        // This libtorch_cuda has no devices.
        (&[], "cuda: no CUDA device: libtorch finds none, although the driver does"),
    ] {
        let done = with_driver(&dir, "devices", settings).assert().success();
        done.stdout(contains(message)).stderr("");
        let command = with_driver(&dir, "train small.yaml --device cuda", settings);
        assert_fails(command, 1, &["--device cuda: no CUDA device: "]);
    }
}

#[test]
fn a_missing_cuda_device_is_an_error_with_the_reason() {
    let dir = TestDir::with_data();
    let command = dir.lstmtext("train small.yaml --device cuda");
    assert_fails(command, 1, &["--device cuda", "no CUDA device"]);
}

#[test]
fn an_unusable_gpu_is_reported() {
    for (with_torch, reason) in [
        (false, "this libtorch is the CPU build"),
        (true, "libtorch finds none, although the driver does"),
    ] {
        // Skip if the CUDA build of libtorch is installed.
        if !with_torch && Path::new(LIBTORCH).join("libtorch_cuda.so").exists() {
            continue;
        }
        let dir = dir_with_driver(with_torch);
        let line = "train small.yaml --out run --set train.epochs=1";
        let note = format!("note: computing on the CPU; no CUDA device: {reason}");
        with_driver(&dir, line, &[]).assert().success().stderr(contains(note));
        let hidden = [("FAKE_STATUS", "100"), ("CUDA_VISIBLE_DEVICES", "")];
        let line = "train small.yaml --out other --set train.epochs=1";
        let quiet = with_driver(&dir, line, &hidden).assert().success();
        quiet.stderr(contains("note: computing").not());
    }
}

#[test]
fn version_mismatches_of_libtorch_are_reported() {
    let dir = dir_with_driver(false);
    // A libtorch_cuda that needs a missing CUDA library.
    compile(&dir, "libcudart.so.12", "int other(void) { return 0; }\n", &[]);
    let needs = ["-Wl,--no-as-needed", "-L.", "-l:libcudart.so.12"];
    compile(&dir, "libtorch_cuda.so", TORCH, &needs);
    std::fs::remove_file(dir.path("libcudart.so.12")).unwrap();
    let done = with_driver(&dir, "devices", &[]).assert().success();
    done.stdout(contains(
        "is missing or from another version of CUDA: libcudart.so.12: cannot open",
    ));
    // A libtorch_cuda of another libtorch version.
    let unknown = "extern int at_of_another_version(void);\n\
                   int call(void) { return at_of_another_version(); }\n";
    compile(&dir, "libtorch_cuda.so", unknown, &[]);
    let done = with_driver(&dir, "devices", &[]).assert().success();
    done.stdout(
        contains("incomplete or from another version of libtorch")
            .and(contains("undefined symbol")),
    );
}

#[test]
fn another_libtorch_can_be_selected() {
    let dir = dir_with_driver(true);
    // A copy of libtorch with the fake libtorch_cuda.
    std::fs::create_dir_all(dir.path("torch/lib")).unwrap();
    for entry in std::fs::read_dir(LIBTORCH).unwrap() {
        let library = entry.unwrap();
        let link = dir.path("torch/lib").join(library.file_name());
        std::os::unix::fs::symlink(library.path().canonicalize().unwrap(), link).unwrap();
    }
    let cuda = dir.path("torch/lib/libtorch_cuda.so");
    let _ = std::fs::remove_file(&cuda);
    std::fs::rename(dir.path("libtorch_cuda.so"), cuda).unwrap();
    let with = |directory: &str| {
        // `lstmtext` reads the variable and then launches `lstmtext-torch`.
        let settings = [("LSTMTEXT_LIBTORCH", directory)];
        set_driver(lstmtext(&dir, "devices"), &dir, &settings)
    };
    for directory in ["torch", "torch/lib"] {
        let done = with(directory).assert().success();
        done.stdout(contains("libtorch 2.11.0").and(contains("libtorch finds none")));
    }
    assert_fails(
        with("nowhere"),
        1,
        &["LSTMTEXT_LIBTORCH is \"nowhere\"", "contains libtorch_cpu.so"],
    );
}
