# Everything a newcomer needs, on a machine with only Python >= 3.10: `make demo`, then `make test`.
#
# PYTHON=python3.12 chooses the interpreter a new environment is made with; PEERS=1 lets `make perf`
# install the libraries it measures against (several hundred megabytes); PACKAGES="python3.10:oldest
# python3.13" are the environments in which `make packages` tries what it builds.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.DEFAULT_GOAL := demo
.PHONY: demo test check packages sweeps perf docs

NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 10))'
TOO_OLD = { echo "$(1) is no Python 3.10 or newer: $(2)" >&2; exit 1; }

# One stamp for each extra of pyproject.toml, so that the demo does not wait for the linters and a
# second call of anything starts at once; an extra brings the stamps of those it contains. A .venv
# that is already there is used as it is, unless its interpreter is gone.
INSIDE_dev := test examples docs
INSIDE_test := examples
INSIDE_docs := examples

$(VENV)/.has-%: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) $(NEW_ENOUGH) || \
		$(call TOO_OLD,$(PYTHON),name a newer one with PYTHON=)
	@test -x $(BIN)/python || { echo "creating $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@$(BIN)/python $(NEW_ENOUGH) || $(call TOO_OLD,$(VENV),remove it)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade
	@echo "installing ndtape[$*] into $(VENV)"
	@$(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check --editable ".[$*]"
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true # on all cores; pip would use one
	@touch $@ $(INSIDE_$*:%=$(VENV)/.has-%)

.PRECIOUS: $(VENV)/.has-%

demo: $(VENV)/.has-examples
	$(BIN)/python examples/demo.py

test: $(VENV)/.has-test
	$(BIN)/python -m pytest -n $(WORKERS)

check: $(VENV)/.has-dev
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy
	$(BIN)/python -m ndtape.codegen --check

packages: $(VENV)/.has-test
	$(BIN)/python tests/packages.py $(PACKAGES)

sweeps: $(VENV)/.has-dev
	$(BIN)/python -m ndtape.codegen

perf: $(VENV)/.has-$(if $(PEERS),peers,examples)
	$(BIN)/python perf/chain.py
	$(BIN)/python perf/small_tensors.py
	$(BIN)/python perf/replay.py
	$(BIN)/python perf/compiled.py
	$(BIN)/python perf/rnn.py
	$(BIN)/python perf/dlstm.py
	$(BIN)/python perf/passes.py
	$(BIN)/python perf/lanes.py
	$(BIN)/python perf/sparse.py
	$(BIN)/python perf/parallel.py
	$(BIN)/python perf/table.py
	$(BIN)/python perf/figures.py

# The site stands in docs/_build/html. What is generated is brought up to date first: the table of
# operations, the notebooks of the tutorial, the pictures of the benchmarks.
docs: $(VENV)/.has-docs
	$(BIN)/python -m ndtape.codegen --docs
	$(BIN)/python -m ndtape.scipy.special > docs/special.md
	$(BIN)/python docs/pages.py --notebooks
	$(BIN)/python perf/figures.py
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"
