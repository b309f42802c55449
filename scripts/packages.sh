#!/usr/bin/env bash
# Builds packages for other Linux machines, of the processor of this one:
#
#   scripts/packages.sh wheel    a wheel for pip and uv, with the Python module, lstmtext and lstmtext-torch
#   scripts/packages.sh dist     a tarball with lstmtext, man pages, completions and example configurations
#   scripts/packages.sh deb      a Debian package with the same
#   scripts/packages.sh all      all of them, and test them
#
# They run with glibc 2.28 (2018) or newer, and are written to target/packages. PROFILE=quick builds slower programs in
# less time, to test this script, and writes to target/packages/quick.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

glibc=2.28
arch=$(uname -m)
target=$arch-unknown-linux-gnu
build_directory=$PWD/target/packages
profile=${PROFILE:-release}
bin=$build_directory/$target/$profile
out=$build_directory
[[ $profile == release ]] || out=$build_directory/$profile
version=$(sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)

note() { printf 'packages: %s\n' "$*" >&2; }
die() {
    note "$*"
    exit 1
}

case $arch in
x86_64 | aarch64) ;;
*) die "there are packages for x86_64 and aarch64, but this machine is $arch" ;;
esac

# --- Build ------------------------------------------------------------------

# Sets the variables with which cargo and maturin build for the older glibc. Zig has the symbols of every
# version of glibc. C++ is compiled with g++, because libtorch needs its libstdc++.
use_zig() {
    local tools=$out/tools triple=${target//-/_} zig
    [[ -z ${built:-} ]] || return 0
    scripts/setup.sh packages
    mkdir -p "$tools"
    zig=$(.venv/bin/python -c 'import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), "zig"))')
    cat >"$tools/cc" <<END
#!/bin/sh
export CARGO_ZIGBUILD_ZIG_PATH='$zig'
exec '$PWD/.venv/bin/cargo-zigbuild' zig cc -- -fno-sanitize=all -target $arch-linux-gnu.$glibc "\$@"
END
    chmod +x "$tools/cc"
    export "CC_$triple=$tools/cc" "CXX_$triple=${CXX:-g++}" CXXSTDLIB=
    export "CARGO_TARGET_${triple^^}_LINKER=$tools/cc"
    export LSTMTEXT_PACKAGED=1 CARGO_TARGET_DIR=$build_directory
    unset LIBTORCH LIBTORCH_USE_PYTORCH LSTMTEXT_LIBTORCH MAKEFLAGS
}

# Installs cargo-deb for this system, so before use_zig. An unoptimized one is quick to build.
install_cargo_deb() {
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --root target/tools cargo-deb@3.8.0
}

# build PACKAGE...: builds lstmtext, and lstmtext-torch if it is named, in one go, so that they share the library.
build() {
    local -a packages=()
    local package name compat=$out/tools/glibc_compat.o libraries=$out/tools/lib
    [[ -z ${built:-} ]] || return 0
    if [[ $* == *lstmtext-torch* ]]; then
        scripts/setup.sh libtorch
        "${CXX:-g++}" -O2 -fPIC -c packaging/glibc_compat.cpp -o "$compat"
        # Nothing is needed from two libraries that torch-sys names, so the linker drops empty ones: PyTorch has
        # its own OpenMP, and libtorch.so would only load libtorch_cuda.so where there is no CUDA device.
        mkdir -p "$libraries"
        for name in gomp torch; do
            "$out/tools/cc" -shared -o "$libraries/lib$name.so" -x c /dev/null
        done
        # Zig would link its own libc++ in place of -lstdc++. The libraries of this system need a newer glibc, but
        # the program does not.
        LSTMTEXT_LINK_ARGS=$(printf '%s\n' "-L$libraries" "$compat" "$(library libstdc++.so)" \
            "$(library libgcc_s.so.1)" -Wl,--allow-shlib-undefined)
        export LSTMTEXT_LINK_ARGS
    fi
    for package in "$@"; do packages+=(--package "$package"); done
    note "building $* for glibc $glibc (the first build takes several minutes)..."
    cargo build --profile "$profile" --locked --target "$target" "${packages[@]}"
    for package in "$@"; do check_symbols "$bin/$package"; done
}

# library NAME: prints the path of a library of the C++ compiler.
library() { "${CXX:-g++}" "-print-file-name=$1"; }

# check_symbols FILE: fails if a program or library needs newer libraries than those of manylinux_2_28.
check_symbols() {
    local limits='GLIBC 2.28 GLIBCXX 3.4.25 CXXABI 1.3.11 GCC 8.0.0' symbols name limit newest
    symbols=$(objdump -T "$1" | grep -oE '(GLIBC|GLIBCXX|CXXABI|GCC)_[0-9.]+' | sort -u)
    set -- $limits "$1"
    while (($# > 1)); do
        name=$1 limit=$2
        shift 2
        newest=$(sed -n "s/^${name}_//p" <<<"$symbols" | sort -V | tail -n 1)
        [[ $(printf '%s\n' "$newest" "$limit" | sort -V | tail -n 1) == "$limit" ]] ||
            die "${!#} needs ${name}_$newest, but $limit is the newest that manylinux_2_28 has"
    done
}

# write_pages DIRECTORY: writes man pages and completions to its subdirectories man, bash-completion, zsh and fish.
write_pages() {
    "$bin/lstmtext" man --to "$1/man/man1"
    mkdir -p "$1"/{bash-completion/completions,zsh/site-functions,fish/vendor_completions.d}
    "$bin/lstmtext" completions bash >"$1/bash-completion/completions/lstmtext"
    "$bin/lstmtext" completions zsh >"$1/zsh/site-functions/_lstmtext"
    "$bin/lstmtext" completions fish >"$1/fish/vendor_completions.d/lstmtext.fish"
}

# --- Packages ---------------------------------------------------------------

wheel() {
    local data=python/lstmtext.data
    use_zig
    build lstmtext lstmtext-torch
    rm -rf "$data" "$out/wheels"
    mkdir -p "$data/scripts"
    cp "$bin/lstmtext" "$bin/lstmtext-torch" "$data/scripts"
    strip "$data"/scripts/*
    write_pages "$data/data/share"
    note "building the Python module..."
    .venv/bin/maturin build --profile "$profile" --locked --quiet --manifest-path python/Cargo.toml --target "$target" \
        --compatibility "manylinux_${glibc/./_}" --out "$out/wheels"
    rm -rf "$data"
    ls "$out"/wheels/*.whl
}

# Name of the tarball and of the directory in it.
tarball=lstmtext-$version-$target

# stage DIRECTORY: lays out lstmtext, its pages, licenses and example configurations.
stage() {
    mkdir -p "$1/bin" "$1/share/doc/lstmtext"
    cp "$bin/lstmtext" "$1/bin"
    strip "$1/bin/lstmtext"
    write_pages "$1/share"
    cp README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$1/share/doc/lstmtext"
    cp -r configs "$1/share/doc/lstmtext"
}

dist() {
    local stage=$out/stage time
    use_zig
    build lstmtext
    rm -rf "$stage" "$out"/lstmtext-*.tar.gz
    stage "$stage/$tarball"
    # The same files give the same tarball.
    time=$(git log -1 --format=%ct 2>/dev/null || date +%s)
    tar --create --sort=name --owner=0 --group=0 --numeric-owner --mode='u=rwX,go=rX' --mtime="@$time" \
        --directory="$stage" "$tarball" | gzip -9n >"$out/$tarball.tar.gz"
    rm -rf "$stage"
    echo "$out/$tarball.tar.gz"
}

deb() {
    # Cargo.toml names the directory.
    local stage=$build_directory/deb
    [[ -n ${built:-} ]] || install_cargo_deb
    use_zig
    build lstmtext
    rm -rf "$stage" "$out"/*.deb
    stage "$stage"
    gzip -9n "$stage"/share/man/man1/*.1
    target/tools/bin/cargo-deb --quiet --no-build --no-strip \
        --package lstmtext --target "$target" --output "$out"
    rm -rf "$stage"
}

# --- Check ------------------------------------------------------------------

all() {
    install_cargo_deb
    use_zig
    build lstmtext lstmtext-torch
    built=1
    wheel
    dist
    deb
    check
}

check() {
    local scratch=$out/check
    rm -rf "$scratch"
    mkdir -p "$scratch"
    check_wheel "$scratch/wheel"
    check_tarball "$scratch/dist"
    check_deb "$scratch/deb"
    check_image "$scratch/image"
    rm -rf "$scratch"
    note "all packages work"
}

# only PATTERN: prints the only file with this name.
only() {
    local files
    mapfile -t files < <(compgen -G "$out/$1")
    ((${#files[@]} == 1)) || die "expected one $1 in target/packages, found ${#files[@]}; build it first"
    echo "${files[0]}"
}

# write_reviews FILE: writes 200 texts of two classes.
write_reviews() {
    local index
    echo text,label
    for index in {1..100}; do
        echo "\"a moving, superb film $index\",positive"
        echo "\"what a dull waste of time $index\",negative"
    done
} >"$1"

# try_program PROGRAM DIRECTORY: trains on a CSV file, predicts and serves.
try_program() {
    local program=$1 directory=$2 port='' pid answer
    write_reviews "$directory/reviews.csv"
    "$program" train "$directory/reviews.csv" --out "$directory/run" --set train.epochs=2 >/dev/null 2>"$directory/log" ||
        die "$program does not train: $(cat "$directory/log")"
    answer=$("$program" predict "$directory/run" "a superb film" --format jsonl)
    [[ $answer == *'"label":"positive"'* ]] || die "$program predicts: $answer"
    "$program" serve "$directory/run" --port 0 >"$directory/serve.log" 2>&1 &
    pid=$!
    for _ in {1..100}; do
        port=$(sed -n 's/.*http:\/\/127.0.0.1:\([0-9]*\).*/\1/p' "$directory/serve.log" | head -n 1)
        [[ -z $port ]] || break
        sleep 0.1
    done
    answer=$(curl -sS "http://127.0.0.1:$port/predict" -H 'Content-Type: application/json' \
        -d '{"texts": ["what a dull waste"]}' 2>&1) || true
    kill "$pid"
    wait "$pid" || true
    [[ $answer == *negative* ]] || die "$program serves: $answer $(cat "$directory/serve.log")"
}

# The wheel in a new environment, first without libtorch.
check_wheel() {
    local venv=$1/venv site library
    mkdir -p "$1"
    "$PWD/.venv/bin/python" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$(only 'wheels/*.whl')"
    try_program "$venv/bin/lstmtext" "$1"
    [[ -e $venv/share/man/man1/lstmtext-train.1 && -e $venv/share/bash-completion/completions/lstmtext ]] ||
        die "the wheel has no man pages or completions"
    if "$venv/bin/lstmtext" train "$1/reviews.csv" --out "$1/torch" --set backend=libtorch 2>"$1/error"; then
        die "the wheel found a libtorch in another environment"
    fi
    grep -q "install torch==.* in the Python environment" "$1/error" || die "unclear error: $(cat "$1/error")"
    note "the wheel trains and serves without libtorch"
    # The libtorch of the checkout, with what belongs to it, in place of a download.
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    mkdir -p "$site/torch/lib"
    echo "$(cat .libtorch/build-version)" >"$site/torch/build-version"
    for library in .libtorch/lib/*; do
        ln -s "$(readlink -f "$library")" "$site/torch/lib/"
    done
    "$venv/bin/lstmtext" train "$1/reviews.csv" --out "$1/torch" --set backend=libtorch --set train.epochs=1 >/dev/null 2>"$1/log" ||
        die "the wheel does not train with libtorch: $(cat "$1/log")"
    note "the wheel trains with libtorch"
    "$venv/bin/pip" install --quiet --disable-pip-version-check scikit-learn pandas
    "$venv/bin/python" python/tests/test_lstmtext.py --quiet || die "the Python module fails"
    note "the Python module works"
}

check_tarball() {
    mkdir -p "$1"
    tar --extract --gzip --file "$(only "lstmtext-*.tar.gz")" --directory "$1"
    try_program "$1/$tarball/bin/lstmtext" "$1"
    [[ -e $1/$tarball/share/man/man1/lstmtext.1 && -e $1/$tarball/share/doc/lstmtext/configs/imdb.yaml ]] ||
        die "the tarball has no man pages or configurations"
    note "the tarball works"
}

# Installs and removes the Debian package in a directory of its own.
check_deb() {
    local root=$1/root
    if ! command -v dpkg >/dev/null; then
        note "no dpkg: the Debian package is not checked"
        return
    fi
    mkdir -p "$root"/var/lib/dpkg/{info,updates}
    touch "$root"/var/lib/dpkg/{status,available}
    local -a dpkg=(dpkg --root="$root" --force-not-root --force-depends --force-bad-path --force-script-chrootless)
    "${dpkg[@]}" --install "$(only '*.deb')" >"$1/log" 2>&1 || die "dpkg does not install: $(cat "$1/log")"
    try_program "$root/usr/bin/lstmtext" "$1"
    [[ -e $root/usr/share/man/man1/lstmtext.1.gz ]] || die "the Debian package has no man pages"
    "${dpkg[@]}" --purge lstmtext >"$1/log" 2>&1 || die "dpkg does not remove: $(cat "$1/log")"
    [[ ! -e $root/usr || -z $(find "$root/usr" -type f -o -type l) ]] || die "the Debian package leaves files behind"
    note "the Debian package works"
}

# Builds both images, on a Debian of its own in place of those of a registry.
check_image() {
    local container
    if [[ $(id -u) != 0 ]] || ! command -v buildah >/dev/null || ! command -v debootstrap >/dev/null; then
        note "no buildah and debootstrap, or not root: the images are not checked"
        return
    fi
    mkdir -p "$1/data"
    debootstrap --variant=minbase bookworm "$1/debian" >"$1/log" 2>&1 || die "debootstrap fails: $(tail "$1/log")"
    export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
    # image COMMAND...: buildah with storage of its own.
    image() { buildah --root "$scratch/image/storage" --runroot "$scratch/image/run" "$@"; }
    container=$(image from scratch)
    image copy --quiet "$container" "$1/debian" / >/dev/null
    image commit --quiet "$container" localhost/debian >/dev/null
    write_reviews "$1/data/reviews.csv"
    build_image cpu --build-arg BASE=localhost/debian
    train_in_image cpu native "$1"
    check_cuda_image "$1"
    image rm --all >/dev/null
    note "the images work"
}

# build_image STAGE ARGUMENT...: builds an image of the Dockerfile.
build_image() {
    image build --quiet --build-arg "PACKAGES=${out#"$PWD/"}" --target "$1" --tag "localhost/lstmtext:$1" "${@:2}" . >/dev/null ||
        die "the Dockerfile does not build the stage $1"
}

# train_in_image STAGE BACKEND DIRECTORY ARGUMENT...: trains in a container; the arguments are those of `buildah run`.
train_in_image() {
    local container
    container=$(image from "localhost/lstmtext:$1")
    image run --volume "$3/data:/data" "${@:4}" "$container" -- \
        lstmtext train reviews.csv --out "$1" --set train.epochs=1 --set "backend=$2" >/dev/null 2>"$3/log" ||
        die "the image $1 does not train: $(cat "$3/log")"
    [[ -e $3/data/$1/best/checkpoint.json ]] || die "the image $1 leaves no run behind"
}

# The image with CUDA, but with empty packages in place of NumPy and of PyTorch, whose libraries have gigabytes, and
# with the libtorch of the checkout.
check_cuda_image() {
    local container torch
    container=$(image from localhost/debian)
    image run "$container" -- sh -c 'apt-get update && apt-get install --yes --no-install-recommends python3-pip' \
        >"$1/log" 2>&1 || die "apt-get fails: $(tail "$1/log")"
    image config --env PIP_BREAK_SYSTEM_PACKAGES=1 --env PIP_NO_INDEX=1 --env PIP_FIND_LINKS=/wheels "$container"
    image commit --quiet "$container" localhost/python >/dev/null
    mkdir "$1/wheels"
    write_empty_wheel "$1/wheels" numpy 2.0.0
    write_empty_wheel "$1/wheels" torch "$(sed 's/+.*//; q' .libtorch/build-version)"
    build_image cuda --build-arg PYTHON=localhost/python --volume "$1/wheels:/wheels:ro"
    cp --recursive --dereference .libtorch/lib "$1/lib"
    container=$(image from localhost/lstmtext:cuda)
    torch=$(image run "$container" -- sh -c 'echo /usr/local/lib/python3*/*-packages/torch')
    train_in_image cuda libtorch "$1" --volume "$1/lib:$torch/lib:ro"
}

# write_empty_wheel DIRECTORY NAME VERSION
write_empty_wheel() {
    .venv/bin/python - "$@" <<'END'
import sys
from zipfile import ZipFile

directory, name, version = sys.argv[1:]
info = f"{name}-{version}.dist-info"
with ZipFile(f"{directory}/{name}-{version}-py3-none-any.whl", "w") as wheel:
    wheel.writestr(f"{name}/version.py", f"__version__ = '{version}'\n")
    wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(f"{info}/RECORD", "")
END
}

[[ $# == 1 ]] || die "usage: scripts/packages.sh wheel|dist|deb|all"
case $1 in
wheel | dist | deb | all) "$1" ;;
*) die "usage: scripts/packages.sh wheel|dist|deb|all" ;;
esac
