# Needs Python (3.11 or newer) and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow lint format checkpoint clean

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

demo: $(READY)
	$(BIN)/python -m clipseg_ray.demo

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder -m "not slow"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

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
	rm -rf $(VENV) demo-output
