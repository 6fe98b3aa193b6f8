# make help lists the targets. Options: IMAGE_DIR, OUTPUT_DIR, SPLIT_FILE, TFHUB_MODULE,
# SUMMARIES_DIR, and any other as OPTIONS="--l2 0.01 --precision float32";
# SCHEDULER=http://127.0.0.1:8082 runs through the luigid that `make luigid` starts.
PYTHON ?= python3
IMAGE_DIR ?=
DATASET ?=
OUTPUT_DIR ?=
SPLIT_FILE ?=
TFHUB_MODULE ?=
SUMMARIES_DIR ?=
SCHEDULER ?=
OPTIONS ?=

BIN := .venv/bin
DATA := $(if $(OUTPUT_DIR),--output-dir "$(OUTPUT_DIR)") $(if $(IMAGE_DIR),--image-dir "$(IMAGE_DIR)") \
	$(if $(DATASET),--dataset "$(DATASET)") $(if $(SPLIT_FILE),--split-file "$(SPLIT_FILE)")
MODULE := $(if $(TFHUB_MODULE),--tfhub-module "$(TFHUB_MODULE)")
LUIGI := $(BIN)/luigi --module tasks
# The local output folder: that of OUTPUT_DIR or luigi.cfg, or the mirror of a URL; asked for once.
FOLDER = $(eval FOLDER := $(shell $(BIN)/python -m tasks.output_folder "$(OUTPUT_DIR)"))$(or \
	$(FOLDER),$(error the output folder is unknown))
OUT = $(if $(findstring ://,$(OUTPUT_DIR)),$(FOLDER),$(or $(OUTPUT_DIR),$(FOLDER)))
MODEL = $(OUT)/current
$(if $(findstring --output-dir,$(OPTIONS)),$(error give the output folder as OUTPUT_DIR=..., and not in OPTIONS))
HOW := $(if $(SCHEDULER),--scheduler-url "$(SCHEDULER)") $(OPTIONS)
HEAD := $(if $(SUMMARIES_DIR),--summaries-dir "$(SUMMARIES_DIR)")

.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' Makefile)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

setup: .venv/installed ## make .venv with all that is needed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

train: setup ## everything: from photos to an exported model
	@$(LUIGI) ExportModel $(DATA) $(MODULE) $(HEAD) $(HOW)
	@echo "The model is in $(MODEL)"

worker: setup ## train as one of many workers, whose luigid is SCHEDULER=http://...; or TASK=ComputeBottlenecks
	@$(BIN)/python -m tasks.worker $(or $(TASK),ExportModel) $(DATA) $(MODULE) \
		--scheduler-url "$(or $(SCHEDULER),$(error say where luigid is: make worker SCHEDULER=http://127.0.0.1:8082))" $(OPTIONS)

split: setup ## find the photos and split them
	@$(LUIGI) SplitDataset $(DATA) $(HOW)

bottlenecks: setup ## turn photos into vectors, whatever comes before included
	@$(LUIGI) ComputeBottlenecks $(DATA) $(MODULE) $(HOW)

head: setup ## train the softmax layer, whatever comes before included
	@$(LUIGI) TrainHead $(DATA) $(MODULE) $(HEAD) $(HOW)

search: setup ## train a head for each combination of some options, and rank them
	@$(LUIGI) SearchHead $(DATA) $(MODULE) $(HEAD) $(HOW)

check: setup ## look for faults of the photos: duplicates, wrong labels, damaged files and so on
	@$(LUIGI) CheckData $(DATA) $(MODULE) $(HOW)

evaluate: setup ## measure it on the test split, whatever comes before included
	@$(LUIGI) EvaluateModel $(DATA) $(MODULE) $(HEAD) $(HOW)

report: setup ## say where the page about the last model is
	@test -f "$(MODEL)/report.html" || { echo "There is no model in $(MODEL) yet; train one first with: make train"; exit 1; }
	@echo "Open this page in a browser: $(abspath $(MODEL))/report.html"

export: train ## the same as train

predict: $(if $(IMAGE)$(filter-out predict,$(MAKECMDGOALS)),,$(error say which photo: make predict IMAGE=photo.jpg)) setup ## print the five best labels for IMAGE=photo.jpg
	@$(BIN)/python -m pipeline.prediction.single --model "$(MODEL)" "$(IMAGE)"

predict-images: setup ## write the five best labels for all photos in IMAGES=folder or 'pattern'
	@$(LUIGI) PredictImages --images "$(or $(IMAGES),$(error say which photos: make predict-images IMAGES=folder))" \
		$(if $(OUTPUT_DIR),--output-dir "$(OUTPUT_DIR)") $(HOW)

demo: setup ## show a page on which one drops a photo, on http://127.0.0.1:8000
	@$(BIN)/python -m pipeline.prediction.demo --model "$(MODEL)"

luigid: setup ## start Luigi's scheduler with its page on http://127.0.0.1:8082
	@mkdir -p data/luigid
	$(BIN)/luigid --address 127.0.0.1 --port 8082

tensorboard: setup ## show what trainings wrote to SUMMARIES_DIR, on http://127.0.0.1:6006
	$(BIN)/tensorboard --host 127.0.0.1 --port 6006 --logdir "$(or $(SUMMARIES_DIR),data/summaries)"

nightly: setup ## what cron or systemd runs: train, and promote the model if it passes the gate
	@$(BIN)/python -m tasks.nightly $(DATA) $(MODULE) $(HOW)

rollback: setup ## go back to the model that was current before
	@$(BIN)/python -m pipeline.nightly.promotion --output-dir "$(OUT)"

history: setup ## print what became of each night, and write the page with the trend
	@$(BIN)/python -m pipeline.nightly.history_page --output-dir "$(OUT)"

pages: setup ## show the output folder's pages on http://127.0.0.1:8083
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory "$(OUT)" 8083

prune: setup ## say what earlier runs left that can go; DELETE=1 deletes it
	@$(LUIGI) PruneRuns $(if $(OUTPUT_DIR),--output-dir "$(OUTPUT_DIR)") $(if $(DELETE),--delete) $(OPTIONS)

lint: setup ## check style, types and the order of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: .venv-audit/installed ## ask whether a locked version has a known fault; PyPI has to be reached
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

.venv-audit/installed:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	@touch $@

test: setup ## run every test but those of make torture
	$(BIN)/pytest -m "not torture"

test-fast: setup ## run the tests that take no more than a few seconds each
	$(BIN)/pytest -m "not slow and not torture"

torture: setup ## kill, starve and mislead the pipeline for many minutes, and print what came of it
	$(BIN)/pytest -q -s tests/torture

fortnight: setup ## simulate fourteen nights, with their mishaps, and print what became of them
	$(BIN)/pytest -q -s tests/test_fortnight.py

bench: setup bench-head ## measure the bottleneck stage and the head, on IMAGE_DIR or on photos made for it
	$(BIN)/python -m benchmarks.bottlenecks $(if $(IMAGE_DIR),--image-dir "$(IMAGE_DIR)")

bench-augmentation: setup ## measure what distorted copies bring, on IMAGE_DIR or the sample photos
	$(BIN)/python -m benchmarks.augmentation $(if $(IMAGE_DIR),--image-dir "$(IMAGE_DIR)")

bench-head: setup ## measure the head against scikit-learn, and on a million rows
	$(BIN)/python -m benchmarks.head $(if $(IMAGE_DIR),--image-dir "$(IMAGE_DIR)")

bench-engine: setup ## measure local work, Luigi workers and Ray, on IMAGE_DIR or on photos made for it
	$(BIN)/python -m benchmarks.engine $(if $(IMAGE_DIR),--image-dir "$(IMAGE_DIR)")

bench-manifest: setup ## measure the manifest of up to a million photos
	$(BIN)/python -m benchmarks.manifest

bench-source: setup ## measure photos on disk, on S3 (a server on this machine), and in tar files
	$(BIN)/python -m benchmarks.source

bench-export: setup ## measure each exported file: size, accuracy, speed
	$(BIN)/python -m benchmarks.export $(if $(IMAGE_DIR),--image-dir "$(IMAGE_DIR)")

bench-quality: setup ## plant faults into the photos of IMAGE_DIR, and see what is found of them
	$(BIN)/python -m benchmarks.quality --image-dir "$(or $(IMAGE_DIR),$(error say which photos: make bench-quality IMAGE_DIR=folder))"

clean: ## delete what was computed from photos, the samples and the caches; keeps .venv
	rm -rf data/output data/digits data/summaries .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find pipeline tasks tests -name __pycache__ -type d -prune -exec rm -rf {} +
