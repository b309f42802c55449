//! Compiles the few libtorch functions that tch lacks, and lets the binary find libtorch by itself.

#![expect(clippy::expect_used, reason = "a build that cannot go on ends so")]

use std::env;
use std::path::Path;

fn main() {
    // torch-sys, a direct dependency for this reason alone, says where it found libtorch.
    let lib = env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys names libtorch's lib folder");
    let include = Path::new(&lib).parent().expect("lib lies in a folder").join("include");

    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file("src/libtorch/bindings.cpp")
        .compile("lstmtext_native");
    println!("cargo:rerun-if-changed=src/libtorch/bindings.cpp");

    // Binaries and tests start without LD_LIBRARY_PATH, from any folder.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
}
