# On a new machine, run `make demo` or `make test`. Each target first creates the environment that it needs.
PYTHON ?= python3
PYTEST_ARGS ?=
SIDE_BY_SIDE ?= --numprocesses auto --maxprocesses 4 --dist loadfile
BIN := .venv/bin

.PHONY: demo sample check test test-core bench docs lint clean

demo: .venv/demo.stamp
	$(BIN)/ggt100k demo demo

check: .venv-core/test.stamp  # lint, types and the quick tests, without torch: about 3 minutes, for every change
	.venv-core/bin/ruff check
	.venv-core/bin/ruff format --check
	.venv-core/bin/mypy
	.venv-core/bin/python -m pytest $(SIDE_BY_SIDE) -m "not slow" $(PYTEST_ARGS)

test: .venv/test.stamp lint
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_ARGS)

test-core: .venv-core/test.stamp  # all tests that need no torch
	.venv-core/bin/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_ARGS)

bench: .venv/bench.stamp
	$(BIN)/python -m tests.benchmarks

docs: .venv/test.stamp  # builds the site in docs/_build
	$(BIN)/python docs/make_references.py
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build

lint: .venv/test.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

sample: .venv/demo.stamp  # packs the sample that is installed with the package again from its photographs
	$(BIN)/ggt100k demo demo
	rm -rf dataset_card/sample/packed
	$(BIN)/ggt100k pack demo/workspace dataset_card/sample/packed --test 0.25  # without a card, because that has large figures

.venv/demo.stamp: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[report]'
	touch $@

.venv/test.stamp: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps basicsr==1.3.3.3  # its requirements are in dev, except a nightly tensorboard
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
