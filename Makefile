.PHONY: check quick test long nightly bench docs clean

# Tests compile thousands of small programs and run each a few times. CI also runs them with 0.
export JAX_DISABLE_MOST_OPTIMIZATIONS ?= 1
# What was compiled is found again by other tests, other processes and later runs.
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.jax_cache
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0
export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES ?= -1
# A process that was killed may leave half an entry, which JAX tells and compiles anew.
export PYTHONWARNINGS ?= ignore:Error reading persistent compilation cache entry
# Without bytecode, every process would compile the library anew.
unexport PYTHONDONTWRITEBYTECODE

check:  ## what every change must pass
	ruff check .
	ruff format --check .
	pyright & types=$$!; $(MAKE) quick && wait $$types

quick:  ## the tests of `check` alone
	pytest -q -n 2 --dist worksteal

test:  ## slow tests included
	pytest -q -n 2 --dist worksteal -m "not long"

long:  ## what takes minutes each: runs killed again and again
	pytest -q -n 2 --dist worksteal -m long

nightly:  ## tens of thousands of drawn examples and damaged files, full disks, 50 kills: an hour
	python benchmarks/it_survives_faults.py
	python benchmarks/_tables.py

# The others need the folder of CIFAR-10, PyTorch or a GPU, and are run one by one.
CLAIMS = saner_costs_what_sam_costs sam_is_as_fast_as_optax_contribs many_seeds_at_once_are_faster \
	a_compiled_step_is_found_again a_step_costs_two_gradients saner_memorises_less_on_digits \
	the_trainer_adds_little_to_a_bare_loop methods_cost_their_gradients \
	saner_improves_every_ascent jacobian_sam_explains_sam_under_noise saner_finds_the_wrong_labels \
	ca_sam_finds_the_right_labels streaming_keeps_up_with_decoding \
	robust_objectives_and_saner_add_up_on_digits labels_are_judged_by_features \
	a_help_is_there_at_once

bench: export JAX_DISABLE_MOST_OPTIMIZATIONS = 0
bench: export JAX_COMPILATION_CACHE_DIR =
bench:  ## rewrite benchmarks/results and the README's tables
	for claim in $(CLAIMS); do python benchmarks/$$claim.py || exit; done
	python benchmarks/_tables.py

docs:  ## the site, in docs/_build/html: warnings are errors, and the notebooks run small
	sphinx-build -q -W --keep-going docs docs/_build/html

clean:
	rm -rf docs/_build docs/made build dist *.egg-info .jax_cache .pytest_cache .ruff_cache .hypothesis
