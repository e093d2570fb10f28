# Everything runs from a clone on a machine with Python >= 3.11 (with venv), Rust, a C compiler
# and make. `uv` is used when it is on PATH.
PYTHON ?= python3
VENV ?= .venv
BENCH_VENV := bench/.venv
TORCH_VENV := .venv-torch
# The others are there for NumPy 1.24, which comes with Debian's torch.
TORCH_TESTS := tests/unit/test_torch.py tests/unit/test_sampling.py tests/unit/test_fetch.py \
	tests/unit/test_tracks.py
# A Python of the system that has torch (Debian's python3-torch is of /usr/bin/python3.11).
TORCH_PYTHON := $(shell for python in /usr/bin/python3.11 /usr/bin/python3; do \
	[ -x $$python ] && $$python -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("torch"))' \
	&& echo $$python && break; done)
BENCH_PROFILE := dist
EXTRAS := arrow,polars,report,dask,remote,test,lint
DOCS_EXTRAS := docs
PYTEST_ARGS ?=
FUZZ_SEED ?= 1
FUZZ_SECONDS ?= 14
FUZZ_INPUTS ?= 100000
comma := ,

BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)

# maturin asks pip (or uv) for the dependencies; both take the exact versions from here.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export UV_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# $(call make_venv,folder): an environment with maturin. $(call install,folder,what): pip or uv.
ifeq ($(UV),)
make_venv = $(PYTHON) -m venv $(1) && $(call install,$(1),maturin)
install = $(1)/bin/python -m pip install -q $(2)
else
make_venv = $(UV) venv -q --seed --allow-existing --python $(PYTHON) $(1) && $(call install,$(1),maturin)
install = $(UV) pip install -q --python $(1)/bin/python $(2)
endif

# $(call maturin,folder,arguments): build the native module into python/seqmill
maturin = VIRTUAL_ENV=$(CURDIR)/$(1) PATH="$(CURDIR)/$(1)/bin:$$PATH" \
	maturin develop $(if $(UV),--uv) $(2)

.PHONY: help build demo test test-torch fuzz lint format docs bench bench-page constraints clean

help:
	@echo "make demo    environment, build, then the five-minute tour (seqmill demo)"
	@echo "make test    environment, build, quick test suite (PYTEST_ARGS=... is passed on)"
	@echo "make build   environment and build"
	@echo "make lint    rustfmt, clippy, ruff, mypy"
	@echo "make format  let rustfmt and ruff rewrite the sources"
	@echo "make docs    the manual, into site/"
	@echo "make fuzz    mutated inputs for FUZZ_SECONDS (14) each, or FUZZ_INPUTS of them; FUZZ_SEED=1"
	@echo "make bench   build with fat LTO into $(BENCH_VENV), run every script of bench/, then write"
	@echo "             docs/benchmarks.md from the results (make bench-page: only that)"
	@echo "make clean   remove what the targets above made"

$(VENV)/.created:
	$(call make_venv,$(VENV))
	@touch $@

# Dependencies, the command and the first build; later builds only replace the native module.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/.created
	$(call maturin,$(VENV),--release --extras $(EXTRAS))
	@touch $@

build: $(VENV)/.installed
	$(call maturin,$(VENV),--release --skip-install)

demo: build
	$(BIN)/seqmill demo

test: build test-torch
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# With the torch of the system, where there is one: an environment of its own that sees the
# system's packages, and the package as it was just built.
test-torch: build
ifeq ($(TORCH_PYTHON),)
	@echo "make: no system Python with torch; tests/unit/test_torch.py is skipped"
else
	test -x $(TORCH_VENV)/bin/pytest || { \
		$(TORCH_PYTHON) -m venv --system-site-packages --without-pip $(TORCH_VENV) && \
		$(BIN)/python -m pip --python $(TORCH_VENV)/bin/python install -q pytest hypothesis; }
	PYTHONPATH=python $(TORCH_VENV)/bin/python -m pytest -p no:cacheprovider \
		-o addopts="-ra --import-mode=importlib" $(TORCH_TESTS)
endif

# At length: make fuzz FUZZ_INPUTS=100000 FUZZ_SECONDS=3600. Inputs that fail stay in target/fuzz.
fuzz:
	for kind in convert archives coverage fetch kmers repeats; do \
		cargo run --release -q -p seqmill-fuzz -- --kind $$kind --inputs $(FUZZ_INPUTS) \
			--seconds $(FUZZ_SECONDS) --seed $(FUZZ_SEED) --keep target/fuzz || exit 1; \
	done

lint: $(VENV)/.installed
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --release -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --concise seqmill._native

format: $(VENV)/.installed
	cargo fmt --all
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: build
	$(call maturin,$(VENV),--release --extras $(DOCS_EXTRAS))
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# An environment of its own: benchmarks measure what a wheel holds, not what a developer runs.
bench:
	test -x $(BENCH_VENV)/bin/maturin || { $(call make_venv,$(BENCH_VENV)); }
	rm -rf $(BENCH_VENV)/wheels
	$(BENCH_VENV)/bin/maturin build --profile $(BENCH_PROFILE) --out $(BENCH_VENV)/wheels
	wheel=$$(echo $(BENCH_VENV)/wheels/*.whl) && \
		$(call install,$(BENCH_VENV),"$$wheel[test]") && \
		$(call install,$(BENCH_VENV),--force-reinstall --no-deps "$$wheel")
	mkdir -p bench/results
	for script in bench/[!_]*.py; do \
		$(BENCH_VENV)/bin/python "$$script" || exit 1; \
	done
	$(BENCH_VENV)/bin/python bench/_page.py

# The benchmark page again, from the result files that are there.
bench-page:
	$(PYTHON) bench/_page.py

# Exact versions of the whole environment, without addresses, resolved anew.
constraints:
	rm -rf $(VENV)-constraints && $(PYTHON) -m venv $(VENV)-constraints
	: > constraints.txt
	$(VENV)-constraints/bin/python -m pip install -q maturin
	$(call maturin,$(VENV)-constraints,--release --extras $(EXTRAS)$(comma)$(DOCS_EXTRAS))
	$(VENV)-constraints/bin/python -m pip freeze --exclude seqmill > constraints.txt
	rm -rf $(VENV)-constraints

clean:
	rm -rf $(VENV) $(TORCH_VENV) $(BENCH_VENV) bench/results site target python/seqmill/_native*.so \
		.pytest_cache .mypy_cache .ruff_cache .hypothesis
