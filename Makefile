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
OUT = $(or $(OUTPUT_DIR),$(shell $(BIN)/python -c "import tasks; print(tasks.ExportModel().output_dir)"))
MODEL = $(OUT)/current
HOW := $(if $(SCHEDULER),--scheduler-url "$(SCHEDULER)") $(OPTIONS)

.PHONY: help setup train split bottlenecks head evaluate export predict luigid nightly rollback history \
	pages prune fortnight lint test test-fast bench \
	bench-manifest clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

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
	@mkdir -p data/luigid
	$(BIN)/luigid --address 127.0.0.1 --port 8082

nightly: setup ## what cron or systemd runs: train, and promote the model if it passes the gate
	@$(BIN)/python -m tasks.nightly $(DATA) $(MODULE) $(HOW)

rollback: setup ## go back to the model that was current before
	@$(BIN)/python -m pipeline.promotion --output-dir "$(OUT)"

history: setup ## print what became of each night, and write the page with the trend
	@$(BIN)/python -m pipeline.trend --output-dir "$(OUT)"

pages: setup ## show the output folder's pages on http://127.0.0.1:8083
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory "$(OUT)" 8083

prune: setup ## say what earlier runs left that can go; DELETE=1 deletes it
	@$(LUIGI) PruneRuns $(if $(OUTPUT_DIR),--output-dir "$(OUTPUT_DIR)") $(if $(DELETE),--delete) $(OPTIONS)

lint: setup ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: setup ## run every test
	$(BIN)/pytest

test-fast: setup ## run the tests that take no more than a few seconds each
	$(BIN)/pytest -m "not slow"

fortnight: setup ## simulate fourteen nights, with their mishaps, and print what became of them
	$(BIN)/pytest -q -s tests/test_fortnight.py

bench: setup ## measure the bottleneck stage, on IMAGE_DIR or on photos made for it
	$(BIN)/python -m benchmarks.bottlenecks $(if $(IMAGE_DIR),--image-dir "$(IMAGE_DIR)")

bench-manifest: setup ## measure the manifest of up to a million photos
	$(BIN)/python -m benchmarks.manifest

clean: ## delete what was computed from photos, the samples and the caches; keeps .venv
	rm -rf data/output data/digits .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find pipeline tasks tests -name __pycache__ -type d -prune -exec rm -rf {} +
