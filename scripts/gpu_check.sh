#!/usr/bin/env bash
# Proves on a machine with a CUDA device what the other tests cannot, and measures beside PyTorch.
# Without cargo it takes what was built elsewhere, with the libtorch of Python's torch.
#
#   gpu_check.sh [all | tests | bench]
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

what=${1-all}
case $what in all | tests | bench) ;; *)
    echo "gpu_check.sh: found \"$what\", allowed is all | tests | bench" >&2
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
    echo "gpu_check.sh: $*" >&2
    exit 1
}
checks=(--ignored --test-threads=1 --nocapture)

if ! command -v cargo >/dev/null; then
    # The newest of those that lie there.
    built=
    for file in "$target"/deps/cuda-*; do
        [[ -x $file && ($file -nt $built || -z $built) ]] && built=$file
    done
    [[ -n $built && -x $target/lstmtext && -x $target/lstmtext-torch ]] || {
        die "there is no cargo, and $target lacks what is built elsewhere by \
cargo test --release --no-run: lstmtext, lstmtext-torch and deps/cuda-*"
    }
    if [[ -z ${LSTMTEXT_LIBTORCH-} ]]; then
        "$python" -c 'import torch' || die "$python has no torch: name another with TORCH_PYTHON"
        LSTMTEXT_LIBTORCH=$("$python" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parent)')
    fi
    export LSTMTEXT_LIBTORCH
else
    make --no-print-directory build
fi

devices=$("$target/lstmtext" devices)
[[ $devices == *cuda:0* ]] || die "there is nothing to check: ${devices##*$'\n'}"

if [[ $what != bench ]]; then
    if command -v cargo >/dev/null; then
        env -u LIBTORCH -u LIBTORCH_USE_PYTORCH cargo test --release --test cuda -- "${checks[@]}"
    else
        # The tests have libtorch in them and are not told by the program where it lies.
        LD_LIBRARY_PATH=$LSTMTEXT_LIBTORCH/lib:$LSTMTEXT_LIBTORCH${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} \
            "$built" "${checks[@]}"
    fi
fi

if [[ $what != tests ]]; then
    "$python" -c 'import numpy, torch; torch.ones(1).cuda()' ||
        die "$python has no torch that uses the GPU: make .venv/torch as benchmarks/peers/README.md says, or \
name another Python with TORCH_PYTHON"
    [[ -e data/movie_reviews.csv ]] || die "data/movie_reviews.csv is missing: make setup gets it"
    speed=("$python" benchmarks/peers/speed.py --device cuda --lstmtext "$target/lstmtext" --torch "$python")
    "${speed[@]}" --until 0.88 --out data/peers/gpu-tf32.json
    "${speed[@]}" wide long --precision fp16 --out data/peers/gpu-fp16.json
fi
