.PHONY: install lint types imports test slow demo check bench wheel

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

wheel:
	python -m build --wheel
