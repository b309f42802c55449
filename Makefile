# `make train` and `make test` each do every missing step, from the downloads to the build, and skip what
# already exists. `make test` always needs libtorch; `make train` only if there is an NVIDIA driver, TORCH
# or LIBTORCH is set, or .libtorch already exists.

# Cargo always reads libtorch from .libtorch (see .cargo/config.toml), which scripts/setup.sh creates.
# Only that script reads LIBTORCH, so setting or unsetting it does not rebuild everything. MAKEFLAGS is
# unset because it names a job server that make does not share with cargo.
CARGO := env -u LIBTORCH -u LIBTORCH_USE_PYTORCH -u MAKEFLAGS cargo
BIN := $(or $(CARGO_TARGET_DIR),target)/release/lstmtext
DATA := data/movie_reviews.csv
VECTORS := data/glove.6B.50d.npy
BABI := data/babi/en
RUNS := runs/babi

.DEFAULT_GOAL := help
.PHONY: help train test build setup babi glove tensorboard fuzz gpu-check wheel dist deb packages clean prepare program
.NOTPARALLEL:

help: ## show this list
	@echo 'Usage: make TARGET [VARIABLE=VALUE]...'
	@echo
	@echo 'Targets:'
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14 | sed 's/^/  /'
	@echo
	@echo 'Variables:'
	@echo '  TORCH=cpu|cuda  libtorch to download; the default is cuda if there is an NVIDIA driver'
	@echo '  LIBTORCH=DIR    use your own libtorch instead'
	@echo '  PYTHON=EXE      Python to create .venv with'
	@echo '  ARGS=...        arguments for train, babi, gpu-check (all, tests or bench) and tensorboard'
	@echo
	@echo 'train and babi build lstmtext without libtorch, unless there is an NVIDIA driver, TORCH or'
	@echo 'LIBTORCH is set, or .libtorch already exists.'

train: NEEDS := $(if $(wildcard $(DATA)),,python)
train: program $(DATA) ## train a classifier of IMDB reviews with configs/imdb.yaml
	"$(BIN)" train configs/imdb.yaml $(ARGS)

test: setup build ## run all tests
	@$(CARGO) test --release --workspace

build: ## build target/release/lstmtext and lstmtext-torch
	@scripts/setup.sh libtorch
	@test -e "$(BIN)-torch" || echo 'building lstmtext and lstmtext-torch (the first build takes several minutes)...' >&2
	@$(CARGO) build --release --workspace

setup: prepare $(DATA) ## download libtorch, the Python tools and the IMDB reviews, and build nothing

prepare:
	@scripts/setup.sh

# Builds lstmtext, and lstmtext-torch if libtorch is needed. NEEDS lists more arguments for setup.sh.
program:
	@options=$$(scripts/setup.sh program $(NEEDS)) && $(CARGO) build --release $$options

$(DATA):
	@scripts/setup.sh python
	@.venv/bin/python -IB scripts/fetch_reviews.py $@

babi: program ## train on the 20 bAbI tasks in BABI=DIR, with runs in RUNS=DIR
	@test -e "$(BABI)" -o "$(BABI)" != data/babi/en || "$(BIN)" data fetch babi >&2
	@LSTMTEXT="$(abspath $(BIN))" scripts/babi.sh "$(BABI)" "$(RUNS)" $(ARGS)

glove: ## download GloVe word vectors to data/glove.6B.50d.npy and .txt
	@scripts/setup.sh tools
	@.venv/bin/python -IB scripts/fetch_vectors.py $(VECTORS)

tensorboard: ## show the curves in runs/
	@scripts/setup.sh tools
	.venv/bin/python -m tensorboard.main --logdir runs $(ARGS)

fuzz: ## read mutated files and requests for FUZZ_SECONDS (600) each, and fail at every system call
	@FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) $(CARGO) test --release -p lstmtext --test fuzz -- --nocapture
	@FUZZ_SECONDS=1 $(CARGO) test --release -p lstmtext --test cli faults:: -- --nocapture

gpu-check: ## test on a CUDA device and compare its speed with PyTorch's
	@scripts/gpu_check.sh $(ARGS)

wheel: ## build a wheel for pip in target/packages/wheels
	@scripts/packages.sh wheel

dist: ## build a tarball of lstmtext in target/packages
	@scripts/packages.sh dist

deb: ## build a Debian package in target/packages
	@scripts/packages.sh deb

packages: ## build and try all packages
	@scripts/packages.sh all

clean: ## remove target, .venv and .libtorch, but keep runs and data
	rm -rf target .venv .libtorch
