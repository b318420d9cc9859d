# make demo      render a sample, train on it, evaluate, predict; about five minutes on two cores after installing
# make test      the test suite; PADDLE=2.6.2 runs it on that line, DEVICE=gpu on a GPU
# make install   the environment alone; DEVICE=gpu for a machine with NVIDIA's driver (CUDA=host: with its own CUDA)
# make lint      checks style and format; make fixup fixes what can be fixed automatically
# make clean     deletes environments and caches, not output/

DEVICE ?= cpu
PADDLE ?= $(if $(filter gpu,$(DEVICE)),2.6.2,3.3.1)
PADDLESEG = 2.8.0
PADDLE2ONNX = $(if $(filter 2.%,$(PADDLE)),1.3.1,2.1.0)
# The first Python that Paddle has wheels for.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.10 python3.9; do \
	$$p -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)

ifeq ($(DEVICE),gpu)
REQUIREMENTS = requirements-gpu.txt
VENV ?= .venv-gpu
# Paddle 3 brings CUDA's packages itself. Its builds for GPUs come from Paddle's own index, which
# PIP_EXTRA_INDEX_URL names to pip: make install DEVICE=gpu PADDLE=3.x.y
WITHOUT_NVIDIA = $(if $(filter host,$(CUDA))$(filter-out 2.%,$(PADDLE)),/^nvidia-/d;)
else
REQUIREMENTS = requirements.txt
VENV ?= .venv-$(PADDLE)
endif
RUN = $(VENV)/bin/python
PIP = $(VENV)/bin/pip install --quiet --disable-pip-version-check
DEMO = output/demo
RECIPE = configs/stdc1_seg_sample.yml
ENGINE_TESTS = tests/examples tests/engine/export $(patsubst %,tests/tool/test_%.py,benchmark demo evaluate_exported gpu_check one_way predict speed)
# Processes of one thread each: tests spend their time outside of large convolutions.
WORKERS ?= 2
TEST = OMP_NUM_THREADS=1 TEST_DEVICE=$(DEVICE) $(RUN) -m pytest -q -n $(WORKERS) --dist loadfile

.PHONY: install install-dev demo test lint fixup clean

install: $(VENV)/installed

install-dev: $(VENV)/installed-dev

$(VENV)/installed: requirements-common.txt $(REQUIREMENTS)
	@test -n "$(PYTHON)" || { echo "error: no Python 3.9 to 3.12 found; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	cp requirements-common.txt $(VENV)/
	sed '$(WITHOUT_NVIDIA) s/^\(paddlepaddle[-gpu]*\)==.*/\1==$(PADDLE)/' $(REQUIREMENTS) > $(VENV)/requirements.txt
	$(PIP) -r $(VENV)/requirements.txt
	$(PIP) --no-deps paddleseg==$(PADDLESEG)
ifeq ($(DEVICE),gpu)
	$(RUN) -m compat.cuda_libraries
endif
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt requirements-deploy.txt
	sed 's/^paddle2onnx==.*/paddle2onnx==$(PADDLE2ONNX)/' requirements-deploy.txt > $(VENV)/requirements-deploy.txt
	$(PIP) -r requirements-dev.txt -r $(VENV)/requirements-deploy.txt
	@touch $@

demo: install
	$(RUN) -m tool.prepare_data sample --save_dir data/sample
	$(RUN) train.py --config $(RECIPE) --save_dir $(DEMO)
	$(RUN) -m tool.evaluate --config $(RECIPE) --model_path $(DEMO)/best_model
	$(RUN) -m tool.predict --config $(RECIPE) --model_path $(DEMO)/best_model --save_dir $(DEMO)/predictions

# The engines have their own thread pools and OpenMP runtimes, which should not share a process with Paddle's.
test: install-dev
	$(TEST) $(addprefix --ignore=,$(ENGINE_TESTS))
	$(TEST) $(ENGINE_TESTS)

lint: install-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

fixup: install-dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf .venv-* .pytest_cache .ruff_cache
