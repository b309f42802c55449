#!/usr/bin/env bash
# Prepares a checkout: libtorch in .libtorch and the Python tools in .venv.
#
#   scripts/setup.sh          both (what `make setup` and all that builds call)
#   scripts/setup.sh tools    only the Python tools (`make tensorboard`)
#
# Variables it heeds: TORCH=cpu|cuda forces the set (otherwise CUDA where an
# NVIDIA driver is found), LIBTORCH=DIR takes the user's own libtorch,
# PYTHON=EXE the Python to use. Once everything is in place a call only looks.
set -euo pipefail

version=2.11.0 # the one libtorch that tch 0.24.0 builds with

note() { printf 'setup: %s\n' "$*" >&2; }
die() {
    note "$*"
    exit 1
}

# --- what has to be there first ---------------------------------------------

problems=0
problem() {
    note "$*"
    problems=1
}

check_cargo() {
    local have want=0
    if ! command -v cargo >/dev/null; then
        problem "cargo is missing: apt install rustup && rustup default stable (or the package cargo, where it is new enough)"
        return
    fi
    if ! have=$(cargo --version 2>&1); then
        problem "cargo does not run: ${have%%$'\n'*}"
        return
    fi
    # An old cargo cannot even read Cargo.toml, and says so in other words.
    [[ ! -e Cargo.toml ]] || want=$(sed -n 's/^rust-version *= *"\(.*\)".*/\1/p' Cargo.toml)
    have=$(cut -d' ' -f2 <<<"$have")
    if [[ $(printf '%s\n' "$want" "$have" | sort -V | head -n 1) != "$want" ]]; then
        problem "cargo is $have, but lstmtext needs $want or newer: apt install rustup && rustup default stable"
    fi
}

check_compiler() {
    local tool
    for tool in "${CXX:-c++}" cc; do
        # CXX may hold options, or a wrapper and a compiler.
        if ! command -v "${tool%% *}" >/dev/null; then
            problem "the C++ compiler (${tool%% *}) is missing: apt install g++"
            return
        fi
    done
}

# python_version EXE [venv]: prints "3.11"; succeeds if PyTorch has wheels for
# such a Python and, with `venv`, if it is one of a virtual environment with pip.
python_version() {
    "$1" -I -c 'import sys, importlib.util
v = sys.version_info[:2]
print("%d.%d" % v)
ok = (3, 10) <= v <= (3, 14)
if "venv" in sys.argv:
    ok = ok and sys.prefix != sys.base_prefix and importlib.util.find_spec("pip")
sys.exit(not ok)' "${@:2}" 2>/dev/null
}

# Sets `python` to the first Python that can make .venv.
find_python() {
    local candidate have complaint=
    local -a candidates=(python3 python3.14 python3.13 python3.12 python3.11 python3.10)
    [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        command -v "$candidate" >/dev/null || continue
        if ! have=$(python_version "$candidate"); then
            # pyenv has commands for Pythons that are not switched on: no version.
            [[ -z $have ]] || : "${complaint:="$candidate is Python $have, but libtorch $version comes for 3.10 to 3.14: apt install python3.12 python3.12-venv, or name another one with PYTHON=..."}"
        elif ! "$candidate" -I -c 'import venv, ensurepip; ensurepip.version()' 2>/dev/null; then
            # Debian keeps ensurepip, which venv needs, in a package of its own.
            : "${complaint:="$candidate has no venv module: apt install ${candidate##*/}-venv"}"
        else
            python=$candidate
            return
        fi
    done
    problem "${complaint:-"${PYTHON:-python3} is missing: apt install python3 python3-venv"}"
}

# --- .venv ------------------------------------------------------------------

# While this file is there, a step on .venv is under way or was cut off.
unfinished=.venv/.unfinished

# Succeeds if .venv works; sets `venv_version` to its Python's "3.11". An upgrade
# of the system's Python changes or breaks an existing .venv.
venv_works() {
    [[ ! -e $unfinished ]] && venv_version=$(python_version .venv/bin/python venv)
}

make_venv() {
    if [[ -e $unfinished ]]; then
        note "an earlier set-up was cut off: starting afresh"
    fi
    note "making .venv with $("$python" --version 2>&1)..."
    # Without this file .venv never passes for a working one, so that cutting
    # off the rm that follows is harmless.
    rm -f .venv/pyvenv.cfg
    rm -rf .venv
    mkdir .venv
    : >"$unfinished"
    "$python" -m venv .venv >&2 || die "$python could not make .venv (its own message is above)"
    rm "$unfinished"
    venv_works || die "$python made a .venv that does not work"
}

# pip_install WHAT ARGUMENT...
pip_install() {
    local what=$1 status=0
    shift
    : >"$unfinished"
    # pip unpacks gigabytes; /tmp may be a small file system in memory.
    mkdir -p .venv/tmp
    TMPDIR=${TMPDIR:-$PWD/.venv/tmp} .venv/bin/python -I -m pip --disable-pip-version-check --no-input \
        install --only-binary=:all: --no-warn-conflicts "$@" >&2 || status=$?
    # A pip that fails tidies up after itself, one that is killed does not.
    if ((status > 128)); then
        die "pip was killed while it fetched $what"
    fi
    rm -rf .venv/tmp
    rm -f "$unfinished"
    ((status == 0)) || die "pip could not install $what (its own message is above)"
}

# ensure_packages FILE WHAT SIZE
ensure_packages() {
    # The copy says what is installed.
    local copy=.venv/installed-${1##*/}
    cmp -s "$1" "$copy" && return
    note "fetching $2 ($3)..."
    pip_install "$2" --requirement "$1"
    cp "$1" "$copy"
}

# --- .libtorch --------------------------------------------------------------

# What .libtorch holds: "cpu", "cuda", the folder of a user's own, or nothing.
libtorch_kind() {
    if [[ -L .libtorch ]]; then
        readlink .libtorch
    elif [[ -L .libtorch/lib/libtorch_cuda.so ]]; then
        echo cuda
    elif [[ -L .libtorch/lib/libtorch_cpu.so ]]; then
        echo cpu
    fi
}

# torch-sys looks only once which libraries there are to link with, so cargo has
# to forget it when they change.
forget_build() {
    local profile
    [[ $1 != "$(libtorch_kind)" && -e Cargo.toml ]] || return 0
    for profile in dev release; do
        # It fails where nothing was ever built.
        cargo clean --quiet --offline --profile "$profile" --package torch-sys 2>/dev/null || true
    done
}

# The version of the libtorch in a folder, from the first file that tells it.
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

# The folder of the libtorch that the user wants instead of ours, if any: the one
# in LIBTORCH, or without it the one that .libtorch was linked to before.
own_libtorch() {
    local complaint
    if [[ -n ${LIBTORCH:-} ]]; then
        # Somebody may have set it to the very folder that this script makes.
        [[ ! $LIBTORCH -ef .libtorch || -L .libtorch ]] || return 0
        complaint=$(complain_of "$LIBTORCH")
        [[ -z $complaint ]] || die "LIBTORCH=$LIBTORCH $complaint: correct LIBTORCH, or unset it to have libtorch $version fetched"
        (cd -- "$LIBTORCH" >/dev/null && pwd -P)
    elif [[ -L .libtorch && -z ${TORCH:-} && -z $(complain_of .libtorch) ]]; then
        readlink .libtorch
    fi
}

# Says what keeps the libtorch in a folder from being used; silent if it fits.
complain_of() {
    local have
    if [[ ! -d $1/include || ! -e $1/lib/libtorch_cpu.so ]]; then
        echo "is no libtorch (it lacks include/ or lib/libtorch_cpu.so)"
    elif ! have=$(libtorch_version "$1"); then
        echo "does not tell its version"
    elif [[ $have != "$version" ]]; then
        echo "is libtorch $have, but lstmtext needs $version"
    fi
}

# .libtorch becomes a link to the user's libtorch, so that cargo finds it later
# without the variable.
link_own() {
    local kind=$1
    [[ ! -L .libtorch || $(readlink .libtorch) != "$kind" ]] || return 0
    note "taking libtorch from $kind"
    forget_build "$kind"
    rm -rf .libtorch
    ln -s "$kind" .libtorch
}

# cpu or cuda. What was forced once stays so until something else is forced, and
# a CUDA set serves where there is no driver too (a cluster's login machine).
wanted_set() {
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

# assembled SET: .libtorch is complete, of this set and from this .venv.
assembled() {
    local stamp=
    [[ ! -L .libtorch && -r .libtorch/stamp ]] && stamp=$(<.libtorch/stamp)
    [[ "$stamp " == "$1 $version $venv_version "* && -d .libtorch/include/torch && -e .libtorch/lib/libtorch_cpu.so ]] &&
        [[ $1 == cpu || -e .libtorch/lib/libtorch_cuda.so ]]
}

# Where the wheels are, as seen from the checkout: .venv/lib/python3.11/site-packages
site_packages() {
    .venv/bin/python -I -c 'import os, sysconfig; print(os.path.relpath(sysconfig.get_path("purelib")))'
}

fetch_set() {
    local site
    if [[ $1 == cuda ]]; then
        note "fetching libtorch $version (CUDA set, about 2.7 GB, 5 GB on disk)..."
        pip_install "libtorch $version with CUDA" "torch==$version"
        # An index other than the usual one may have been set up for pip.
        [[ -e $(site_packages)/torch/lib/libtorch_cuda.so ]] ||
            die "the torch $version that pip found has no CUDA: check pip's index settings, or say TORCH=cpu"
        forget_stand_ins
        return
    fi
    # PyTorch's wheel brings its CUDA parts even where nothing uses them; the
    # packages it depends on, most of the bulk, can stay away.
    note "fetching libtorch $version (CPU set, about 530 MB, 1.2 GB on disk)..."
    pip_install "libtorch $version" --no-deps "torch==$version"
    # All but two: libtorch_cpu.so of such a wheel does not load without them.
    site=$(site_packages)
    if grep -qaF libcudart.so.13 "$site/torch/lib/libtorch_cpu.so"; then
        pip_install "the CUDA runtime that libtorch loads" --no-deps 'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cupti==13.0.*'
    fi
}

# library_files SET SITE: every library that the set needs.
library_files() {
    local set=$1 site=$2 file
    for file in "$site"/torch/lib/*.so*; do
        # Stand-ins are for Python alone.
        [[ ! -L $file ]] || continue
        case $set/${file##*/} in
        */libtorch_python*) ;;
        cpu/libtorch_cuda* | cpu/libc10_cuda* | cpu/libcaffe2_nvrtc* | cpu/libtorch_nvshmem*) ;;
        *) echo "$file" ;;
        esac
    done
    for file in "$site"/nvidia/*/lib/*.so*; do
        case $set/${file##*/} in
        cuda/* | cpu/libcudart.so* | cpu/libcupti.so*) echo "$file" ;;
        esac
    done
}

# Makes .libtorch a folder of links into .venv. libtorch's libraries look for
# each other in the folder that they are opened from, which is the folder of the
# links: so all of them have to be in it. The links are relative, for a checkout
# may be moved.
assemble() {
    local set=$1 site new=.venv/libtorch.new file error
    site=$(site_packages)
    rm -rf "$new"
    mkdir -p "$new/lib"
    ln -s "../$site/torch/include" "$new/include"
    echo "$version" >"$new/build-version" # read by torch-sys
    library_files "$set" "$site" | while read -r file; do
        ln -sf "../../$file" "$new/lib/"
    done
    forget_build "$set"
    rm -rf .libtorch
    mv "$new" .libtorch
    if ! error=$(load_libtorch 2>&1); then
        die "libtorch does not load: $error"
    fi
    # Only now it counts as complete.
    echo "$set $version $venv_version ${TORCH:+forced}" >.libtorch/stamp.new
    mv .libtorch/stamp.new .libtorch/stamp
}

# Tells at once what would otherwise show only after minutes of building: a
# library that is missing, or a system too old for these.
load_libtorch() {
    .venv/bin/python -I -c 'import ctypes, os, sys
try:
    for name in "cpu", "cuda":
        if os.path.lexists(path := f".libtorch/lib/libtorch_{name}.so"):
            ctypes.CDLL(os.path.abspath(path))
except OSError as error:
    sys.exit(str(error))'
}

# Lets Python import the CPU set's torch. The half of it that is Python's is linked
# with CUDA libraries that the set does without and that nothing calls where there
# is no CUDA: an empty library stands in for each, and Python looks functions up
# only when they are called.
let_python_import_torch() {
    local site folder library missing
    site=$(site_packages)
    folder=$site/torch/lib
    [[ ! -e $site/torch_without_cuda.pth ]] || return 0
    missing=$(ldd "$folder/libtorch_python.so" | sed -n 's/^[[:space:]]*\([^ ]*\) => not found$/\1/p' | sort -u)
    [[ -n $missing ]] || return 0
    "${CC:-cc}" -shared -o "$folder/without_cuda" -x c /dev/null
    for library in $missing; do
        ln -sf without_cuda "$folder/$library"
    done
    echo 'import os, sys; sys.setdlopenflags(os.RTLD_LAZY)' >"$site/torch_without_cuda.pth"
}

# Undoes it, where CUDA's own libraries have come.
forget_stand_ins() {
    local site
    site=$(site_packages)
    find "$site/torch/lib" -lname without_cuda -delete
    rm -f "$site/torch/lib/without_cuda" "$site/torch_without_cuda.pth"
}

ensure_libtorch() {
    local set
    set=$(wanted_set)
    if ! assembled "$set"; then
        fetch_set "$set"
        assemble "$set"
        note "libtorch $version is ready ($set)"
    fi
    [[ $set == cuda ]] || let_python_import_torch
    # A set that was chosen by itself is asked for by name now.
    if [[ -n ${TORCH:-} && $(<.libtorch/stamp) != *forced ]]; then
        sed -i 's/ *$/ forced/' .libtorch/stamp
    fi
}

# --- the whole --------------------------------------------------------------

# Two set-ups at once would fall over each other. This file is as good as any to
# hold the lock (opened for appending, as network file systems want it).
take_lock() {
    exec 9>>scripts/setup.sh
    flock --nonblock 9 && return
    note "waiting for another set-up in this folder to end..."
    flock 9
}

main() {
    local own=
    cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null
    # pip turns an interrupt into a mere failure; this ends the set-up instead.
    trap 'exit 130' INT
    trap 'exit 143' TERM

    [[ ${TORCH:-cpu} == cpu || ${TORCH:-} == cuda ]] || die "TORCH is '$TORCH', but can be only cpu or cuda"
    if [[ ${1:-} != tools ]]; then
        check_cargo
        check_compiler
        own=$(own_libtorch)
    fi
    take_lock
    venv_works || find_python
    ((problems == 0)) || exit 1

    venv_works || make_venv
    ensure_packages scripts/requirements.txt "the Python tools" "TensorBoard, safetensors, numpy: about 50 MB"
    if [[ ${1:-} == tools ]]; then
        return
    fi
    ensure_packages scripts/requirements-onnx.txt "ONNX and its runtime" "about 35 MB"
    if [[ -n $own ]]; then
        link_own "$own"
    else
        ensure_libtorch
    fi
}

main "$@"
