# `make pipeline PIPE=spot_glue.yaml [PROFILE=files] [DEVICE=cuda] [ARGS='--set vars.seeds=[0]']`
PIPE    ?= spot_glue.yaml
PROFILE ?=
DEVICE  ?=
ARGS    ?=
JOB     ?=

# One build serves the program and its tests: the dev profile is optimised wherever something is computed (Cargo.toml).
SPOT  = $(or $(CARGO_TARGET_DIR),target)/debug/spot
FLAGS = $(if $(PROFILE),--profile $(PROFILE)) $(ARGS)

.PHONY: all pipeline status explain graph audit report build test lint bench

all: test

# Cargo is asked each time, which takes a tenth of a second when nothing changed.
build:
	@cargo build --locked --quiet $(if $(filter cuda%,$(DEVICE)),--features cuda)

pipeline: build
	@$(SPOT) run $(PIPE) $(if $(DEVICE),--device $(DEVICE)) $(FLAGS)

status: build
	@$(SPOT) status $(PIPE) $(FLAGS)

# make explain PIPE=spot_glue.yaml JOB='source[w_nli,0]'
explain: build
	@$(SPOT) explain $(PIPE) '$(JOB)' $(FLAGS)

graph: build
	@$(SPOT) graph $(PIPE) $(FLAGS)

audit: build
	@$(SPOT) audit $(PIPE) $(FLAGS)

report: build
	@$(SPOT) report $(PIPE) $(FLAGS)

test:
	@if command -v cargo-nextest >/dev/null; then cargo nextest run --locked; else cargo test --locked; fi

lint:
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings

bench:
	cargo bench --profile dev --locked --bench tuning
