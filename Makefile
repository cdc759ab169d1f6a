.PHONY: install lint types imports test slow demo check docs notebooks bench bench-gpu packages

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

# The site, into site/; without a network.
docs:
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

notebooks:
	pytest -m slow tests/test_notebooks.py

bench:
	python benchmarks/neighbours.py
	python benchmarks/softsort.py

# Each with its physical limit: `make bench-gpu --dry-run` lists them, and needs no GPU.
bench-gpu:
	+@python -m benchmarks.gpu $(if $(findstring n,$(firstword -$(MAKEFLAGS))),--dry-run)

packages:
	.ci/packages dist
