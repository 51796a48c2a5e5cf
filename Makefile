# make venv    set up .venv, nothing else        make test        all tests (no GPU, network or data)
# make demo    two small studies and a report    make test-fast   those of a second, without Ray
# make notebook  docs/frames.ipynb, run again      make lint        ruff, mypy, order of the packages
#
# Needs Python 3.11 or newer; choose one with `make PYTHON=python3.12 ...`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN = .venv/bin
REPORT = runs/quickstart/report

.PHONY: venv demo test test-fast lint notebook clean-demo
.DELETE_ON_ERROR:

venv: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no python3 found; install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "make: $(PYTHON) cannot make a virtual environment; on Debian: apt install python3-venv"; exit 1; }
	@echo "installing into .venv: about 6 GB with torch's CUDA libraries, 2 to 5 minutes"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt pip
	@$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable . --group dev > .venv/install.log 2>&1 & \
	pid=$$!; while kill -0 $$pid 2>/dev/null; do sleep 10; sed -n 's/^Collecting \([^ ]*\).*/  \1/p; s/^Installing collected.*/  unpacking/p' .venv/install.log | tail -n 1; done; \
	wait $$pid || { tail -n 5 .venv/install.log; echo "make: installation failed; the whole of it is in .venv/install.log"; exit 1; }
	@touch $@

# one that was interrupted goes on; what an interrupt left of a run that had not begun is none
define study
	@trap : INT; if test -e runs/$(1)/study.json; then set -- resume runs/$(1); else rm -rf runs/$(1); set -- run $(1); fi; \
	echo "$(BIN)/resnet-search $$*"; $(BIN)/resnet-search "$$@" || { status=$$?; \
	echo "make: \`make demo\` goes on, \`make clean-demo demo\` begins anew"; exit $$status; }
endef

demo: venv
	$(call study,quickstart-cifar10)
	$(call study,quickstart-crowd)
	$(BIN)/resnet-report build runs/quickstart-cifar10 runs/quickstart-crowd --out $(REPORT)
	@echo "open $(REPORT)/index.html"

clean-demo:
	@rm -rf runs/quickstart-cifar10 runs/quickstart-crowd runs/quickstart

# three processes on two cores: one of them mostly waits for a Ray to start; a file stays in one
test: venv
	$(BIN)/python -m pytest -n 3 --dist loadfile

test-fast: venv
	$(BIN)/python -m pytest -n auto -m "not slow and not long"

notebook: venv
	$(BIN)/python tests/analysis/notebook.py

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
