# make demo   environment, install, then the main job on the synthetic sample
# make test   environment, install, the whole suite
# make docs   environment, install, then the documentation in build/docs
# Each does all its own set-up. PYTHON=python3.12 takes another Python.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Versions that were tested with this Python; without such a file the newest that fit.
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
CONSTRAINTS := $(wildcard constraints/python$(VERSION).txt)
SOURCES := setup.cfg pyproject.toml $(CONSTRAINTS)

.PHONY: demo test docs pictures lint bench test-matrix clean

demo: $(VENV)/installed
	$(BIN)/python examples/demo.py demo --check

test: $(VENV)/installed-test
	$(BIN)/python -m pytest

docs: $(VENV)/installed-docs
	GEOSEG_NOTEBOOKS=force $(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo build/docs/index.html

# What docs/images shows of the program; the tutorial's training takes some minutes.
pictures: $(VENV)/installed-docs
	$(BIN)/python docs/pictures.py build/tutorial
	$(BIN)/python examples/demo.py build/demo
	cp build/demo/map.png docs/images/demo.png

lint: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet "ruff>=0.9"
	$(BIN)/ruff check .

# Tables on stdout; scenes and a trained model stay in benchmark/. Other tools: tests/benchmarks/peers.py.
bench: $(VENV)/installed-test
	$(BIN)/python tests/benchmarks/predict.py all
	$(BIN)/python tests/benchmarks/agreement.py all
	$(BIN)/python tests/benchmarks/score.py all
	$(BIN)/python tests/benchmarks/jobs.py
	$(BIN)/python tests/benchmarks/train.py

PYTHON_OLDEST ?= python3.11
PYTHON_NEWEST ?= python3.13

# The lowest versions setup.cfg allows on the oldest Python, the newest on the newest.
test-matrix:
	$(PYTHON_OLDEST) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --upgrade pip
	.venv-lowest/bin/python -m pip install --quiet -c constraints/lowest.txt -e ".[test]"
	.venv-lowest/bin/python -m pytest -q
	$(PYTHON_NEWEST) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --upgrade pip
	.venv-newest/bin/python -m pip install --quiet --upgrade -e ".[test]"
	.venv-newest/bin/python -m pytest -q

clean:
	rm -rf .venv .venv-lowest .venv-newest build dist demo benchmark *.egg-info
	rm -rf docs/reference/commands docs/reference/api docs/notebooks

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(SOURCES) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS)) -e ".[figures]"
	touch $@

$(VENV)/installed-test: $(SOURCES) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS)) -e ".[test,docs]"
	touch $@ $(VENV)/installed $(VENV)/installed-docs

$(VENV)/installed-docs: $(SOURCES) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS)) -e ".[docs]"
	touch $@ $(VENV)/installed
