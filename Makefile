# Needs Python (3.11 or newer) and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CLIENTS := .venv-clients

.PHONY: demo test test-slow test-clients lint format docs checkpoint clean

$(READY): requirements.lock requirements-dev.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

# Other people's tools (Spark, which wants Java), in an environment of their own: none of them may change what we run on.
$(CLIENTS)/.ready: requirements.lock requirements-clients.lock pyproject.toml
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-clients.lock
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(CLIENTS)/.ready

demo: $(READY)
	$(BIN)/python -m clipseg_ray.demo

test: $(READY)
	$(BIN)/python -m pytest -m "not slow and not clients"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

test-clients: $(CLIENTS)/.ready
	$(CLIENTS)/bin/python -m pytest -m clients tests/clients

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# docs/configuration.md, from the docstrings of the configurations.
docs: $(READY)
	$(BIN)/python -m tests.configuration_page > docs/configuration.md

# The small checkpoint inside the package, from nothing: an hour and a half on two cores. A stage that was interrupted goes on.
SCENES := build/scenes
SHIPPED := clipseg_ray/model/shipped/scenes
checkpoint: $(READY)
	test -d $(SCENES)/train || $(BIN)/python -m clipseg_ray.demo.shards $(SCENES)/train --scenes 30000 --seed 0
	test -d $(SCENES)/validation || $(BIN)/python -m clipseg_ray.demo.shards $(SCENES)/validation --scenes 200 --seed 10000000
	test -d $(SCENES)/test || $(BIN)/python -m clipseg_ray.demo.shards $(SCENES)/test --scenes 500 --seed 20000000
	test -d $(SCENES)/held-out || \
	  $(BIN)/python -m clipseg_ray.demo.shards $(SCENES)/held-out --scenes 200 --seed 21000000 --held-out-pairs
	$(BIN)/clipseg-ray train configs/train-scenes-towers.yaml
	$(BIN)/clipseg-ray train configs/train-scenes.yaml
	mkdir -p $(SHIPPED)
	cp build/small/model/* $(SHIPPED)/
	cp build/small/log.jsonl build/small/curve.png docs/training/
	cp build/towers/log.jsonl docs/training/towers.jsonl
	$(BIN)/clipseg-ray evaluate configs/evaluate-scenes.yaml
	cp build/evaluation/evaluation.md docs/training/

clean:
	rm -rf $(VENV) $(CLIENTS) demo-output
