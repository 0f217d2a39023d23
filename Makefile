# `make demo` and `make test` set up everything they need in .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-slow lint check docs docs-fresh wheel fuzz mutants kernel-faults triton-tests bench bench-peers gpu gpu-dry nir-peers campaign clean

demo: .venv/.demo
	@$(BIN)/sresnet train digits --report

test: .venv/.test
	@$(BIN)/python -m pytest --numprocesses 2

lint: .venv/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# The slow tests alone, every study at its smallest scale among them.
test-slow: .venv/.test
	@$(BIN)/python -m pytest --numprocesses 2 --slow -m slow

check: lint
	@$(BIN)/python -m pytest --numprocesses 2 --slow

# The documentation site in build/site, its notebooks executed; a warning is an error. Notebooks that have not changed
# are not executed again, though the package may have: make docs-fresh does it all.
docs: .venv/.docs
	@$(BIN)/python -m sphinx --quiet --jobs 2 --fail-on-warning -c docs . build/site
	@echo '<meta http-equiv="refresh" content="0; url=docs/index.html">' >build/site/index.html
	@echo "build/site/index.html"

docs-fresh:
	@rm -rf build/site build/notebooks
	@$(MAKE) --no-print-directory docs

# A wheel made from the tree, installed into an empty environment, works outside the tree and without a compiler.
wheel: .venv/.dev
	@rm -rf build/wheel && mkdir -p build/wheel
	@$(BIN)/python -m build --wheel --outdir build/wheel . >build/wheel/log 2>&1 || (cat build/wheel/log; false)
	@$(PYTHON) -m venv build/wheel/venv
	@build/wheel/venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch numpy
	@build/wheel/venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt build/wheel/*.whl
	@cd build/wheel && CXX=no-such-compiler PATH=venv/bin:/nowhere venv/bin/sresnet info sresnet8 | tail -4
	@cd build/wheel && CXX=no-such-compiler PATH=venv/bin:/nowhere venv/bin/sresnet info digits-t4 | tail -4
	@cd build/wheel && CXX=no-such-compiler PATH=venv/bin:/nowhere venv/bin/python -W error -c \
	  'import torch, sresnet; m = sresnet.create_model("sresnet8", num_steps=2); m(torch.rand(2, 3, 32, 32)).sum().backward()'

# The kernels for GPUs on a machine without one: in Triton's interpreter, then compiled and their machine code read. In
# an environment of its own, as triton takes 700 MB.
triton-tests: .venv-triton/.ready
	@TRITON_INTERPRET=1 .venv-triton/bin/python -m pytest --numprocesses 2 tests/ops/gpu
	@.venv-triton/bin/python -m pytest --numprocesses 2 tests/ops/gpu/test_compiled.py

fuzz: .venv/.test
	@SRESNET_FUZZ_CASES=100000 $(BIN)/python -m pytest --numprocesses 2 -k fuzz

# One small change of the source at a time: does a test notice? An hour or two; writes results/mutants.md.
mutants: .venv/.test
	@nice -n 5 $(BIN)/python tools/mutants.py

# Planted faults, and small changes, of the kernels for GPUs: do their tests notice? Half an hour; writes
# results/kernel-faults.md.
kernel-faults: .venv-triton/.ready
	@nice -n 5 .venv-triton/bin/python tools/kernel_faults.py

# Time and memory of a training step and of inference; on a quiet machine about ten minutes.
bench: .venv/.dev
	@$(BIN)/python benchmarks/bench.py

# What a GPU makes of it, in less than ten minutes: make gpu [DATA_DIR=DIR], with torch and triton for that GPU in the
# environment that PYTHON is of. gpu-dry tries every line on a CPU, with the kernels interpreted.
GPU_NEEDS := import importlib.util as u, sys; \
  names = "torch triton numpy safetensors typeguard jaxtyping filelock sklearn".split(); \
  lacks = [name.replace("sklearn", "scikit-learn") for name in names if not u.find_spec(name)]; \
  sys.exit(f"{sys.executable} lacks packages: pip install {chr(32).join(lacks)}" if lacks else 0)
gpu:
	@$(PYTHON) -c '$(GPU_NEEDS)'
	@PYTHONPATH=src $(PYTHON) benchmarks/gpu.py $(if $(DATA_DIR),--data-dir $(DATA_DIR))

gpu-dry: .venv-triton/.ready
	@TRITON_INTERPRET=1 SRESNET_ENGINE=triton .venv-triton/bin/python benchmarks/gpu.py --dry

# Beside other libraries, in an environment of their own: what they ask for would pull in another build of torch.
bench-peers: constraints.txt
	@test -d .venv-peers || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch numpy
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps spikingjelly==2.0.0 snntorch==1.0.0
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt loguru scipy
	@.venv-peers/bin/python benchmarks/bench.py

# Spikes of NIR files in snnTorch and Norse, in an environment of their own.
nir-peers: .venv/.test
	@test -d .venv-nir || $(PYTHON) -m venv .venv-nir
	@.venv-nir/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  torch numpy nir nirtorch snntorch==1.0.0 norse==1.1.0
	@SRESNET_NIR_PEERS=.venv-nir/bin/python $(BIN)/python -m pytest --slow tests/export/test_nir_peers.py

# The next unfinished training of results/campaign.toml: make campaign DATA_DIR=DIR; its runs are kept in CAMPAIGN_DIR.
CAMPAIGN_MINUTES ?= 90
CAMPAIGN_DIR ?= runs/campaign
campaign: .venv/.dev
	@nice -n 19 $(BIN)/python experiments/campaign.py --minutes $(CAMPAIGN_MINUTES) --runs $(CAMPAIGN_DIR) $(DATA_DIR)

# The pages of the site need what the notebooks call: scikit-learn, pictures, figures and exports.
.venv/.docs: .venv/.test
	@$(PIP) --editable '.[docs]'
	@touch $@

clean:
	rm -rf .venv .venv-triton build dist

# torch first and pinned, so that nothing else pulls another build of it.
.venv/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"sresnet needs Python 3.11 or newer, this is {v.major}.{v.minor}: run make PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv
	@echo "installing into .venv (a minute or two the first time)"
	@$(PIP) torch numpy
	@touch $@

.venv-triton/.ready: constraints.txt pyproject.toml
	@$(PYTHON) -m venv .venv-triton
	@.venv-triton/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch numpy
	@.venv-triton/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --editable '.[demo,triton]' pytest pytest-xdist hypothesis
	@touch $@

.venv/.demo: .venv/.torch pyproject.toml
	@$(PIP) --editable '.[demo]'
	@touch $@

.venv/.test: .venv/.torch pyproject.toml
	@$(PIP) --editable '.[test]'
	@touch $@ .venv/.demo

.venv/.dev: .venv/.torch pyproject.toml
	@$(PIP) --editable '.[dev]'
	@touch $@ .venv/.test .venv/.demo
