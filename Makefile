# Everything a person types is what CI runs.
#   make demo   environment, installation, the quick start
#   make test   environment, installation, every check that is quick
#   make soak   the long ones: kill -9 at thirty drawn moments, crashes at every place, a million points, every corpus
#
# TORCH picks the build of PyTorch, for example
#   make demo TORCH="torch==2.13.0 --index-url <your index>"
PYTHON ?= python3
VENV   ?= .venv
TORCH  ?= torch==2.13.0
BIN    := $(VENV)/bin
export MLFLOW_DISABLE_TELEMETRY = true
export NO_ALBUMENTATIONS_UPDATE = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: demo test soak install lint unit lock clean

demo: install
	$(BIN)/nertrail run config/quickstart.yaml

test: install lint unit

install: $(VENV)/.installed

# torch first and alone: with it in place, nothing later pulls another build.
$(VENV)/.installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit:
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not soak"

# What shares an expensive beginning stays together (xdist_group), everything else goes where there is room.
soak: install
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m soak --durations=15

lock:
	@echo '# Written by `make lock`: what the development environment holds. Installed with pip.' > requirements.lock
	$(BIN)/python -m pip freeze --all --exclude-editable | sed -e 's/^torch==.*/torch==2.13.0/' | grep -v -E '^(pip|wheel)==' >> requirements.lock

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
