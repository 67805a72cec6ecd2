# Two environments, both made on demand: the workshop (.venv: train, export, tests) and the device (.venv-serve: predict).
# They are two because models are made on one machine and run on many small ones; see docs/environments.md.

PYTHON ?= python3
# ONNX Runtime: the gpu package also runs on CPUs, and exists for x86-64 Linux.  ORT=cpu takes the smaller one.
ORT ?= $(if $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m)),gpu,cpu)

MODEL ?= LiqExp4N2
DATA ?= vesselmnist3d
RECIPE ?=
SEED ?= 0
JOBS ?= 2
PAPER ?= hse-2024

WORKSHOP := .venv/ready-$(ORT)
DEVICE := .venv-serve/ready-$(ORT)
TOOLS := .venv-tools/ready
ROOMS := imaging models serve train export
PIP_QUIET := -qq --disable-pip-version-check

.PHONY: help demo test test-workshop test-device lint docs wheel train study tables export audit predict batch serve doctor bench bench-ncps bench-training bench-batch bench-web gpu-check \
	pretrained web web-page wheelhouse zoo-check attacks fuzz siege sbom pip-audit environments clean
.DEFAULT_GOAL := help

help:  ## Show these targets.
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 16

$(WORKSHOP): pyproject.toml constraints/workshop.txt
	rm -rf .venv && $(PYTHON) -m venv .venv
	.venv/bin/pip install $(PIP_QUIET) -c constraints/workshop.txt -e '.[train,export,dev,$(ORT)]'
	.venv/bin/pip install $(PIP_QUIET) -c constraints/workshop.txt --no-deps medmnist
	touch $@

# What serves is installed by hash; the tests' tools after it, by version.
$(DEVICE): pyproject.toml constraints/device.txt constraints/device-hashes.txt constraints/onnxruntime-$(ORT)-hashes.txt
	rm -rf .venv-serve && $(PYTHON) -m venv .venv-serve
	.venv-serve/bin/pip install $(PIP_QUIET) --require-hashes --no-deps \
		-r constraints/device-hashes.txt -r constraints/onnxruntime-$(ORT)-hashes.txt
	.venv-serve/bin/pip install $(PIP_QUIET) -c constraints/device.txt -e '.[serve,node,triton,ray,dev-device,$(ORT)]'
	touch $@

environments:  ## Make both environments, side by side.
	@$(MAKE) --no-print-directory --jobs=2 $(WORKSHOP) $(DEVICE)

demo: environments  ## Train a liquid model, export it, predict test scans from files, print a summary.
	.venv/bin/python -m scripts.demo --device .venv-serve/bin/liquidlens

# One thread each: torch's threads and several processes get in each other's way.
test test-workshop test-device: export OMP_NUM_THREADS = 1
test: environments  ## Run all tests, JOBS=2 at a time and those of the device beside them; LIQUIDLENS_DATA: on real data, too.
	@$(MAKE) --no-print-directory --jobs=2 --keep-going test-workshop test-device

test-workshop: $(WORKSHOP)
	.venv/bin/python -m pytest --numprocesses $(JOBS) --dist loadfile

# One at a time: they wait for servers, browsers and archives more than they compute.  What they say comes at their end.
test-device: $(DEVICE)
	@said=$$(mktemp); .venv-serve/bin/python -m pytest tests/device >$$said 2>&1; code=$$?; cat $$said; rm $$said; exit $$code

# mypy knows no mapping of packages to folders, and reads the rooms through links.
lint: $(WORKSHOP)  ## Check style and types.
	mkdir -p .rooms/liquidlens
	ln -sfn $(addprefix ../../,$(wildcard liquidlens/*) $(ROOMS)) .rooms/liquidlens
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

train: $(WORKSHOP)  ## Train: MODEL=LiqExp4N2 DATA=vesselmnist3d RECIPE=hse-2024 SEED=0 ARGS="--set batch_size=32"
	.venv/bin/liquidlens train $(MODEL) $(DATA) $(if $(RECIPE),--recipe $(RECIPE)) --seed $(SEED) $(ARGS)

study: $(WORKSHOP)  ## Reproduce a paper, JOBS=2 runs at a time, into docs/results: PAPER=hse-2024 ARGS="--budget-hours 8"
	.venv/bin/liquidlens study $(PAPER) --jobs $(JOBS) $(ARGS)

tables: $(WORKSHOP)  ## Make the tables and plots in docs/reproduction anew from docs/results.
	.venv/bin/liquidlens tables $(ARGS)

export: need-RUN $(WORKSHOP)  ## Export a run folder to a bundle: RUN=runs/... ARGS="--profiles unrolled,step"
	.venv/bin/liquidlens export $(RUN) $(ARGS)

audit: $(WORKSHOP)  ## Audit an ONNX file: MODEL=bundles/.../model.onnx
	.venv/bin/liquidlens audit $(MODEL) $(ARGS)

predict: need-SCANS $(DEVICE)  ## Predict: MODEL=bundles/.../model.onnx SCANS="a.nii.gz b.npy"
	.venv-serve/bin/liquidlens predict $(MODEL) $(SCANS)

batch: need-SCANS need-OUT $(DEVICE)  ## Predict many scans into a table: MODEL=vessel SCANS="study/" OUT=results.csv
	.venv-serve/bin/liquidlens batch $(MODEL) $(SCANS) --out $(OUT) $(ARGS)

serve: $(DEVICE)  ## Serve the demo and the Open Inference Protocol: ARGS="bundles/.../model.onnx --port 8000"
	.venv-serve/bin/liquidlens serve $(ARGS)

web: $(DEVICE)  ## Write the page that runs models in a browser to site/, and serve it on this machine: MODELS="vessel" PORT=8080
	.venv-serve/bin/liquidlens web $(MODELS) --out site
	.venv-serve/bin/python -m http.server $(or $(PORT),8080) --bind 127.0.0.1 --directory site

web-page:  ## Build the page in serve/web/dist anew from its sources; needs Node.js.
	cd serve/web && npm ci && npm run build

bench: $(WORKSHOP)  ## Measure the liquid layer and exported files against ncps.
	.venv/bin/python -m benchmarks.liquid
	.venv/bin/python -m benchmarks.exported

bench-ncps: $(WORKSHOP)  ## Measure files of any module with ncps layers against torch.onnx.export; about an hour.
	.venv/bin/python -m benchmarks.ncps $(ARGS)

bench-training: $(WORKSHOP)  ## Measure seconds per epoch against plain ncps; two minutes.
	.venv/bin/python -m benchmarks.training $(ARGS)

bench-batch: $(WORKSHOP)  ## Measure the batch script against bare loops; about ten minutes.
	.venv/bin/python -m benchmarks.batch $(ARGS)

bench-web: $(DEVICE)  ## Measure the page in Chromium against Python: ARGS="vessel --repeats 100"
	.venv-serve/bin/python -m benchmarks.web $(ARGS)

doctor: $(DEVICE)  ## Say what this machine can do, and why not more.
	.venv-serve/bin/liquidlens doctor $(ARGS)

gpu-check: $(WORKSHOP)  ## On a machine with an NVIDIA GPU: compare all devices; ARGS="models/pretrained/..."
	.venv/bin/python -m benchmarks.gpu $(ARGS)

pretrained: $(WORKSHOP)  ## Export the models in models/pretrained again, from their kept runs.
	.venv/bin/python -m scripts.pretrained $(ARGS)

zoo-check: $(WORKSHOP)  ## Export and audit every model of the zoo, untrained; about half an hour.
	.venv/bin/python -m benchmarks.zoo

attacks: $(WORKSHOP) $(DEVICE)  ## Open every attack of the corpus, print how it ended, and send it to a server.
	.venv/bin/python -m tests.attacks
	LIQUIDLENS_ATTACKS=all .venv-serve/bin/python -m pytest -q tests/device/test_attacks.py tests/device/node/test_attacks.py

fuzz: $(WORKSHOP)  ## Fuzz everything that reads files or requests of strangers, SECONDS=450 per target: an hour.
	.venv/bin/python -m tests.fuzz --seconds $(or $(SECONDS),450) $(ARGS)

siege: $(DEVICE)  ## Send a running server 10,000 good, broken and hostile requests; about fifteen minutes.
	.venv-serve/bin/python -m benchmarks.siege $(ARGS)

sbom: $(DEVICE) $(TOOLS)  ## Write the bill of materials of the device environment (CycloneDX): sbom.json
	.venv-tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o sbom.json .venv-serve/bin/python
	@echo "sbom.json: $$(grep -c '"purl"' sbom.json) packages"

pip-audit: $(TOOLS)  ## Look both environments' pinned packages up among the known vulnerabilities (asks PyPI).
	.venv-tools/bin/pip-audit --disable-pip --no-deps -r constraints/device.txt
	.venv-tools/bin/pip-audit --disable-pip --no-deps -r constraints/workshop.txt

# Of neither environment: tools that look at them from outside.
$(TOOLS): constraints/tools.txt
	rm -rf .venv-tools && $(PYTHON) -m venv .venv-tools
	.venv-tools/bin/pip install $(PIP_QUIET) -r constraints/tools.txt
	touch $@

docs: $(WORKSHOP)  ## Write the tables of commands, options and settings in docs anew from the code.
	.venv/bin/python -m scripts.options
	.venv/bin/python -m scripts.zoo

# The wheel is built from the source distribution; a test holds it against one that is built from the checkout.
wheel: $(TOOLS)  ## Build wheel and source distribution: dist/
	rm -rf dist
	.venv-tools/bin/python -m build --no-isolation --outdir dist .

# For machines without a network.  Hashes are looked at here and again where it is installed.
ARCH ?= x86_64
MANYLINUX := $(foreach glibc,5 12 17 24 26 27 28 31 34,--platform manylinux_2_$(glibc)_$(ARCH)) --platform manylinux2014_$(ARCH)
# For CPUs unless asked otherwise: CUDA's exists for one of the two.
wheelhouse: ORT = cpu
wheelhouse: wheel  ## Collect the wheels of server and node: wheelhouse/, ARCH=x86_64 or aarch64, ORT=gpu for CUDA
	rm -rf wheelhouse && mkdir wheelhouse
	cat constraints/device-hashes.txt constraints/onnxruntime-$(ORT)-hashes.txt > wheelhouse/requirements.txt
	.venv-tools/bin/python -m pip download $(PIP_QUIET) --require-hashes --no-deps --only-binary :all: --python-version 3.11 \
		$(MANYLINUX) --dest wheelhouse -r wheelhouse/requirements.txt
	cp dist/*.whl wheelhouse/

need-%:
	@: $(or $($*),$(error $* is missing; `make help` shows how to give it))

clean:  ## Remove the environments.
	rm -rf .venv .venv-serve .venv-tools
