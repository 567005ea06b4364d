.PHONY: check test bench clean

check:  ## what every change must pass, in under 90 seconds
	ruff check .
	ruff format --check .
	pyright
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 pytest -q -n 2 --dist loadfile

test:  ## everything, slow tests included
	pytest -q -n 2 --dist loadfile -m ""

bench:  ## rewrite benchmarks/results
	python benchmarks/a_step_costs_two_gradients.py
	python benchmarks/saner_memorises_less_on_digits.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
