.PHONY: lint test docs site quickstart ci

lint:  ## style and types
	ruff check . && ruff format --check . && mypy

test:  ## the default tests
	pytest -n auto

docs:  ## everything that is generated: pages of the leaderboard, tables of the documents
	prunebench leaderboard --figures
	python tests/readme_blocks.py
	python tests/paper_blocks.py
	python benchmarks/order.py
	python benchmarks/columns.py
	python benchmarks/same_cell.py

site:  ## the documents as a site, in build/site
	mkdocs build -f docs/site/mkdocs.yml

quickstart:  ## real images to a leaderboard
	prunebench run --suite quickstart

ci:  ## what a change has to pass, in an environment of its own
	bash .ci/run
