//! Compiles bindings for libtorch functions that tch does not have, and sets the path of libtorch's
//! libraries in the executables.

#![expect(clippy::expect_used, reason = "a build script reports errors by panicking")]

use std::env;
use std::path::Path;

fn main() {
    // Cargo passes this to direct dependents of torch-sys only, so it must be a dependency.
    let lib = env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys sets the directory of libtorch");
    let include = Path::new(&lib).parent().expect("lib has a parent directory").join("include");

    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .file("src/libtorch/bindings.cpp")
        .compile("lstmtext_bindings");
    println!("cargo:rerun-if-changed=src/libtorch/bindings.cpp");

    // Programs and tests find libtorch without LD_LIBRARY_PATH, from any directory.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
}
