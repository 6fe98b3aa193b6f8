# `make help` lists the targets. Common options have variables of their own: IMAGE_DIR, DATASET,
# OUTPUT_DIR, SPLIT_FILE, CORRECTIONS, TFHUB_MODULE, SUMMARIES_DIR. Pass all others in OPTIONS, for example
# OPTIONS="--l2 0.01 --precision float32". SCHEDULER=http://127.0.0.1:8082 uses the luigid that
# `make luigid` starts. PORT=... is another port for the page that a target serves.
PYTHON ?= python3
IMAGE_DIR ?=
DATASET ?=
OUTPUT_DIR ?=
SPLIT_FILE ?=
CORRECTIONS ?=
TFHUB_MODULE ?=
SUMMARIES_DIR ?=
SCHEDULER ?=
OPTIONS ?=

VARIABLES := IMAGE_DIR DATASET OUTPUT_DIR SPLIT_FILE TFHUB_MODULE SUMMARIES_DIR SCHEDULER OPTIONS \
	MODEL IMAGE IMAGES IMAGE_DIRS TASK DELETE CORRECTIONS READ_ONLY APPLY UNDO PORT PYTHON BIN
# Make ignores mistyped variables, and would train on the sample photos without IMAGE_DIR.
UNKNOWN := $(firstword $(filter-out $(VARIABLES),$(foreach V,$(.VARIABLES),$(if \
	$(filter command,$(origin $V)),$V))))
NEAREST = $(shell $(PYTHON) -c 'import difflib, sys; name, *known = sys.argv[1:]; \
	print(difflib.get_close_matches(name.upper(), known, 1, 0)[0])' '$(UNKNOWN)' $(VARIABLES))
$(if $(UNKNOWN),$(error there is no variable $(UNKNOWN); did you mean $(NEAREST)? Pass options that \
	have no variable in OPTIONS))

BIN := .venv/bin
DATA := $(if $(OUTPUT_DIR),--output-dir "$(OUTPUT_DIR)") $(if $(IMAGE_DIR),--image-dir "$(IMAGE_DIR)") \
	$(if $(CORRECTIONS),--corrections "$(CORRECTIONS)") $(if $(DATASET),--dataset "$(DATASET)") $(if $(SPLIT_FILE),--split-file "$(SPLIT_FILE)")
MODULE := $(if $(TFHUB_MODULE),--tfhub-module "$(TFHUB_MODULE)")
LUIGI := $(BIN)/python -m tasks
# The local output folder, from OUTPUT_DIR or luigi.cfg, or the mirror of a URL; looked up once.
FOLDER = $(eval FOLDER := $(shell $(BIN)/python -m tasks.output_folder "$(OUTPUT_DIR)"))$(or \
	$(FOLDER),$(error cannot find the output folder))
OUT = $(if $(findstring ://,$(OUTPUT_DIR)),$(FOLDER),$(or $(OUTPUT_DIR),$(FOLDER)))
MODEL = $(OUT)/current
$(if $(findstring --output-dir,$(OPTIONS)),$(error set the output folder with OUTPUT_DIR=..., not in OPTIONS))
RUN := $(if $(SCHEDULER),--scheduler-url "$(SCHEDULER)") $(OPTIONS)
HEAD := $(if $(SUMMARIES_DIR),--summaries-dir "$(SUMMARIES_DIR)")

.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' Makefile)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

setup: .venv/installed ## install into .venv what these targets need, except tests and benchmarks

setup-dev: .venv/installed-dev ## install everything into .venv

INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.venv/installed: pyproject.toml constraints.txt
	@echo "Installing packages into .venv, which takes a few minutes"
	$(PYTHON) -m venv .venv
	$(INSTALL) '.[demo,luigid,openvino,samples,tensorboard]'
	@touch $@

.venv/installed-dev: .venv/installed
	@echo "Installing what tests and benchmarks need, which takes a few minutes"
	$(INSTALL) '.[dev]'
	@touch $@

train: setup ## run every step: from photos to an exported model
	@$(LUIGI) ExportModel $(DATA) $(MODULE) $(HEAD) $(RUN)
	@echo "The model is in $(MODEL)"

worker: setup ## train as one of several workers, with SCHEDULER=http://... and optionally TASK=ComputeBottlenecks
	@$(BIN)/python -m tasks.worker $(or $(TASK),ExportModel) $(DATA) $(MODULE) \
		--scheduler-url "$(or $(SCHEDULER),$(error set the address of luigid: make worker SCHEDULER=http://127.0.0.1:8082))" $(OPTIONS)

split: setup ## find the photos and split them
	@$(LUIGI) SplitDataset $(DATA) $(RUN)

bottlenecks: setup ## compute the vectors, after all earlier steps
	@$(LUIGI) ComputeBottlenecks $(DATA) $(MODULE) $(RUN)

head: setup ## train the softmax layer, after all earlier steps
	@$(LUIGI) TrainHead $(DATA) $(MODULE) $(HEAD) $(RUN)

search: setup ## train and rank a head for each combination of the [search] options
	@$(LUIGI) SearchHead $(DATA) $(MODULE) $(HEAD) $(RUN)

check: setup ## check the photos for duplicates, wrong labels, damaged files and other problems
	@$(LUIGI) CheckData $(DATA) $(MODULE) $(RUN)

evaluate: setup ## evaluate the head on the test photos, after all earlier steps
	@$(LUIGI) EvaluateModel $(DATA) $(MODULE) $(HEAD) $(RUN)

# For commands that only read: a mistyped OUTPUT_DIR has no folder.
EXISTING = test -d "$(OUT)" || { echo "There is no folder $(abspath $(OUT)); pass the OUTPUT_DIR of \
	your runs, or train first: make train"; exit 1; }

report: setup ## print the path of the current model's report
	@$(EXISTING)
	@test -f "$(MODEL)/report.html" || { echo "No model in $(MODEL) yet; train one first: make train"; exit 1; }
	@echo "Open this page in a browser: $(abspath $(MODEL))/report.html"

export: train ## the same as train

predict: $(if $(IMAGE)$(filter-out predict,$(MAKECMDGOALS)),,$(error set the photo: make predict IMAGE=photo.jpg)) setup ## print the five best labels for IMAGE=photo.jpg
	@$(BIN)/python -m pipeline.prediction.single --model "$(MODEL)" "$(IMAGE)"

predict-images: setup ## write the five best labels of all photos in IMAGES=folder or 'pattern'
	@$(LUIGI) PredictImages --images "$(or $(IMAGES),$(error set the photos: make predict-images IMAGES=folder))" \
		$(if $(OUTPUT_DIR),--output-dir "$(OUTPUT_DIR)") $(RUN)

suggest: setup ## suggest which photos in IMAGES=folder to label next
	@$(LUIGI) SuggestPhotos --images "$(or $(IMAGES),$(error set the photos: make suggest IMAGES=folder))" \
		$(DATA) $(MODULE) $(HEAD) $(RUN)

REVIEW := $(if $(CORRECTIONS),--corrections "$(CORRECTIONS)")
review: setup ## decide about findings and label photos, on http://127.0.0.1:8084; READ_ONLY=1 changes nothing
	@$(EXISTING)
	@$(BIN)/python -m pipeline.review.page --output-dir "$(OUT)" $(REVIEW) $(if $(filter-out 0 no false,$(READ_ONLY)),--read-only) \
		$(if $(PORT),--port "$(PORT)")

apply-corrections: setup ## list the files to move for the corrections; APPLY=1 moves them, UNDO=list moves them back
	@$(EXISTING)
	@$(BIN)/python -m pipeline.review.moves --output-dir "$(OUT)" $(REVIEW) \
		$(if $(filter-out 0 no false,$(APPLY)),--apply) $(if $(UNDO),--undo "$(UNDO)")

demo: setup ## classify photos in the browser, on http://127.0.0.1:8000
	@$(BIN)/python -m pipeline.prediction.demo --model "$(MODEL)" $(if $(PORT),--port "$(PORT)")

# For servers of other packages, whose own errors name no option.
USABLE_PORT = $(BIN)/python -m pipeline.files.local_server

luigid: setup ## start Luigi's scheduler, with its page on http://127.0.0.1:8082
	@$(BIN)/python -c "import prometheus_client, sqlalchemy" 2>/dev/null || { echo "luigi.cfg: record_task_history \
	and metrics_collector need SQLAlchemy and prometheus-client; install them with: pip install 'retrain[luigid]'"; exit 1; }
	@$(USABLE_PORT) "$(or $(PORT),8082)"
	@mkdir -p data/luigid
	$(BIN)/luigid --address 127.0.0.1 --port $(or $(PORT),8082)

tensorboard: setup ## start TensorBoard for SUMMARIES_DIR, on http://127.0.0.1:6006
	@$(USABLE_PORT) "$(or $(PORT),6006)"
	$(BIN)/tensorboard --host 127.0.0.1 --port $(or $(PORT),6006) --logdir "$(or $(SUMMARIES_DIR),data/summaries)"

nightly: setup ## train, and promote the model if it passes the gate; for cron or systemd
	@$(BIN)/python -m tasks.nightly $(DATA) $(MODULE) $(RUN)

rollback: setup ## switch back to the previously promoted model
	@$(BIN)/python -m pipeline.nightly.promotion --output-dir "$(OUT)"

promote: $(if $(and $(filter file,$(origin MODEL)),$(filter promote,$(MAKECMDGOALS))),$(error set the model: make promote MODEL=... with a name that make history shows)) setup ## make a model the current one, such as a rejected one: MODEL=0123456789ab
	@$(BIN)/python -m pipeline.nightly.promotion --output-dir "$(OUT)" --promote "$(MODEL)"

history: setup ## print the history of nightly runs, and write its page
	@$(BIN)/python -m pipeline.nightly.history_page --output-dir "$(OUT)"

pages: setup ## serve the pages of the output folder on http://127.0.0.1:8083
	@$(EXISTING)
	@$(USABLE_PORT) "$(or $(PORT),8083)"
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory "$(OUT)" $(or $(PORT),8083)

prune: setup ## list old results that can be deleted; DELETE=1 deletes them
	@$(LUIGI) PruneRuns $(if $(OUTPUT_DIR),--output-dir "$(OUTPUT_DIR)") $(if $(filter-out 0 no false,$(DELETE)),--delete) $(OPTIONS)

lint: setup-dev ## check style, types and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: .venv-audit/installed ## check the locked versions for known vulnerabilities; needs access to PyPI
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

.venv-audit/installed:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	@touch $@

# One process per core, but no more than memory allows: each loads TensorFlow.
PYTEST = $(BIN)/pytest -n auto --maxprocesses 8 --dist worksteal

test: setup-dev ## run all tests except those of make torture
	$(PYTEST) -m "not torture"

test-fast: setup-dev ## run all tests except slow ones and those of make torture
	$(PYTEST) -m "not slow and not torture"

torture: setup-dev ## test kills, bad input and exhausted resources for many minutes, and print the results
	$(BIN)/pytest -q -s tests/torture

fortnight: setup-dev ## simulate fourteen nights with failures, and print the history
	$(BIN)/pytest -q -s tests/test_fortnight.py

bench: setup-dev bench-head ## measure the bottleneck stage and the head, on IMAGE_DIR or on generated photos
	$(BIN)/python -m benchmarks.bottlenecks $(if $(IMAGE_DIR),--image-dir "$(IMAGE_DIR)")

bench-augmentation: setup-dev ## measure what augmented copies gain and cost, on IMAGE_DIR or on scanned digits
	$(BIN)/python -m benchmarks.augmentation $(if $(IMAGE_DIR),--image-dir "$(IMAGE_DIR)")

bench-fine-tuning: setup-dev ## measure the speed of fine-tuning, on IMAGE_DIR or on generated photos
	$(BIN)/python -m benchmarks.fine_tuning $(if $(IMAGE_DIR),--image-dir "$(IMAGE_DIR)")

bench-fine-tuning-accuracy: setup-dev ## measure what fine-tuning gains, with scanned digits and IMAGE_DIRS="folder ..."
	$(BIN)/python -m benchmarks.fine_tuning_accuracy --image-dirs $(IMAGE_DIRS)

bench-accuracy: setup-dev ## measure accuracy and time of modules and input sizes, on IMAGE_DIR or on scanned digits
	$(BIN)/python -m benchmarks.accuracy $(if $(IMAGE_DIR),--image-dir "$(IMAGE_DIR)")

bench-head: setup-dev ## measure the head against scikit-learn, and on a million rows
	$(BIN)/python -m benchmarks.head $(if $(IMAGE_DIR),--image-dir "$(IMAGE_DIR)")

bench-scaling: setup-dev ## measure how features are scaled for the head, on scanned digits and IMAGE_DIRS="folder ..."
	$(BIN)/python -m benchmarks.scaling --image-dirs $(IMAGE_DIRS)

bench-engine: setup-dev ## measure local work, Luigi workers and Ray, on IMAGE_DIR or on generated photos
	$(BIN)/python -m benchmarks.engine $(if $(IMAGE_DIR),--image-dir "$(IMAGE_DIR)")

bench-manifest: setup-dev ## measure the manifest of up to a million photos
	$(BIN)/python -m benchmarks.manifest

bench-modules: setup-dev ## measure the time and memory that modules take
	$(BIN)/python -m benchmarks.modules

bench-source: setup-dev ## measure photos on disk, on a local S3 server and in tar files
	$(BIN)/python -m benchmarks.source

bench-export: setup-dev ## measure the size, accuracy and speed of each exported file
	$(BIN)/python -m benchmarks.export $(if $(IMAGE_DIR),--image-dir "$(IMAGE_DIR)")

bench-neighbours: setup-dev ## measure the search for similar photos, among up to a million
	$(BIN)/python -m benchmarks.neighbours

bench-quality: setup-dev ## insert known problems into the photos of IMAGE_DIR, and measure how many are found
	$(BIN)/python -m benchmarks.quality --image-dir "$(or $(IMAGE_DIR),$(error set the photos: make bench-quality IMAGE_DIR=folder))"

bench-review: setup-dev ## measure what decisions about the first findings gain, on the photos of IMAGE_DIR
	$(BIN)/python -m benchmarks.review --image-dir "$(or $(IMAGE_DIR),$(error set the photos: make bench-review IMAGE_DIR=folder))"

bench-suggestions: setup-dev ## measure suggested photos against random ones, on IMAGE_DIRS="folder ..."
	$(BIN)/python -m benchmarks.suggestions --image-dir $(or $(IMAGE_DIRS),$(error set the photos: make bench-suggestions IMAGE_DIRS="folder ..."))

bench-unknown: setup-dev ## measure how well unknown photos are recognized, with scanned digits and IMAGE_DIRS="folder ..."
	$(BIN)/python -m benchmarks.unknown --image-dirs $(IMAGE_DIRS)

pictures: setup-dev ## take the pictures of the README, from a training on the sample photos
	@$(LUIGI) ExportModel --output-dir data/pictures --testing-percentage 30
	$(BIN)/python -m tests.support.pictures data/pictures/current

clean: ## delete sample photos, all results in data/output and caches; keep .venv and downloads
	rm -rf data/output data/pictures data/samples data/summaries .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find pipeline tasks tests -name __pycache__ -type d -prune -exec rm -rf {} +
