.PHONY: check test bench clean

# Tests compile thousands of small programs and run each a few times. CI also runs them with 0.
export JAX_DISABLE_MOST_OPTIMIZATIONS ?= 1

check:  ## what every change must pass, in under 90 seconds
	ruff check .
	ruff format --check .
	pyright
	pytest -q -n 2 --dist loadfile

test:  ## everything, slow tests included
	pytest -q -n 2 --dist worksteal -m ""

bench:  ## rewrite benchmarks/results
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 python benchmarks/a_step_costs_two_gradients.py
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 python benchmarks/saner_memorises_less_on_digits.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
