.PHONY: check test long bench clean

# Tests compile thousands of small programs and run each a few times. CI also runs them with 0.
export JAX_DISABLE_MOST_OPTIMIZATIONS ?= 1

check:  ## what every change must pass, in under 90 seconds
	ruff check .
	ruff format --check .
	pyright
	pytest -q -n 2 --dist loadfile

test:  ## slow tests included
	pytest -q -n 2 --dist worksteal -m "not long"

long:  ## what takes minutes each: runs killed again and again
	pytest -q -m long

bench:  ## rewrite benchmarks/results
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 python benchmarks/a_step_costs_two_gradients.py
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 python benchmarks/saner_memorises_less_on_digits.py
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 python benchmarks/the_trainer_adds_little_to_a_bare_loop.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
