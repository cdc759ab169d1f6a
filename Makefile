.PHONY: install lint types imports test slow demo check bench bench-gpu wheel

install:
	pip install -e '.[dev]'

lint:
	ruff check . && ruff format --check .

types:
	mypy

imports:
	lint-imports

test:
	pytest

slow:
	pytest -m slow

check: lint types imports test

demo:
	densebench demo

bench:
	python benchmarks/neighbours.py
	python benchmarks/softsort.py

# Each with its physical limit: `make bench-gpu --dry-run` lists them, and needs no GPU.
bench-gpu:
	+@python -m benchmarks.gpu $(if $(findstring n,$(firstword -$(MAKEFLAGS))),--dry-run)

wheel:
	python -m build --wheel
