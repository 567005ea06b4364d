"""Write the tables of the documents from the results: python benchmarks/_tables.py.

A table stands between two comments, `<!-- name -->` and `<!-- end -->`; what is between them is
replaced.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from _record import ROOT, cite, mean_and_spread
from _saner_tables import answers, equal, features, nets, radii, settings, shrunk


def costs(result: dict[str, Any]) -> list[str]:
    """Tell what a step of every method costs, relative to SGD's."""
    lines = ["| method | FLOPs | bytes | time |", "|---|---|---|---|"]
    for name, cell in result["over_sgd"].items():
        time = cell["seconds"]
        lines.append(
            f"| {name} | {cell['flops']:.3f} | {cell['bytes_accessed']:.2f} | {time['median']:.2f}"
            f" [{time['quartile_1']:.2f}, {time['quartile_3']:.2f}] |"
        )
    return lines


def models(result: dict[str, Any]) -> list[str]:
    """Tell what XLA counts in a step of real models, relative to SGD's."""
    names = {"resnet18": "ResNet-18", "vit_tiny": "ViT-tiny"}
    cells = ("FLOPs", "bytes", "memory")
    heads = [f"{names[model]}: {cells[0]}" for model in result["over_sgd"]]
    titles = " | ".join(f"{head} | {' | '.join(cells[1:])}" for head in heads)
    lines = [f"| method | {titles} |", "|---" * (1 + 3 * len(heads)) + "|"]
    for name in next(iter(result["over_sgd"].values())):
        told = " | ".join(
            f"{cell['flops']:.4f} | {cell['bytes_accessed']:.3f} | {cell['extra_memory']:+.2f}"
            for rows in result["over_sgd"].values()
            for cell in [rows[name]]
        )
        lines.append(f"| {name} | {told} |")
    return lines


def times(*results: dict[str, Any]) -> list[str]:
    """Tell ratios of times, each measured in one process in turn."""
    contrib, pytorch, seeds, compiling = results
    told = lambda ratio: (
        f"{ratio['median']:.2f} [{ratio['quartile_1']:.2f}, {ratio['quartile_3']:.2f}]"
    )
    rows = {
        "`sam` over `optax.contrib.sam`, opaque": contrib["ratios"]["sam over contrib opaque"],
        "`sam` over `optax.contrib.sam`, transparent": contrib["ratios"][
            "sam over contrib transparent"
        ],
        **{
            f"{method} over PyTorch's, {mode}, ResNet-18, batch {pytorch['batch_size']}": ratio
            for mode, methods in pytorch["over_pytorch"].items()
            for method, ratio in methods.items()
        },
        "seeds one after the other over all at once": seeds["one_by_one_over_at_once"],
        "compiling: SANER over SAM, ResNet-18": compiling["ratios"]["saner over sam"],
        "compiling: found in the cache over the first time": compiling["ratios"][
            "cached over first, saner"
        ],
    }
    lines = ["| time of | ratio |", "|---|---|"]
    return lines + [f"| {name} | {told(ratio)} |" for name, ratio in rows.items()]


def faults(result: dict[str, Any]) -> list[str]:
    """Tell what was done to runs and files, how often, and what came of it."""
    lines = ["| what happens | times | what comes of it |", "|---|---|---|"]
    return lines + [
        f"| {row['fault']} | {row['tried']:,} | {row['outcome']} |" for row in result["faults"]
    ]


def results(*every: dict[str, Any]) -> list[str]:
    """Tell last test accuracy, and the wrong labels memorized, of SGD, SAM and SANER."""
    digits, best, cifar, same = every
    finals = lambda cells: {
        name: {**cell["final"], "rho": cell["rho"]} for name, cell in cells.items()
    }
    at = lambda methods, rho: {name: {**cell, "rho": rho} for name, cell in methods.items()}
    rows = [
        ("digits, 40 % symmetric", digits, at(digits["methods"], digits["config"]["rho"])),
        ("the same, SAM's best ρ", best, at(best["methods"], best["rho"]["sam"])),
        ("CIFAR-10N worse, best ρ of each", cifar, finals(cifar["noise"]["human:worse"])),
        ("CIFAR-10, 50 % symmetric, best ρ of each", cifar, finals(cifar["noise"]["symmetric"])),
        ("the same, SAM's best ρ", same, finals(same["noise"]["symmetric"])),
    ]

    def told(method: str, cells: dict[str, Any]) -> str:
        if method not in cells:
            return "–"
        cell = cells[method]
        radius = "" if method == "sgd" else f", ρ {cell['rho']:g}"
        memorized = mean_and_spread(cell["memorized"]).partition(" ")[0]
        return f"{mean_and_spread(cell['test_accuracy_last'])} ({memorized}{radius})"

    lines = ["| data and noise | n | SGD | SAM | SANER | record |", "|---|---|---|---|---|---|"]
    for what, result, cells in rows:
        methods = " | ".join(told(method, cells) for method in ("sgd", "sam", "saner"))
        n = len(cells["saner"]["test_accuracy_last"])
        lines.append(f"| {what} | {n} | {methods} | {cite(result)} |")
    return lines


def compare(result: dict[str, Any]) -> list[str]:
    """Tell what the default comparison ends with."""
    columns = {
        "test accuracy, last": "test_accuracy_last",
        "best": "test_accuracy_best",
        "memorized wrong labels": "memorized",
        "clean fit": "clean_fit",
    }
    lines = [f"| method | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for method, cell in result["methods"].items():
        told = " | ".join(mean_and_spread(cell[key]) for key in columns.values())
        lines.append(f"| {method} | {told} |")
    options, n = result["config"], len(result["seeds"])
    about = (
        f"Mean ± standard deviation over {n} seeds with paired noise: scikit-learn's digits,"
        f" {options['rate']:.0%} {options['noise']} noise, an MLP, {options['epochs']} epochs,"
        f" rho {options['rho']:g}, alpha {options['alpha']:g} ({cite(result)})."
        " *Best* is the best epoch by test accuracy, which nobody with noisy labels could pick."
    )
    return [*lines, "", about]


def suspects(*every: dict[str, Any]) -> list[str]:
    """Tell how well rankings find the wrong labels, by AUROC."""
    names = {
        "symmetric 0.2": "digits, 20 % symmetric",
        "symmetric 0.4": "digits, 40 % symmetric",
        "pair 0.3": "digits, 30 % to the next class",
        "symmetric": "CIFAR-10, 40 % symmetric",
        "human:worse": "CIFAR-10N worse",
    }
    columns = {"SGD": "sgd", "SAM": "sam", "SANER": "saner"}
    lines = [
        f"| data and noise | n | {' | '.join(columns)} | record |",
        "|---|---|---|---|---|---|",
    ]
    for result in every:
        for noise, scorers in result["noise"].items():
            cells = " | ".join(mean_and_spread(scorers[name]["auroc"]) for name in columns.values())
            n = len(scorers["saner"]["auroc"])
            lines.append(f"| {names[noise]} | {n} | {cells} | {cite(result)} |")
    return lines


def objectives(result: dict[str, Any]) -> list[str]:
    """Tell last test accuracy, and the wrong labels memorized, of every objective and optimizer."""
    methods = ("sgd", "sam", "saner")
    titles = [
        f"{noise}: {' | '.join(method.upper() for method in methods)}" for noise in result["noises"]
    ]
    lines = [
        f"| objective | {' | '.join(titles)} |",
        "|---" * (1 + len(methods) * len(titles)) + "|",
    ]
    every = [noise["final"] for noise in result["noises"].values()]
    for name in dict.fromkeys(key.partition(", ")[0] for key in every[0]):
        cells = [
            f"{mean_and_spread(final['test_accuracy_last'])}"
            f" ({mean_and_spread(final['memorized']).partition(' ')[0]})"
            for finals in every
            for method in methods
            for final in [finals[f"{name}, {method}"]]
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


ON_FEATURES = "saner_beside_sam_on_features_of_cifar10"
FROM_PIXELS = "saner_beside_sam_on_all_of_cifar10"
TABLES: dict[str, tuple[tuple[str, ...], Callable[..., list[str]]]] = {
    "costs": (("methods_cost_their_gradients",), costs),
    "models": (("saner_costs_what_sam_costs",), models),
    "times": (
        (
            *("sam_is_as_fast_as_optax_contribs", "a_step_is_faster_than_pytorchs"),
            *("many_seeds_at_once_are_faster", "a_compiled_step_is_found_again"),
        ),
        times,
    ),
    "results": (
        (
            *("saner_memorises_less_on_digits", "saner_improves_every_ascent"),
            *("saner_forgets_noise_on_cifar", "saner_improves_every_ascent_on_cifar"),
        ),
        results,
    ),
    "compare": (("saner_memorises_less_on_digits",), compare),
    "suspects": (
        ("saner_finds_the_wrong_labels", "saner_finds_wrong_labels_on_cifar"),
        suspects,
    ),
    "objectives": (("robust_objectives_and_saner_add_up_on_digits",), objectives),
    "faults": (("it_survives_faults",), faults),
    "answers": ((ON_FEATURES, FROM_PIXELS), answers),
    "features": ((ON_FEATURES,), features),
    "equal": ((ON_FEATURES,), equal),
    "settings": ((ON_FEATURES,), settings),
    "shrunk": ((ON_FEATURES,), shrunk),
    "nets": ((FROM_PIXELS,), nets),
    "radii": ((FROM_PIXELS,), radii),
}


DOCUMENTS = (
    "README.md",
    "benchmarks/README.md",
    "docs/which_method.md",
    "docs/when_saner_helps.md",
)


def filled(text: str, document: str) -> str:
    """Replace every table in a document by what the results say.

    Args:
        text: of the document.
        document: its path in the repository; links to the records are relative to it.

    Returns:
        The text with its tables.
    """
    to_root = "../" * document.count("/")
    for name, (claims, write) in TABLES.items():
        paths = [ROOT / "benchmarks" / "results" / f"{claim}.json" for claim in claims]
        if all(path.exists() for path in paths):
            rows = "\n".join(write(*(json.loads(path.read_text()) for path in paths)))
            rows = rows.replace("](benchmarks/", f"]({to_root}benchmarks/")
            text = re.sub(
                rf"(<!-- {name} -->\n).*?(<!-- end -->)",
                lambda match, rows=rows: f"{match[1]}{rows}\n{match[2]}",
                text,
                flags=re.DOTALL,
            )
    return text


if __name__ == "__main__":
    for document in DOCUMENTS:
        path = ROOT / document
        path.write_text(filled(path.read_text(), document))
