# The project's commands. Each installs what it needs in $(VENV); a second run takes seconds.
#
#   make demo           the demo site on http://127.0.0.1:8000
#   make demo-workers   the same, served by two processes, of which one may be killed
#   make test           unit and integration      (make test ARGS='tests/unit/wire -x')
#   make lint           ruff, ruff format, mypy
#   make bench          against other servers: 25 minutes, writes docs/benchmarks.md
#                       (ARGS='--quick' tries it out, ARGS='--only fanout --peers nchan,ours-uvicorn')
#   make bench-encode   the encoder and the decoder against others
#   make bench-publish  publishes a second on each database, with and without group commit
#
# PYTHON=...   the Python that $(VENV) is made with, 3.11 or newer (default: the first one found)
# ADDRESS=...  where the demo listens

VENV ?= .venv
ADDRESS ?= 127.0.0.1:8000
BIN := $(VENV)/bin

# A name on the PATH may be a version manager's stand-in that does not run: try, do not look.
FIND_PYTHON = for name in python3 python3.15 python3.14 python3.13 python3.12 python3.11 python; do \
    $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
    && { echo $$name; break; }; done
ifndef PYTHON
PYTHON := $(shell $(FIND_PYTHON))
endif

# A test mostly waits, so two cores take three workers; more than six gain nothing. A file stays on
# one worker, because its tests share what it starts (tests/conftest.py).
PYTEST_ADDOPTS ?= --numprocesses=$(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1); \
    echo $$((n < 4 ? (3 * n + 1) / 2 : 6))) --no-loadscope-reorder --dist=loadscope

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo demo-workers test workers lint bench bench-encode bench-publish

demo: $(VENV)/.demo-stamp
	@$(BIN)/python manage.py migrate --verbosity 0
	@echo "The demo is at http://$(ADDRESS) (Ctrl-C ends it)."
	@exec $(BIN)/python manage.py runserver $(ADDRESS)

# runserver is a single process; uvicorn starts another one for each that dies.
demo-workers: $(VENV)/.demo-stamp
	@$(BIN)/python manage.py migrate --verbosity 0
	@echo "The demo is at http://$(ADDRESS), in two processes (Ctrl-C ends it)."
	@DEMO_WORKERS=2 exec $(BIN)/python -m uvicorn --host $(word 1,$(subst :, ,$(ADDRESS))) \
	    --port $(word 2,$(subst :, ,$(ADDRESS))) --workers 2 --no-access-log \
	    demo_project.asgi:application

test: export PYTEST_ADDOPTS := $(PYTEST_ADDOPTS)
test: $(VENV)/.test-stamp
	@$(BIN)/python -m pytest $(ARGS)

# For those who run pytest themselves, as .ci/run does.
workers:
	@echo $(PYTEST_ADDOPTS)

lint: $(VENV)/.dev-stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.bench-stamp
	@$(BIN)/python -m benchmarks.run $(ARGS)

bench-encode: $(VENV)/.bench-stamp
	@$(BIN)/python -m benchmarks.encode $(ARGS)

bench-publish: $(VENV)/.test-stamp $(VENV)/.bench-stamp
	@$(BIN)/python -m benchmarks.publishing $(ARGS)

# One stamp an extra: $(VENV) has it, as pyproject.toml says it now.
$(VENV)/.%-stamp: pyproject.toml
	@$(if $(PYTHON),,echo "Python 3.11 or newer is needed: install it, or say make PYTHON=/path/to/python3." >&2; exit 1)
	@echo "Installing into $(VENV) ($*) ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@
