# make setup | demo | check | test | bench | docs; CI runs these targets and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The examples keep their ledger and the measured ceilings beside their runs: removing runs/ starts afresh.
export FARTHING_HOME ?= $(CURDIR)/runs/state

.PHONY: setup demo examples check test bench docs

setup: $(READY)
	@$(BIN)/python -c "import torch; print('torch', torch.__version__, '(CPU build)' if torch.version.cuda is None else '(CUDA build)')"

$(READY): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

# Exit code 3 says that nothing keeps floor and latency at once: an answer with a report, which a busy machine may give.
demo: setup
	$(BIN)/farthing optimize examples/minilm.toml --out runs/minilm --resume || test $$? -eq 3

examples: demo
	$(BIN)/farthing optimize examples/digits.toml --out runs/digits --resume || test $$? -eq 3
	$(BIN)/farthing optimize examples/classifier.toml --out runs/classifier --resume || test $$? -eq 3
	$(BIN)/farthing optimize examples/edge.toml --out runs/edge --resume || test $$? -eq 3

check: setup
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_shape.py

test: setup
	$(BIN)/python -m pytest -q

bench: setup
	@echo "Each claim has its own script; see benchmarks/README.md. For example:"
	@echo "  $(BIN)/python benchmarks/promise.py"

docs: setup
	$(BIN)/python -m pytest -q tests/spec/test_document.py tests/reporting/test_record.py
