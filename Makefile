# make help lists the targets. Options: IMAGE_DIR, OUTPUT_DIR, SPLIT_FILE, TFHUB_MODULE, and any
# other as OPTIONS="--l2 0.01 --precision float32"; SCHEDULER=http://127.0.0.1:8082 runs through
# the luigid that `make luigid` starts.
PYTHON ?= python3
IMAGE_DIR ?=
OUTPUT_DIR ?=
SPLIT_FILE ?=
TFHUB_MODULE ?=
SCHEDULER ?=
OPTIONS ?=

BIN := .venv/bin
DATA := $(if $(OUTPUT_DIR),--output-dir "$(OUTPUT_DIR)") $(if $(IMAGE_DIR),--image-dir "$(IMAGE_DIR)") \
	$(if $(SPLIT_FILE),--split-file "$(SPLIT_FILE)")
MODULE := $(if $(TFHUB_MODULE),--tfhub-module "$(TFHUB_MODULE)")
LUIGI := $(BIN)/luigi --module tasks
MODEL = $(or $(OUTPUT_DIR),$(shell $(BIN)/python -c "import tasks; print(tasks.ExportModel().output_dir)"))/current
HOW := $(if $(SCHEDULER),--scheduler-url "$(SCHEDULER)") $(OPTIONS)

.PHONY: help setup train split bottlenecks head evaluate export predict luigid lint test test-fast torture bench \
	bench-augmentation bench-manifest clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

setup: .venv/installed ## make .venv with all that is needed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

train: setup ## everything: from photos to an exported model
	@$(LUIGI) ExportModel $(DATA) $(MODULE) $(HOW)
	@echo "The model is in $(MODEL)"

split: setup ## find the photos and split them
	@$(LUIGI) SplitDataset $(DATA) $(HOW)

bottlenecks: setup ## turn photos into vectors, whatever comes before included
	@$(LUIGI) ComputeBottlenecks $(DATA) $(MODULE) $(HOW)

head: setup ## train the softmax layer, whatever comes before included
	@$(LUIGI) TrainHead $(DATA) $(MODULE) $(HOW)

evaluate: setup ## measure it on the test split, whatever comes before included
	@$(LUIGI) EvaluateModel $(DATA) $(MODULE) $(HOW)

export: train ## the same as train

predict: $(if $(IMAGE)$(filter-out predict,$(MAKECMDGOALS)),,$(error say which photo: make predict IMAGE=photo.jpg)) setup ## print the five best labels for IMAGE=photo.jpg
	@$(BIN)/python -m pipeline.predict --model "$(MODEL)" "$(IMAGE)"

luigid: setup ## start Luigi's scheduler with its page on http://127.0.0.1:8082
	$(BIN)/luigid --address 127.0.0.1 --port 8082

lint: setup ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: setup ## run every test but those of make torture
	$(BIN)/pytest -m "not torture"

test-fast: setup ## run the tests that take no more than a few seconds each
	$(BIN)/pytest -m "not slow and not torture"

torture: setup ## kill, starve and mislead the pipeline for many minutes, and print what came of it
	$(BIN)/pytest -q -s tests/torture

bench: setup ## measure the bottleneck stage, on IMAGE_DIR or on photos made for it
	$(BIN)/python -m benchmarks.bottlenecks $(if $(IMAGE_DIR),--image-dir "$(IMAGE_DIR)")

bench-augmentation: setup ## measure what distorted copies bring, on IMAGE_DIR or the sample photos
	$(BIN)/python -m benchmarks.augmentation $(if $(IMAGE_DIR),--image-dir "$(IMAGE_DIR)")

bench-manifest: setup ## measure the manifest of up to a million photos
	$(BIN)/python -m benchmarks.manifest

clean: ## delete what was computed from photos, the samples and the caches; keeps .venv
	rm -rf data/output data/digits .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find pipeline tasks tests -name __pycache__ -type d -prune -exec rm -rf {} +
