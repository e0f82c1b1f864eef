# Two commands: `make demo` and `make test`.  Both need nothing but Python 3.11
# and make; they set up their environments first, once.

.NOTPARALLEL:
.DEFAULT_GOAL := help

# The first Python 3.11 that answers; `make PYTHON=... test` names another.
ifeq ($(origin PYTHON), undefined)
PYTHON := $(shell for name in python3.11 python3 python; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	2>/dev/null && { echo "$$name"; break; }; done)
endif

# An environment is ready when it holds the stamp that names this interpreter,
# this folder and these dependencies.  The stamp is written last: what an
# interrupted set-up leaves behind has none and is built anew.
KEY := $(shell { $(or $(PYTHON),false) -c \
	'import sys; print(sys.version, sys.base_prefix)' 2>/dev/null; \
	pwd; cat pyproject.toml; } | cksum | cut -d ' ' -f 1)
, := ,
TF := .venv/bin/python
JAX := .venv-jax/bin/python
FLOOR := .venv-floor/bin/python
TF_READY := .venv/ready-$(KEY)
JAX_READY := .venv-jax/ready-$(KEY)
FLOOR_READY := .venv-floor/ready-$(KEY)
NOTEBOOKS_READY := .venv-notebooks/ready-$(KEY)
# The demo runs in the large environment where that is there.
DEMO_READY := $(if $(wildcard $(TF_READY)),$(TF_READY),.venv-demo/ready-$(KEY))

export TF_CPP_MIN_LOG_LEVEL ?= 3
export PIP_DISABLE_PIP_VERSION_CHECK = 1
ON_TF := KERAS_BACKEND=tensorflow $(TF)
ON_JAX := KERAS_BACKEND=jax JAX_PLATFORMS=cpu $(JAX)
ON_FLOOR := KERAS_BACKEND=jax JAX_PLATFORMS=cpu $(FLOOR)

# The oldest versions that work, which pyproject.toml names as well.
FLOOR_KERAS := keras==3.13.*
FLOOR_TF := tensorflow==2.20.*
FLOOR_JAX := jax==0.7.*
PYTHONS ?= python3.11 python3.12 python3.13

# In two processes. Each begins with one half of the list, so that a file's tests
# share what they build; who is done first takes from the other.
PYTEST := -m pytest -q -n 2 --dist worksteal
RECORD := build/suite.xml

.PHONY: help demo test quick claims times lint doctest docs notebooks \
	test-tensorflow test-jax test-jax-methods test-floor floors bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile

demo: $(DEMO_READY) ## The tour: a deep plain net fails, a residual one trains
	@KERAS_BACKEND=tensorflow $(dir $<)bin/python -m tfdeep_command run tour

test: lint docs test-tensorflow test-jax test-floor ## Everything that CI runs
	@echo "== Everything passed."

quick: lint ## What is soon done of it: 4 minutes, on TensorFlow alone
	@echo "== Examples in the docstrings, and what is not marked slow"
	@$(ON_TF) $(PYTEST) --doctest-modules -m "not slow and not claim" \
		tfdeep tests

claims: $(TF_READY) ## The papers' claims, an hour; RECIPE=dropout for one
	@$(ON_TF) -m pytest -q -m claim \
		$(if $(RECIPE),tests/recipes/test_claims.py -k "[$(RECIPE)]")

times: $(TF_READY) ## Where the last make test-tensorflow spent its time
	@$(TF) tests/times.py $(RECORD)

lint: $(TF_READY) ## Style and types
	@echo "== Lint and types"
	@$(TF) -m ruff check .
	@$(TF) -m ruff format --check .
	@$(TF) -m mypy

doctest: $(TF_READY) ## The examples in the docstrings
	@echo "== Examples in the docstrings"
	@$(ON_TF) $(PYTEST) --doctest-modules tfdeep

docs: $(TF_READY) ## The documentation, into docs/_build
	@echo "== Documentation"
	@$(ON_TF) -m sphinx -q -W --keep-going -n -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

notebooks: $(NOTEBOOKS_READY) ## The guides as notebooks, run, into examples/
	@KERAS_BACKEND=tensorflow $(dir $<)bin/python docs/notebooks.py

test-tensorflow: $(TF_READY) ## The suite on TensorFlow, and the examples
	@echo "== The suite on TensorFlow, the examples in docstrings and pages"
	@$(ON_TF) $(PYTEST) --doctest-modules -m "not claim" \
		--junitxml $(RECORD) tfdeep tests

test-jax: $(JAX_READY) ## The contract on the newest JAX and NumPy
	@echo "== The contract on JAX, without TensorFlow"
	@$(ON_JAX) $(PYTEST) -m "not claim" tests/contract tests/backend \
		tests/benchmarks

test-jax-methods: $(JAX_READY) ## The tests of layers and initializers on JAX
	@$(ON_JAX) $(PYTEST) -m "not claim" tests/layers tests/initializers

test-floor: $(FLOOR_READY) ## The contract's light part on the oldest versions
	@echo "== The contract's light part on Keras 3.13 and JAX 0.7"
	@$(ON_FLOOR) $(PYTEST) -m "not slow and not claim" tests/contract \
		tests/backend

floors: ## The oldest versions, TensorFlow too, on each of PYTHONS: 30 minutes
	@for python in $(PYTHONS); do \
		here=build/floor-$$(basename $$python); \
		"$$python" -c "import venv" 2>/dev/null || { \
			echo "== $$python: not found, left out"; continue; }; \
		echo "== $$python, in $$here"; \
		"$$python" -m venv $$here && $$here/bin/python -m pip -q install \
			--editable '.[tensorflow,jax,test]' '$(FLOOR_KERAS)' \
			'$(FLOOR_TF)' '$(FLOOR_JAX)' || exit 1; \
		for backend in tensorflow jax; do \
			echo "== $$python on $$backend"; \
			KERAS_BACKEND=$$backend $$here/bin/python $(PYTEST) \
				-m "not slow and not claim" tests/contract tests/backend \
				tests/layers tests/training || exit 1; \
		done; \
	done

bench: $(TF_READY) ## The measurements in benchmarks/
	@for script in $$(grep -l __main__ benchmarks/*.py); do \
		echo "== $$script"; $(ON_TF) "$$script" || exit 1; done

clean: ## Remove the environments and everything that was built
	rm -rf .venv .venv-jax .venv-floor .venv-demo .venv-notebooks docs/_build \
		docs/api/objects build dist *.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call environment,FOLDER,EXTRAS,WHAT TO EXPECT,FURTHER BOUNDS)
define environment
	@$(or $(PYTHON),false) -c 'import sys, venv, ensurepip; \
	sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	echo "No Python 3.11 with its venv module answers to \
	$(or $(PYTHON),python3.11 or python3)."; \
	echo "The environment needs exactly 3.11: TensorFlow Privacy ends there."; \
	echo "Install it (Debian: apt-get install python3.11 python3.11-venv) or"; \
	echo "name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; \
	exit 1; } >&2
	@echo "== Setting up $(1): $(3), once"
	@rm -rf $(1)
	@$(PYTHON) -m venv $(1)
	@$(1)/bin/python -m pip install --editable '.[$(2)]' $(4)
	@$(1)/bin/python -m pip check
	@touch $@
endef

# TensorFlow Privacy holds NumPy below 2 and packaging below 23. The bounds are
# the last versions that take these: without them pip tries a dozen of each.
.venv/ready-$(KEY):
	$(call environment,.venv,tensorflow$(,)jax$(,)datasets$(,)tfds$(,)plot$(,)privacy$(,)dev,1 to 3 minutes and 3.3 GB,'jax<0.7.2' 'sphinx<7.4')

.venv-jax/ready-$(KEY):
	$(call environment,.venv-jax,jax$(,)test,about 20 seconds and 0.7 GB)

.venv-floor/ready-$(KEY):
	$(call environment,.venv-floor,jax$(,)test,about 20 seconds and 0.7 GB,'$(FLOOR_KERAS)' '$(FLOOR_JAX)')

.venv-demo/ready-$(KEY):
	$(call environment,.venv-demo,tensorflow$(,)datasets$(,)plot$(,)accounting,about a minute and 2 GB)

.venv-notebooks/ready-$(KEY):
	$(call environment,.venv-notebooks,tensorflow$(,)accounting$(,)notebooks,about a minute and 2 GB)
