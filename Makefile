.PHONY: install lint types test slow demo check bench wheel

install:
	pip install -e '.[dev]'

lint:
	ruff check . && ruff format --check .

types:
	mypy

test:
	pytest

slow:
	pytest -m slow

check: lint types test

demo:
	densebench demo

bench:
	python benchmarks/neighbours.py
	python benchmarks/softsort.py

wheel:
	python -m build --wheel
