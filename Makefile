# Needs Python (3.11 or newer) and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CLIENTS := .venv-clients

.PHONY: demo paper test test-slow test-ray test-clients test-readme lint format docs checkpoint ccp clean

.PHONY: install
install: $(READY)

$(READY): requirements.lock requirements-dev.lock pyproject.toml
	@echo "Installing into $(VENV): some minutes, 3 GB"
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
	$(BIN)/clipseg-ray demo

# The CLIPSeg paper's tables with a checkpoint, those whose data is in DATA; of the others it says what is missing:
# make paper DATA=/data CHECKPOINT=rd64-uni
TABLES ?= $(wildcard configs/paper/*.yaml)
OUTPUT ?= build/paper
paper: $(READY)
	$(if $(DATA),,$(error DATA is the folder with the releases: make paper DATA=/data CHECKPOINT=rd64-uni))
	$(if $(CHECKPOINT),,$(error CHECKPOINT is what is measured: make paper DATA=/data CHECKPOINT=rd64-uni))
	$(BIN)/clipseg-ray paper $(TABLES) --data '$(DATA)' --checkpoint '$(CHECKPOINT)' --output '$(OUTPUT)'

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not slow and not clients and not readme"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

# Ray's private names once more, at the newest Ray that the pins allow: the lock has the oldest. That environment has
# the packages of the other one, and before them what this Ray wants in a newer version.
NEWEST := .venv-ray
PINNED := 'import tomllib; print(*(d for d in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"] if d.startswith("ray")))'
test-ray: $(READY)
	$(PYTHON) -m venv $(NEWEST)
	$(BIN)/python -c 'import site, sys; print("import site; site.addsitedir(%r)" % site.getsitepackages()[0])' \
	  > "$$($(NEWEST)/bin/python -c 'import site; print(site.getsitepackages()[0])')/locked.pth"
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "$$($(BIN)/python -c $(PINNED))"
	$(NEWEST)/bin/python -c 'import ray; print("Ray", ray.__version__)'
	$(NEWEST)/bin/python -m pytest tests/cluster/test_cluster_ray_internals.py tests/pipeline/test_pipeline_graph.py

# What README and docs print, held against the dataset that the demo leaves.
test-readme: demo
	$(BIN)/python -m pytest -m readme tests/readme

test-clients: $(CLIENTS)/.ready
	$(CLIENTS)/bin/python -m pytest -m clients tests/clients

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# docs/configuration.md, from the docstrings of the configurations.
docs: $(READY)
	$(BIN)/python -m tests.configuration_page

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

# Towers and decoder from nothing on photographs, and how good they are: make ccp CCP=FOLDER, an hour on one core.
# FOLDER is Clothing Co-Parsing: images/, labels/ (index PNGs of the same names) and classes.json. What was done is not done again.
CCP ?= FOLDER
ccp: $(READY)
	@test -d $(CCP)/images || { echo "$(CCP)/images: not there; make ccp CCP=FOLDER wants Clothing Co-Parsing there" >&2; exit 2; }
	for part in train test tune; do \
	  $(BIN)/clipseg-ray truth masks $(CCP) build/ccp/$$part --names configs/ccp/$$part.txt || exit; done
	$(BIN)/clipseg-ray train configs/ccp/towers.yaml
	$(BIN)/clipseg-ray train configs/ccp/train.yaml
	$(BIN)/clipseg-ray evaluate configs/ccp/evaluate.yaml

clean:
	rm -rf $(VENV) $(NEWEST) $(CLIENTS) demo-output
