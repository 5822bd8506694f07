# The two commands of the README do all of their own set-up: `make serve` and `make test`. They need Python 3.10 or newer
# (another one by name: `make test PYTHON=python3.13`) and, for the C codec, a C compiler.

PYTHON ?= python3
PORT ?= 3000
VENV ?= .venv
SECTIONS ?= 1 2 3 4 5 6 7 9 10 12 13
STACKS ?=
SECONDS ?= 60
COUNT ?= 50000
WORKERS ?= logical
PYTEST_ARGS ?=

BIN := $(VENV)/bin
# How the suite is split: one worker for each core, at most four. WORKERS=0 runs it in one process.
SPLIT := --numprocesses $(WORKERS) --maxprocesses 4 --dist worksteal
SOURCES := setup.py setup.cfg pyproject.toml $(shell find lws_gevent -name '*.p[xy][dix]' -o -path 'lws_gevent/c_core/*.[ch]')

.PHONY: serve test lint types sanitize fuzz autobahn soak bench reference clean

serve: $(VENV)/.installed  ## an echo server with a page to try it on
	$(BIN)/lws-gevent echo --port $(PORT)

test: $(VENV)/.installed-test  ## the whole suite; what a missing tool would have tested is skipped with the reason
	$(BIN)/python -m pytest $(SPLIT) $(PYTEST_ARGS)

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-lint
	$(BIN)/python -m mypy -p lws_gevent
	$(BIN)/python -m mypy examples
	PYTHON=$(BIN)/python .ci/stubtest

sanitize: $(VENV)/.installed-test  ## the suite and the C core under ASan and UBSan
	PYTHON=$(BIN)/python WORKERS=$(WORKERS) .ci/sanitize

fuzz:  ## libFuzzer on the C core, SECONDS each
	fuzz/run $(SECONDS)

autobahn: $(VENV)/.installed-test  ## make autobahn SECTIONS="1 2 12.1.18" STACKS="greenlet+c"
	$(BIN)/python -m tests.autobahn --sections $(SECTIONS) $(if $(STACKS),--stacks $(STACKS))

soak: $(VENV)/.installed-test  ## a hundred thousand connections that end in every way, after which nothing may be left
	$(BIN)/python -m tests.soak --count $(COUNT) $(if $(STACKS),--stacks $(STACKS))

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks

reference: $(VENV)/.installed  ## docs/reference from the docstrings
	$(BIN)/python docs/make_reference.py

clean:
	rm -rf $(VENV) .venv-autobahn build dist reports *.egg-info tests/interop/node_modules
	find . -name .git -prune -o \( -name __pycache__ -o -name .mypy_cache -o -name .pytest_cache -o -name .ruff_cache \
		-o -name .hypothesis \) -type d -exec rm -rf {} +
	rm -f lws_gevent/*.so lws_gevent/*.c lws_gevent/engines/*.so lws_gevent/engines/*.c

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "lws_gevent needs Python 3.10 or newer; name one by: make PYTHON=python3.x" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# An editable install: Python files are used where they lie, the extensions are rebuilt when their sources change.
$(VENV)/.installed: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

# lws-gevent itself is there already; this adds what the extra names.
$(VENV)/.installed-%: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'lws-gevent[$*]'
	@touch $@
