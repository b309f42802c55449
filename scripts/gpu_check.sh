#!/usr/bin/env bash
# Runs the tests that need a CUDA device, and compares the training speed with PyTorch's. Without cargo
# it uses programs that were built on another machine, with the libtorch of Python's torch.
#
#   gpu_check.sh [all | tests | bench]
#
# Variables: TORCH_PYTHON selects a Python with torch (default: .venv/torch/bin/python, else python3);
# without cargo, LSTMTEXT_LIBTORCH selects a directory with libtorch.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

what=${1-all}
case $what in all | tests | bench) ;; *)
    echo "gpu_check: found \"$what\", expected all, tests or bench" >&2
    exit 2
    ;;
esac
target=${CARGO_TARGET_DIR-target}/release
python=${TORCH_PYTHON-}
if [[ -z $python ]]; then
    python=.venv/torch/bin/python
    [[ -x $python ]] || python=python3
fi
die() {
    echo "gpu_check: $*" >&2
    exit 1
}
checks=(--ignored --test-threads=1 --nocapture)

if ! command -v cargo >/dev/null; then
    # The newest build of the tests.
    built=
    for file in "$target"/deps/cuda-*; do
        [[ -x $file && ($file -nt $built || -z $built) ]] && built=$file
    done
    [[ -n $built && -x $target/lstmtext && -x $target/lstmtext-torch ]] || {
        die "cargo is missing, and $target does not contain lstmtext, lstmtext-torch and deps/cuda-*: \
build them on another machine with cargo build --release --workspace and \
cargo test --release -p lstmtext-torch --test cuda --no-run"
    }
    if [[ -z ${LSTMTEXT_LIBTORCH-} ]]; then
        "$python" -c 'import torch' || die "$python has no torch: set TORCH_PYTHON to a Python with torch"
        LSTMTEXT_LIBTORCH=$("$python" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parent)')
    fi
    export LSTMTEXT_LIBTORCH
else
    make --no-print-directory build
fi

devices=$("$target/lstmtext" devices)
[[ $devices == *cuda:0* ]] || die "no CUDA device to check: ${devices##*$'\n'}"

if [[ $what != bench ]]; then
    if command -v cargo >/dev/null; then
        env -u LIBTORCH -u LIBTORCH_USE_PYTORCH \
            cargo test --release -p lstmtext-torch --test cuda -- "${checks[@]}"
    else
        # The tests are linked with libtorch, and no program tells them where it is.
        LD_LIBRARY_PATH=$LSTMTEXT_LIBTORCH/lib:$LSTMTEXT_LIBTORCH${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} \
            "$built" "${checks[@]}"
    fi
fi

if [[ $what != tests ]]; then
    "$python" -c 'import numpy, torch; torch.ones(1).cuda()' ||
        die "$python has no torch that can use the GPU: create .venv/torch as described in \
benchmarks/peers/README.md, or set TORCH_PYTHON to another Python"
    [[ -e data/movie_reviews.csv ]] || die "data/movie_reviews.csv is missing: run make data/movie_reviews.csv"
    speed=("$python" benchmarks/peers/speed.py --device cuda --lstmtext "$target/lstmtext" --torch "$python")
    "${speed[@]}" --until 0.88 --out data/peers/gpu-tf32.json
    "${speed[@]}" wide long --precision fp16 --out data/peers/gpu-fp16.json
fi
