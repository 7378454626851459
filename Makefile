# Everything runs in .venv, which the first target that needs it creates.
#   make demo    a real warm-versus-cold study, to its report
#   make demo-pixels   the same from images: which encoder, frozen or trained, warm or cold
#   make test    the tests           make lint    style and types
#   make bench   the measured claims, against their peers
#   make slow    the tests that learn something
#   make torture kills trials and studies, some hundred times, and compares bytes
#   make fuzz    100,000 damaged inputs for each reader of files and texts; FUZZ="--target task --inputs 1000000"
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
PIP_ARGS ?=
FUZZ ?=
PY := .venv/bin/python
# One thread per process: trials and test workers run side by side.
export OMP_NUM_THREADS := 1
# Mesa draws in the calling thread.
export LP_NUM_THREADS := 0

.PHONY: demo demo-pixels test lint bench slow torture fuzz rendering clean

demo: .venv/installed
	$(PY) -m warmstart demo

demo-pixels: .venv/installed rendering
	$(PY) -m warmstart demo --pixels

test: .venv/installed rendering
	$(PY) -m pytest -n 2 --dist loadfile -q

slow: .venv/installed rendering
	$(PY) -m pytest -m slow -q

torture: .venv/installed rendering
	$(PY) -m tests.torture

fuzz: .venv/installed
	nice -n 10 $(PY) -u -m tests.fuzzing $(FUZZ)

lint: .venv/installed
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

bench: .venv/installed
	$(PY) -m pip install -q $(PIP_ARGS) -c constraints.txt -e '.[dev,bench]'
	$(PY) benchmarks/simulation.py
	$(PY) benchmarks/training.py
	$(PY) benchmarks/off_policy.py
	$(PY) benchmarks/randomization.py
	$(PY) benchmarks/curricula.py
	$(PY) benchmarks/identification.py
	$(PY) benchmarks/vision.py
	$(PY) benchmarks/vision_learning.py
	$(PY) benchmarks/vision_learning.py --shift
	$(PY) benchmarks/vision_learning.py --readouts
	for each in checkpointing engines deployment runner video viewer; do $(PY) benchmarks/running/$$each.py || exit 1; done

.venv/installed: pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 or newer with venv is needed; on Debian: apt-get install python3 python3-venv"; exit 1; fi
	@test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install -q --disable-pip-version-check $(PIP_ARGS) -c constraints.txt torch
	$(PY) -m pip install -q --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@

# Frames need OpenGL without a display; state-based work does not.
rendering:
	@ldconfig -p 2>/dev/null | grep -q -E 'libEGL.so.1|libOSMesa' || ( \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get install -y -q libegl1 libgl1-mesa-dri >/dev/null 2>&1 ) || \
		echo "No EGL found: tests of rendering are skipped. On Debian: apt-get install libegl1 libgl1-mesa-dri"

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
