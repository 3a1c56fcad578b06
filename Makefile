# The named commands of the project; CI calls the same ones.
PYTHON ?= python3.11
BIN = .venv/bin
# One thread per library: two threads on a busy two-core machine are slower than one.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: demo live test check docs site wheel clean

demo: .venv/ready  ## the main job, live, on two real models
	$(BIN)/demur demo

live: .venv/ready  ## the demo's two models learn a router from the traffic that they serve
	$(BIN)/python benchmarks/live_demo.py

# Two processes: half of the tests' time is waiting for servers. A file's tests stay together, for what they share.
test: .venv/dev-ready  ## all tests; DEMUR_TEST=all adds the slow ones and demands the shared data
	$(BIN)/python -m pytest -n 2 --dist loadfile $(if $(filter all,$(DEMUR_TEST)),,-m "not slow")

check: .venv/dev-ready  ## lint, types, freshness of README and --help pages, the documentation site
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m docs.generate --check
	$(BIN)/python -m mkdocs build --quiet

docs: .venv/dev-ready  ## write the --help pages anew
	$(BIN)/python -m docs.generate

site: .venv/dev-ready  ## build the documentation site into build/site
	$(BIN)/python -m mkdocs build --quiet

wheel: .venv/dev-ready  ## build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation

clean:
	rm -rf .venv dist build run

.venv/ready: requirements/run.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $@

.venv/dev-ready: .venv/ready requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	touch $@
