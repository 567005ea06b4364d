"""Run folders as the commands leave them, made by hand."""

import json

OPTIONS = {"dataset": "digits", "noise": "symmetric", "rate": 0.4, "model": "mlp", "epochs": 3}
HOSTILE = "<script>alert('1')</script>\"&amp;$\\frac{$"
NAN = float("nan")


def entry(final, curves=None, seeds=2, **more):
    return {
        "final": final,
        "curves": curves or {},
        "diverged": [False] * seeds,
        "seconds": 1.0,
        **more,
    }


def make_compare(folder, methods, seeds=2, options=OPTIONS, **more):
    folder.mkdir()
    config = {**options, "methods": list(methods), "seeds": seeds}
    results = {
        "complete": True,
        "command": "saner-jax compare --epochs 3",
        "config": config,
        "provenance": {"versions": {"jax": "0.10.2"}, "git_commit": "8fa2f01"},
        "seeds": list(range(seeds)),
        "noise": [{"rate": 0.39, "label_hash": "7ee7", "flipped": 39}] * seeds,
        "num_train": 1437,
        "num_test": 360,
        "methods": methods,
        **more,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def make_train(folder, rows, **options):
    """Make a run that was killed: its results are not there yet."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**OPTIONS, "method": "saner", **options}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def epoch(number, **more):
    shares = {"shrunk": 0.25, "grown": 0.5, "reversed": 0.05, "zero": 0.2}
    measured = {"test_accuracy": number / 10, "memorized": 0.01, "clean_fit": 0.9}
    return {"epoch": number, "step": 10 * number, **shares, **measured, **more}


TWO_SEEDS = {
    "sgd": entry(
        {"test_accuracy_last": [0.5, 0.7], "memorized": [0.25, 0.25]},
        {"test_accuracy": [[0.4, 0.5], [0.5, 0.7]], "memorized": [[0.1, 0.25], [0.1, 0.25]]},
    ),
    "sam": entry(
        {"test_accuracy_last": [0.8, None], "memorized": [NAN, 0.5]},
        {"test_accuracy": [[0.4, 0.8], [None, None]], "memorized": [[0.1, NAN], [0.1, 0.5]]},
        diverged=[False, True],
    ),
}
