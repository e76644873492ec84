# On a fresh machine: make demo, make test. Each makes its own environment first.
PYTHON ?= python3
PYTEST_ARGS ?=
SIDE_BY_SIDE ?= --numprocesses auto --maxprocesses 4 --dist loadfile
BIN := .venv/bin

.PHONY: demo sample check test test-core bench docs lint clean

demo: .venv/demo.stamp
	$(BIN)/ggt100k demo demo

check: .venv-core/test.stamp  # for every change, in about 3 minutes: lint, types and the quick tests, without torch
	.venv-core/bin/ruff check
	.venv-core/bin/ruff format --check
	.venv-core/bin/mypy
	.venv-core/bin/python -m pytest $(SIDE_BY_SIDE) -m "not slow" $(PYTEST_ARGS)

test: .venv/test.stamp lint
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_ARGS)

test-core: .venv-core/test.stamp  # without torch
	.venv-core/bin/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_ARGS)

bench: .venv/bench.stamp
	$(BIN)/python -m tests.benchmarks

docs: .venv/test.stamp  # the site, in docs/_build
	$(BIN)/python docs/make_references.py
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build

lint: .venv/test.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

sample: .venv/demo.stamp  # the packed sample that ships with the package, anew from its photographs
	$(BIN)/ggt100k demo demo
	rm -rf dataset_card/sample/packed
	$(BIN)/ggt100k pack demo/workspace dataset_card/sample/packed --test 0.25  # without the card, which has figures

.venv/demo.stamp: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[report]'
	touch $@

.venv/test.stamp: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps basicsr==1.3.3.3  # what it asks for is in dev, but a nightly tensorboard
	touch $@ .venv/demo.stamp

.venv/bench.stamp: .venv/test.stamp
	$(BIN)/pip install --quiet --editable '.[dev,bench]'
	touch $@

.venv-core/test.stamp: pyproject.toml
	$(PYTHON) -m venv .venv-core
	.venv-core/bin/pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf .venv .venv-core .venv-bench-* demo docs/_build
