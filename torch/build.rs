//! Compiles bindings for libtorch functions that tch does not have, and sets the path of libtorch's
//! libraries in the executables.

#![expect(clippy::expect_used, reason = "a build script reports errors by panicking")]

use std::path::{Path, PathBuf};
use std::{env, fs};

const SOURCES: [&str; 2] = ["src/libtorch/bindings.cpp", "src/libtorch/c10d.cpp"];

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
        .include(gloo_headers())
        .files(SOURCES)
        .compile("lstmtext_bindings");
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
    }

    // Programs and tests find libtorch without LD_LIBRARY_PATH, from any directory. In a package for other
    // machines, lstmtext sets it.
    if env::var_os("LSTMTEXT_PACKAGED").is_none() {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    }
    println!("cargo:rerun-if-env-changed=LSTMTEXT_PACKAGED");
    // scripts/packages.sh links the program with other libraries than those of this system.
    for argument in env::var("LSTMTEXT_LINK_ARGS").unwrap_or_default().lines() {
        match argument.strip_prefix("-L") {
            // Before the directories of other crates.
            Some(directory) => println!("cargo:rustc-link-search=native={directory}"),
            None => println!("cargo:rustc-link-arg-bins={argument}"),
        }
    }
    println!("cargo:rerun-if-env-changed=LSTMTEXT_LINK_ARGS");
}

/// Creates the headers of Gloo that c10d's headers include, and that libtorch comes without. They are
/// empty: c10d.cpp declares the few names that are needed. Returns their directory.
fn gloo_headers() -> PathBuf {
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let directory = Path::new(&out).join("gloo_headers");
    for name in ["algorithm", "common/error", "context", "rendezvous/store", "transport/device"] {
        let header = directory.join("gloo").join(format!("{name}.h"));
        let parent = header.parent().expect("a header has a parent directory");
        fs::create_dir_all(parent).expect("OUT_DIR is writable");
        fs::write(&header, "").expect("OUT_DIR is writable");
    }
    directory
}
