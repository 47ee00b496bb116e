# make demo      the main job on one node: the fault, the cure, before and after (KEEP=1 keeps the node)
# make test      everything: lint, unit tests, comparisons with the real loaders and kernel, the page, scenarios on real nodes
# make lint, make unit, make comparisons, make scenarios [SCENARIOS="default uplink"]
# make browser-tests  the report's page in a real browser
# make differential [TREES=20000] [TOPOLOGIES=5000] [HORIZONS=1000] [PROMISES=50000] [SEED=…]  many more comparisons
# make bench     what the facts cost on a large node, as ratios
# make setup     only what these need; then '. build/env' and plain 'molecule test' works
# make clean     removes build/ and the lab's nodes, images and clusters; a control plane built once stays in the cache:
#                ~/.cache/nodeward.cilium
# lint is lint-python, lint-yaml, lint-ansible, lint-docs, lint-36 and lint-sanity
# lint and unit need Python 3.11; all others need root on a Debian machine.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

suites := bullseye bookworm trixie
step := tests/setup/step
setup := tests/setup/setup
activated = . build/env;
# Python without the ending .py
scripts = $(shell git grep --files-with-matches --extended-regexp '^.!.*python' -- ':!*.py' 2>/dev/null)

# One after the other, also with make -j: the steps share one build folder, one podman and the screen.
.NOTPARALLEL:
.PHONY: help setup machine python artifact javascript browser cluster nodes unit comparisons browser-tests differential \
    bench scenarios test demo clean lint lint-python lint-yaml lint-ansible lint-docs lint-36 lint-sanity

help:
	@sed -n '/^# /s/^# //p;/^$$/q' Makefile

machine:
	@MAKE_TARGET='$(MAKECMDGOALS)' $(step) 'Debian packages' $(setup) machine

python:
	@$(step) 'Python tools' $(setup) python

artifact: python
	@$(step) 'Collection, built and installed' $(setup) artifact

javascript: machine
	@$(step) 'npm tools' $(setup) javascript

browser: machine
	@$(step) 'Browser' $(setup) browser

nodes: machine
	@$(step) 'Node images: $(suites)' $(setup) nodes $(suites)

cluster: machine
	@$(step) 'Control plane' $(setup) cluster

# 77: this machine can have no control plane; all else works without.
setup: machine python artifact javascript browser nodes
	@$(setup) cluster || (($$? == 77))
	@echo "Ready. Next: '. build/env', then 'molecule test' or 'molecule test --all'"

lint: lint-python lint-yaml lint-ansible lint-docs lint-36 lint-sanity

lint-python: python
	@$(activated) $(step) 'ruff' ruff check . $(scripts)
	@$(activated) $(step) 'ruff: format' ruff format --check . $(scripts)

lint-yaml: python
	@$(activated) $(step) 'yamllint' yamllint --strict .

lint-ansible: artifact
	@$(activated) $(step) 'ansible-lint, production profile' ansible-lint --offline --profile production

lint-docs: artifact
	@$(activated) $(step) 'antsibull: changelog' antsibull-changelog lint
	@$(activated) $(step) 'antsibull: documentation of plugins and roles' tests/setup/outside-git \
	    antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs dependent \
	    --disallow-unknown-collection-refs .

lint-36: python
	@$(activated) $(step) 'vermin: modules run on Python 3.6' \
	    vermin --quiet --no-tips --violations --target=3.6- plugins/modules plugins/module_utils

lint-sanity: artifact
	@$(activated) $(step) 'ansible-test sanity' tests/setup/outside-git '$(CURDIR)/tests/setup/sanity'

unit: python
	@$(activated) $(step) 'Unit tests' pytest tests/unit tests/docs

# What only some scenarios need, stands in their file 'requires': where it cannot be had, they are reported as not run.
scenarios: machine python artifact nodes
	@$(activated) tests/setup/scenarios $(SCENARIOS)

comparisons: machine python nodes
	@$(activated) $(step) 'Comparisons with the real loaders and kernel' pytest --capture=no tests/differential

browser-tests: python javascript browser
	@$(activated) $(step) 'Page in a real browser' pytest tests/browser

differential: export TREES ?= 2000
differential: export TOPOLOGIES ?= 500
differential: export HORIZONS ?= 300
differential: export RULE_SETS ?= 200
differential: export PROMISES ?= 20000
differential: comparisons
	@$(activated) $(step) 'Protection on generated nodes' pytest --capture=no tests/unit/test_promise.py

bench: python browser
	@$(activated) for script in tests/bench/*; do $(step) "Bench: $${script##*/}" "$$script"; done

test: machine python artifact nodes lint unit comparisons browser-tests scenarios

demo: machine python artifact
	@$(step) 'Node image: trixie' $(setup) nodes trixie
	@$(activated) molecule/lab/demo

clean:
	@$(step) 'Clean' tests/setup/clean
