# Two commands do everything on a fresh machine: `make spectrum` runs the main job, `make test` passes the tests.
# Both create .venv and install into it; set PYTHON to choose an interpreter (3.11 or newer).

PYTHON ?= python3
GPU_PYTHON ?= python3
SECONDS ?= 600
VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: spectrum test test-slow validation docs lint types wheel figures paper benchmark gpu clean

spectrum: $(VENV)/.installed  ## the Lyapunov spectrum of a trained LSTM driven by handwritten digits
	@mkdir -p output
	$(BIN)/lyapkit spectrum data/digits_rows_lstm.safetensors --inputs data/digits_rows_inputs.nc --transient 40 \
		--output output/digits.nc
	$(BIN)/lyapkit plot output/digits.nc

test: $(VENV)/.installed-dev  ## the tests, but for the slow ones
	@mkdir -p output
	$(BIN)/python -m pytest -n 2 -q -m 'not slow' --junitxml=output/tests.xml

test-slow: $(VENV)/.installed-dev  ## the slow ones: long runs against extended precision, mean-field theory, killed runs
	@mkdir -p output
	$(BIN)/python -m pytest -n 2 -q -m slow --junitxml=output/slow-tests.xml

validation: test test-slow  ## all of them, and what they found as the table in docs/validation.md
	$(BIN)/python tests/agreement.py output/tests.xml output/slow-tests.xml

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev  ## type annotations, by mypy
	$(BIN)/python -m mypy

docs: $(VENV)/.installed-dev  ## the documentation, its tutorials run, in output/docs/index.html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs output/docs
	@echo wrote output/docs/index.html

wheel: $(VENV)/.installed-dev  ## built, installed into a fresh environment, and used there
	$(BIN)/python .ci/wheel.py

figures: $(VENV)/.installed  ## all figures and tables of the paper, from data/
	$(BIN)/python figures/gallery.py --draw

paper: $(VENV)/.installed  ## recompute all their data (about 20 core hours; goes on where it stopped), and draw them
	$(BIN)/python figures/gallery.py --recompute

benchmark: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/lyapunov.py
	$(BIN)/python benchmarks/learning.py
	$(BIN)/python benchmarks/training.py

gpu:  ## on a machine with a GPU, with its own PyTorch: its tests, benchmarks, and trainings at the scale paper for SECONDS
	$(GPU_PYTHON) -m pytest -q -m gpu
	$(GPU_PYTHON) benchmarks/training.py --device cuda
	timeout 600 $(GPU_PYTHON) benchmarks/large.py --device cuda
	$(GPU_PYTHON) analyses/expressivity.py --scale paper --device cuda --time-budget $(SECONDS)

clean:
	rm -rf $(VENV) output

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lyapkit needs Python 3.11 or newer: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	@echo "installing lyapkit into $(VENV) (a few minutes the first time)"
	@$(INSTALL) --editable '.[figures]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(INSTALL) --editable '.[dev]'
	@touch $@
