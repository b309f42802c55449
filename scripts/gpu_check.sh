#!/usr/bin/env bash
# Tests on a CUDA device what the other tests cannot, and compares training speed with PyTorch's.
# Without cargo, it uses binaries built elsewhere, with the libtorch of Python's torch package.
#
#   gpu_check.sh [all | tests | bench]
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

what=${1-all}
case $what in all | tests | bench) ;; *)
    echo "gpu_check.sh: unknown argument \"$what\"; expected all, tests or bench" >&2
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
    # The newest one.
    built=
    for file in "$target"/deps/cuda-*; do
        [[ -x $file && ($file -nt $built || -z $built) ]] && built=$file
    done
    [[ -n $built && -x $target/lstmtext && -x $target/lstmtext-torch ]] || {
        die "cargo is missing, and $target does not contain lstmtext, lstmtext-torch and deps/cuda-*; \
build them elsewhere with: cargo test --release --no-run"
    }
    if [[ -z ${LSTMTEXT_LIBTORCH-} ]]; then
        "$python" -c 'import torch' || die "$python has no torch package; name another Python with TORCH_PYTHON"
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
        env -u LIBTORCH -u LIBTORCH_USE_PYTORCH cargo test --release --test cuda -- "${checks[@]}"
    else
        # The tests are linked with libtorch, and not launched by lstmtext, which sets its path.
        LD_LIBRARY_PATH=$LSTMTEXT_LIBTORCH/lib:$LSTMTEXT_LIBTORCH${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} \
            "$built" "${checks[@]}"
    fi
fi

if [[ $what != tests ]]; then
    "$python" -c 'import numpy, torch; torch.ones(1).cuda()' ||
        die "$python has no torch package with CUDA; create .venv/torch (benchmarks/peers/README.md) or name \
another Python with TORCH_PYTHON"
    [[ -e data/movie_reviews.csv ]] || die "data/movie_reviews.csv is missing; run make setup"
    speed=("$python" benchmarks/peers/speed.py --device cuda --lstmtext "$target/lstmtext" --torch "$python")
    "${speed[@]}" --until 0.88 --out data/peers/gpu-tf32.json
    "${speed[@]}" wide long --precision fp16 --out data/peers/gpu-fp16.json
fi
