#!/usr/bin/env bash
# Prepares a checkout: libtorch in .libtorch, Python and its tools in .venv.
#
#   scripts/setup.sh [NEED...]
#
#   program    what `make train` needs to build lstmtext, with libtorch only if it is needed (see
#              program_uses_libtorch); prints cargo's options that select the packages to build
#   libtorch   libtorch, which the whole workspace needs
#   python     a virtual environment
#   tools      a virtual environment with TensorBoard, safetensors and NumPy
#   packages   a virtual environment with the tools of scripts/packages.sh
#
# Without a NEED it prepares libtorch, the tools, and ONNX for the tests. Repeated calls only check
# that everything is in place.
#
# Variables: TORCH=cpu|cuda selects the libtorch to download (default: cuda if there is an NVIDIA
# driver), LIBTORCH=DIR uses your own libtorch instead, PYTHON=EXE selects the Python.
set -euo pipefail

version=2.11.0 # the only libtorch that tch 0.24.0 builds with

note() { printf 'setup: %s\n' "$*" >&2; }
die() {
    note "$*"
    exit 1
}

# --- Prerequisites ----------------------------------------------------------

# Problems are collected, so that one call reports all of them.
problems=0
problem() {
    note "$*"
    problems=1
}

# install_command NEED: prints the command that installs a C or C++ compiler or Python, for the package
# manager of this system.
install_command() {
    local manager
    for manager in apt-get dnf pacman zypper ''; do
        ! command -v "$manager" >/dev/null || break
    done
    case $manager/$1 in
    apt-get/c) echo apt install gcc libc6-dev ;;
    apt-get/c++) echo apt install g++ ;;
    apt-get/python) echo apt install python3 python3-venv ;;
    pacman/python) echo pacman -S python ;;
    pacman/*) echo pacman -S gcc ;;
    dnf/c | zypper/c) echo "$manager" install gcc ;;
    dnf/c++ | zypper/c++) echo "$manager" install gcc-c++ ;;
    dnf/python | zypper/python) echo "$manager" install python3 ;;
    *) echo "install it with the package manager of this system" ;;
    esac
}

# Prints how to install a recent Rust. The cargo of most distributions is too old, and some, such as
# Debian 12, have no package of rustup.
rustup_advice() {
    local rustup="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
    if command -v rustup >/dev/null; then
        echo "rustup update stable && rustup default stable"
    elif [[ -x ~/.cargo/bin/cargo ]]; then
        echo ". ~/.cargo/env, which puts the cargo of rustup first in PATH"
    elif command -v apt-cache >/dev/null && [[ -n $(apt-cache show rustup 2>/dev/null) ]]; then
        echo "apt install rustup && rustup default stable"
    elif command -v pacman >/dev/null; then
        echo "pacman -S rustup && rustup default stable"
    else
        command -v curl >/dev/null || rustup="install curl, then $rustup"
        echo "$rustup && . ~/.cargo/env"
    fi
}

check_cargo() {
    local have want advice
    want=$(sed -n 's/^rust-version *= *"\(.*\)".*/\1/p' Cargo.toml)
    advice="lstmtext needs Rust $want or newer, which rustup installs: $(rustup_advice)"
    if ! command -v cargo >/dev/null; then
        problem "cargo is missing; $advice"
        return
    fi
    if ! have=$(cargo --version 2>&1); then
        problem "cargo does not run: ${have%%$'\n'*}; $advice"
        return
    fi
    # An old cargo fails to parse Cargo.toml, with a message that does not say why.
    have=$(cut -d' ' -f2 <<<"$have")
    if [[ $(printf '%s\n' "$want" "$have" | sort -V | head -n 1) != "$want" ]]; then
        problem "cargo $have is too old; $advice"
    fi
}

# check_compiler LANGUAGE COMPILER: COMPILER may contain options, or a wrapper and a compiler.
check_compiler() {
    local tool
    # rustc links with cc.
    for tool in "$2" cc; do
        if ! command -v "${tool%% *}" >/dev/null; then
            problem "the $1 compiler ${tool%% *} is missing: $(install_command "${1,,}")"
            return
        fi
    done
}

# python_version EXE [venv]: prints "3.11". Succeeds if PyTorch has wheels for this Python and, with
# `venv`, if it belongs to a virtual environment with pip.
python_version() {
    "$1" -I -c 'import sys, importlib.util
v = sys.version_info[:2]
print("%d.%d" % v)
ok = (3, 10) <= v <= (3, 14)
if "venv" in sys.argv:
    ok = ok and sys.prefix != sys.base_prefix and importlib.util.find_spec("pip")
sys.exit(not ok)' "${@:2}" 2>/dev/null
}

# Sets `python` to the first Python that can create .venv.
find_python() {
    local candidate have complaint=
    local -a candidates=(python3 python3.14 python3.13 python3.12 python3.11 python3.10)
    [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        command -v "$candidate" >/dev/null || continue
        if ! have=$(python_version "$candidate"); then
            # pyenv has shims for Pythons that are not activated; they print no version.
            [[ -z $have ]] || : "${complaint:="$candidate is Python $have, but PyTorch has wheels for 3.10 to 3.14: install one of these, and set PYTHON=... if it is not in PATH"}"
        elif ! "$candidate" -I -c 'import venv, ensurepip; ensurepip.version()' 2>/dev/null; then
            # Debian keeps ensurepip, which venv needs, in a separate package.
            if command -v apt-get >/dev/null; then
                : "${complaint:="$candidate has no venv module: apt install ${candidate##*/}-venv"}"
            else
                : "${complaint:="$candidate has no venv or ensurepip module: install them, or another Python, and set PYTHON=..."}"
            fi
        else
            python=$candidate
            return
        fi
    done
    problem "${complaint:-"${PYTHON:-python3} is missing: $(install_command python)"}"
}

# --- .venv ------------------------------------------------------------------

# Exists while a step on .venv is in progress or was interrupted.
unfinished=.venv/.unfinished

# Succeeds if .venv works, and sets `venv_version` to the version of its Python, "3.11". An upgrade of
# the system's Python changes or breaks an existing .venv.
venv_works() {
    [[ ! -e $unfinished ]] && venv_version=$(python_version .venv/bin/python venv)
}

make_venv() {
    if [[ -e $unfinished ]]; then
        note "an earlier setup was interrupted: starting again"
    fi
    note "creating .venv with $("$python" --version 2>&1)..."
    # Without pyvenv.cfg, .venv never passes for a working one, so an interruption of the next rm is
    # harmless.
    rm -f .venv/pyvenv.cfg
    rm -rf .venv
    mkdir .venv
    : >"$unfinished"
    "$python" -m venv .venv >&2 || die "$python could not create .venv (see its message above)"
    rm "$unfinished"
    venv_works || die "$python created a .venv that does not work"
}

# pip_install NAME ARGUMENT...
pip_install() {
    local name=$1 status=0
    shift
    : >"$unfinished"
    # pip unpacks gigabytes, and /tmp may be a small file system in memory.
    mkdir -p .venv/tmp
    TMPDIR=${TMPDIR:-$PWD/.venv/tmp} .venv/bin/python -I -m pip --disable-pip-version-check --no-input \
        install --only-binary=:all: --no-warn-conflicts "$@" >&2 || status=$?
    # pip cleans up when it fails, but not when it is killed.
    if ((status > 128)); then
        die "pip was killed while installing $name"
    fi
    rm -rf .venv/tmp
    rm -f "$unfinished"
    ((status == 0)) || die "pip could not install $name (see its message above)"
}

# ensure_packages FILE NAME SIZE
ensure_packages() {
    # The copy records what is installed.
    local copy=.venv/installed-${1##*/}
    cmp -s "$1" "$copy" && return
    note "downloading $2 ($3)..."
    pip_install "$2" --requirement "$1"
    cp "$1" "$copy"
}

# --- .libtorch --------------------------------------------------------------

# Prints what .libtorch contains: "cpu", "cuda", the directory of your own libtorch, or nothing.
libtorch_kind() {
    if [[ -L .libtorch ]]; then
        readlink .libtorch
    elif [[ -L .libtorch/lib/libtorch_cuda.so ]]; then
        echo cuda
    elif [[ -L .libtorch/lib/libtorch_cpu.so ]]; then
        echo cpu
    fi
}

# torch-sys checks only once which libraries it can link with, so its build is removed when they
# change.
forget_build() {
    local profile
    [[ $1 != "$(libtorch_kind)" ]] || return 0
    for profile in dev release; do
        # Fails if nothing has been built yet.
        cargo clean --quiet --offline --profile "$profile" --package torch-sys 2>/dev/null || true
    done
}

# Prints the version of the libtorch in a directory, from the first file that contains it.
libtorch_version() {
    local header
    if [[ -r $1/build-version ]]; then
        sed 's/+.*//; q' "$1/build-version"
        return
    fi
    for header in torch/headeronly/version.h torch/version.h torch/csrc/api/include/torch/version.h; do
        [[ -r $1/include/$header ]] || continue
        sed -n 's/^#define TORCH_VERSION_\(MAJOR\|MINOR\|PATCH\) *\([0-9]*\).*/\2/p' "$1/include/$header" |
            paste -sd. | grep . && return
    done
    return 1
}

# Prints the directory of your own libtorch, if you use one: from LIBTORCH, or without it the
# directory that .libtorch already links to.
own_libtorch() {
    local complaint
    if [[ -n ${LIBTORCH:-} ]]; then
        # LIBTORCH may be set to the directory that this script creates.
        [[ ! $LIBTORCH -ef .libtorch || -L .libtorch ]] || return 0
        complaint=$(check_libtorch "$LIBTORCH")
        [[ -z $complaint ]] || die "LIBTORCH=$LIBTORCH $complaint: correct LIBTORCH, or unset it to download libtorch $version"
        (cd -- "$LIBTORCH" >/dev/null && pwd -P)
    elif [[ -L .libtorch && -z ${TORCH:-} && -z $(check_libtorch .libtorch) ]]; then
        readlink .libtorch
    fi
}

# Prints why the libtorch in a directory cannot be used, or nothing if it can.
check_libtorch() {
    local have
    if [[ ! -d $1/include || ! -e $1/lib/libtorch_cpu.so ]]; then
        echo "is not libtorch (it has no include/ or no lib/libtorch_cpu.so)"
    elif ! have=$(libtorch_version "$1"); then
        echo "has no version"
    elif [[ $have != "$version" ]]; then
        echo "is libtorch $have, but lstmtext needs $version"
    fi
}

# Links .libtorch to your own libtorch, so that cargo finds it later without the variable.
link_own() {
    local kind=$1
    [[ ! -L .libtorch || $(readlink .libtorch) != "$kind" ]] || return 0
    note "using libtorch from $kind"
    forget_build "$kind"
    rm -rf .libtorch
    ln -s "$kind" .libtorch
}

# Prints the build of libtorch to use, cpu or cuda. The first choice remains until TORCH overrides it, so
# a CUDA build is also used without a driver, for example on the login node of a cluster.
wanted_build() {
    local stamp=
    if [[ -n ${TORCH:-} ]]; then
        echo "$TORCH"
        return
    fi
    [[ ! -r .libtorch/stamp ]] || stamp=$(<.libtorch/stamp)
    case $stamp in
    'cuda '*) echo cuda ;;
    *' forced') echo cpu ;;
    *) if driver_found; then echo cuda; else echo cpu; fi ;;
    esac
}

driver_found() {
    [[ -e /proc/driver/nvidia/version ]] || nvidia-smi -L >/dev/null 2>&1
}

# lstmtext itself needs no libtorch. Succeeds if the user asks for libtorch, if it is already installed,
# or if there is an NVIDIA driver.
program_uses_libtorch() {
    [[ -n ${TORCH:-} || -n ${LIBTORCH:-} || -e .libtorch/lib/libtorch_cpu.so ]] || driver_found
}

# is_complete BUILD: succeeds if .libtorch has all libraries of this build, from this .venv.
is_complete() {
    local stamp=
    [[ ! -L .libtorch && -r .libtorch/stamp ]] && stamp=$(<.libtorch/stamp)
    [[ "$stamp " == "$1 $version $venv_version "* && -d .libtorch/include/torch && -e .libtorch/lib/libtorch_cpu.so ]] &&
        [[ $1 == cpu || -e .libtorch/lib/libtorch_cuda.so ]]
}

# Prints the directory of Python's packages, relative to the checkout:
# .venv/lib/python3.11/site-packages
site_packages() {
    .venv/bin/python -I -c 'import os, sysconfig; print(os.path.relpath(sysconfig.get_path("purelib")))'
}

download_build() {
    local site
    if [[ $1 == cuda ]]; then
        note "downloading libtorch $version (CUDA, about 2.7 GB, 5 GB on disk)..."
        pip_install "libtorch $version with CUDA" "torch==$version"
        # pip may be configured to use another index.
        [[ -e $(site_packages)/torch/lib/libtorch_cuda.so ]] ||
            die "pip found a torch $version without CUDA: check pip's index settings, or set TORCH=cpu"
        remove_stand_ins
        return
    fi
    # PyTorch's wheel always contains its CUDA libraries. The packages that it depends on, which are
    # most of the download, are not needed on a CPU.
    note "downloading libtorch $version (CPU, about 530 MB, 1.2 GB on disk)..."
    pip_install "libtorch $version" --no-deps "torch==$version"
    # Except two: libtorch_cpu.so of such a wheel does not load without them.
    site=$(site_packages)
    if grep -qaF libcudart.so.13 "$site/torch/lib/libtorch_cpu.so"; then
        pip_install "the CUDA runtime that libtorch loads" --no-deps 'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cupti==13.0.*'
    fi
}

# library_files BUILD SITE: prints the paths of all libraries of the build.
library_files() {
    local build=$1 site=$2 file
    for file in "$site"/torch/lib/*.so*; do
        # Stand-ins are only for Python.
        [[ ! -L $file ]] || continue
        case $build/${file##*/} in
        */libtorch_python*) ;;
        cpu/libtorch_cuda* | cpu/libc10_cuda* | cpu/libcaffe2_nvrtc* | cpu/libtorch_nvshmem*) ;;
        *) echo "$file" ;;
        esac
    done
    for file in "$site"/nvidia/*/lib/*.so*; do
        case $build/${file##*/} in
        cuda/* | cpu/libcudart.so* | cpu/libcupti.so*) echo "$file" ;;
        esac
    done
}

# link_build BUILD: makes .libtorch a directory of links into .venv. libtorch's libraries look for each
# other in the directory they are opened from, which is the directory of the links, so it must contain
# all of them. The links are relative, so that the checkout can be moved.
link_build() {
    local build=$1 site new=.venv/libtorch.new file error
    site=$(site_packages)
    rm -rf "$new"
    mkdir -p "$new/lib"
    ln -s "../$site/torch/include" "$new/include"
    echo "$version" >"$new/build-version" # torch-sys reads it
    library_files "$build" "$site" | while read -r file; do
        ln -sf "../../$file" "$new/lib/"
    done
    forget_build "$build"
    rm -rf .libtorch
    mv "$new" .libtorch
    if ! error=$(load_libtorch 2>&1); then
        die "libtorch does not load: $error"
    fi
    # From here on it counts as complete.
    echo "$build $version $venv_version ${TORCH:+forced}" >.libtorch/stamp.new
    mv .libtorch/stamp.new .libtorch/stamp
}

# Detects a missing library, or a system too old for libtorch, before minutes are spent on the build.
load_libtorch() {
    .venv/bin/python -I -c 'import ctypes, os, sys
try:
    for name in "cpu", "cuda":
        if os.path.lexists(path := f".libtorch/lib/libtorch_{name}.so"):
            ctypes.CDLL(os.path.abspath(path))
except OSError as error:
    sys.exit(str(error))'
}

# Lets Python import torch from the CPU build. Its Python library is linked with CUDA libraries that
# this build does not include and that nothing calls without CUDA. An empty library stands in for each,
# and Python resolves functions only when they are called.
let_python_import_torch() {
    local site directory library missing
    site=$(site_packages)
    directory=$site/torch/lib
    [[ ! -e $site/torch_without_cuda.pth ]] || return 0
    missing=$(ldd "$directory/libtorch_python.so" | sed -n 's/^[[:space:]]*\([^ ]*\) => not found$/\1/p' | sort -u)
    [[ -n $missing ]] || return 0
    "${CC:-cc}" -shared -o "$directory/without_cuda" -x c /dev/null
    for library in $missing; do
        ln -sf without_cuda "$directory/$library"
    done
    echo 'import os, sys; sys.setdlopenflags(os.RTLD_LAZY)' >"$site/torch_without_cuda.pth"
}

# Removes the stand-ins once the CUDA libraries are installed.
remove_stand_ins() {
    local site
    site=$(site_packages)
    find "$site/torch/lib" -lname without_cuda -delete
    rm -f "$site/torch/lib/without_cuda" "$site/torch_without_cuda.pth"
}

ensure_libtorch() {
    local build
    build=$(wanted_build)
    if ! is_complete "$build"; then
        download_build "$build"
        link_build "$build"
        note "libtorch $version is ready ($build)"
    fi
    [[ $build == cuda ]] || let_python_import_torch
    # Records that TORCH now selects a build that was first chosen by default.
    if [[ -n ${TORCH:-} && $(<.libtorch/stamp) != *forced ]]; then
        sed -i 's/ *$/ forced/' .libtorch/stamp
    fi
}

# --- Main -------------------------------------------------------------------

# Two setups at once would interfere with each other. The lock can be on any file except this script: a
# file that is open for writing cannot be executed. It is opened for appending because network file systems
# require write access.
take_lock() {
    exec 9>>scripts/requirements.txt
    flock --nonblock 9 && return
    note "waiting for another setup in this directory to finish..."
    flock 9
}

main() {
    local need own='' packages=--workspace
    local program='' libtorch='' venv='' tools='' onnx='' builders=''
    cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null
    # pip turns an interrupt into an ordinary failure; these end the setup instead.
    trap 'exit 130' INT
    trap 'exit 143' TERM

    [[ ${TORCH:-cpu} == cpu || ${TORCH:-} == cuda ]] || die "TORCH is \"$TORCH\", but must be cpu or cuda"
    (($# > 0)) || libtorch=1 venv=1 tools=1 onnx=1
    for need in "$@"; do
        case $need in
        program) program=1 ;;
        libtorch) libtorch=1 ;;
        python) venv=1 ;;
        tools) venv=1 tools=1 ;;
        packages) venv=1 builders=1 ;;
        *) die "found \"$need\", expected program, libtorch, python, tools or packages" ;;
        esac
    done
    if [[ -n $program && -z $libtorch ]]; then
        if program_uses_libtorch; then libtorch=1; else packages='--package lstmtext'; fi
    fi

    [[ -z $program$libtorch ]] || check_cargo
    if [[ -n $libtorch ]]; then
        check_compiler C++ "${CXX:-c++}"
        own=$(own_libtorch)
        [[ -n $own ]] || venv=1
    elif [[ -n $program ]]; then
        check_compiler C "${CC:-cc}"
    fi
    [[ -z $libtorch$venv ]] || take_lock
    [[ -z $venv ]] || venv_works || find_python
    ((problems == 0)) || exit 1

    [[ -z $venv ]] || venv_works || make_venv
    [[ -z $tools ]] || ensure_packages scripts/requirements.txt "the Python tools" "TensorBoard, safetensors, NumPy: about 50 MB"
    [[ -z $builders ]] || ensure_packages scripts/requirements-packages.txt "maturin and Zig" "about 110 MB"
    [[ -z $onnx ]] || ensure_packages scripts/requirements-onnx.txt "ONNX and its runtime" "about 35 MB"
    if [[ -n $own ]]; then
        link_own "$own"
    elif [[ -n $libtorch ]]; then
        ensure_libtorch
    fi
    [[ -z $program ]] || announce_build "$packages"
}

# announce_build OPTIONS: prints cargo's options. Announces the first build, which takes minutes.
announce_build() {
    local program=${CARGO_TARGET_DIR:-target}/release/lstmtext
    if [[ $1 == --workspace ]]; then
        if [[ ! -e $program-torch ]]; then
            note "building lstmtext and lstmtext-torch (the first build takes several minutes)..."
        fi
    elif [[ ! -e $program ]]; then
        note "no NVIDIA driver found: building lstmtext without libtorch (TORCH=cpu or TORCH=cuda adds it)..."
    fi
    echo "$1"
}

main "$@"
