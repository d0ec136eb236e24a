# Needs Python (3.11 or newer) and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo checkpoint test test-slow lint format clean

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

demo: $(READY)
	$(BIN)/python -m clipseg_ray.demo

# The checkpoint that ships: scenes, two stages of training, scores on scenes that training never saw. Each step goes on
# where it stopped; `make clean` forgets them.
WEIGHTS := clipseg_ray/demo/weights
SCENES := $(BIN)/python -m clipseg_ray.demo.shards build/scenes
checkpoint: $(READY)
	$(SCENES)/train --scenes 15000 --seed 0
	$(SCENES)/tune --scenes 200 --seed 10000000
	$(SCENES)/test --scenes 500 --seed 20000000
	$(SCENES)/held-out --scenes 200 --seed 21000000 --held-out-pairs
	$(BIN)/clipseg-ray train configs/train-scenes-towers.yaml
	$(BIN)/clipseg-ray train configs/train-scenes.yaml
	$(BIN)/clipseg-ray evaluate configs/evaluate-demo.yaml -s model.checkpoint=build/small/model -s truth.test=build/scenes/test/ \
		-s truth.tune=build/scenes/tune/ -s truth.held-out=build/scenes/held-out/ -s output.url=build/evaluation
	mkdir -p $(WEIGHTS)
	cp build/small/model/* build/small/log.jsonl build/small/curve.png build/evaluation/evaluation.* $(WEIGHTS)/

test: $(READY)
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo-output build
