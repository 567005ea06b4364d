#!/usr/bin/env bash
# What a GPU can tell, in at most 9 minutes a call; call it again to go on where it stopped.
#
#   benchmarks/on_gpu.sh OUTPUT_FOLDER [FOLDER_WITH_TFDS_CIFAR10 FOLDER_WITH_CIFAR_N]
#
# Uses what is installed and downloads nothing: jax, flax and optax for the speeds, torch where it
# is there, and the train extra (pip install ".[train]") with CIFAR-10 for pieces of the full-length
# runs. Results lie in OUTPUT_FOLDER; carry its `work` folder from call to call. MINUTES, SPEED and
# PYTORCH (arguments of the two benchmarks) make it smaller.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:?an output folder}
tfds=${2:-} cifar_n=${3:-}
mkdir -p "$out"
out=$(cd "$out" && pwd)
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export JAX_COMPILATION_CACHE_DIR="$out/work/cache"
began=$SECONDS
minutes=${MINUTES:-9}

has() { python -c "import $1" 2>/dev/null; }
# Whole minutes left, less one for what cannot be cut.
left() { echo $((minutes - 1 - (SECONDS - began) / 60)); }
# Runs a benchmark, which keeps what it has when the minutes are over: piece NAME ARGUMENTS
piece() {
  local name=$1
  shift
  [ "$(left)" -gt 0 ] || return 0
  timeout $((60 * minutes - (SECONDS - began))) \
    python "benchmarks/$name.py" "$@" >>"$out/$name.log" 2>&1
  local code=$?
  echo "$name: $([ $code = 0 ] && echo complete || echo "exit $code, see $name.log")"
}

nvidia-smi --query-gpu=name,memory.total --format=csv,noheader 2>/dev/null
python -c 'import jax; print(jax.__version__, jax.devices())' || exit 1
results=(--output-folder "$out/results")

piece saner_trains_at_half_sgds_speed "${results[@]}" --minutes "$(left)" \
  --work-folder "$out/work/speed" ${SPEED:-}
if has torch && [ ! -e "$out/results/a_step_is_faster_than_pytorchs.json" ]; then
  device=$(python -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')
  piece a_step_is_faster_than_pytorchs "${results[@]}" --device "$device" --bfloat16 \
    --modes eager compiled ${PYTORCH:---batch-size 512}
fi
if ! has tyro; then
  echo "saner_forgets_noise_on_cifar: needs the train extra"
elif [ ! -d "$tfds" ] || [ ! -d "$cifar_n" ]; then
  echo "saner_forgets_noise_on_cifar: needs the folders of CIFAR-10 and CIFAR-N"
else
  for name in saner_forgets_noise_on_cifar saner_beside_robust_objectives_on_cifar; do
    piece "$name" "${results[@]}" --preset gpu --minutes "$(left)" \
      --data-dir "$tfds" --noise-dir "$cifar_n" --work-folder "$out/work/cifar"
  done
fi
echo "$((SECONDS - began)) s"
