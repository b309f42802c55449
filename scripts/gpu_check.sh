#!/usr/bin/env bash
# Proves on a machine with a CUDA device what the other tests cannot, and measures beside PyTorch.
# Without cargo it takes what was built elsewhere, with the libtorch of Python's torch.
#
#   gpu_check.sh [tests | bench]      by default both
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

what=${1-all}
case $what in all | tests | bench) ;; *)
    echo "gpu_check.sh: found \"$what\", allowed is tests | bench" >&2
    exit 2
    ;;
esac
target=${CARGO_TARGET_DIR-target}/release
python=${TORCH_PYTHON-}
if [[ -z $python ]]; then
    python=.venv/torch/bin/python
    [[ -x $python ]] || python=python3
fi
checks=(--ignored --test-threads=1 --nocapture)

if ! command -v cargo >/dev/null; then
    # The newest of those that lie there.
    built=
    for file in "$target"/deps/cuda-*; do
        [[ -x $file && ($file -nt $built || -z $built) ]] && built=$file
    done
    [[ -n $built && -x $target/lstmtext && -x $target/lstmtext-libtorch ]] || {
        echo "gpu_check.sh: there is no cargo, and nothing was built elsewhere (cargo test --release --no-run)" >&2
        exit 1
    }
    if [[ -z ${LSTMTEXT_LIBTORCH-} ]]; then
        LSTMTEXT_LIBTORCH=$("$python" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parent)')
    fi
    export LSTMTEXT_LIBTORCH
fi

if [[ $what != bench ]]; then
    if command -v cargo >/dev/null; then
        make --no-print-directory setup build
        env -u LIBTORCH -u LIBTORCH_USE_PYTORCH cargo test --release --test cuda -- "${checks[@]}"
    else
        # The tests have libtorch in them and are not told by the program where it lies.
        LD_LIBRARY_PATH=$LSTMTEXT_LIBTORCH/lib:$LSTMTEXT_LIBTORCH${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} \
            "$built" "${checks[@]}"
    fi
fi

if [[ $what != tests ]]; then
    speed=("$python" benches/peers/speed.py --device cuda --lstmtext "$target/lstmtext" --torch "$python")
    "${speed[@]}" --until 0.88 --out data/peers/gpu-tf32.json
    "${speed[@]}" wide long --precision bf16 --out data/peers/gpu-bf16.json
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
fi
