"""Find the wrong labels of a training set, and turn a review of them into labels."""

from saner_jax.label_errors._find import (
    Found,
    SuspectsConfig,
    SuspectsJob,
    beside_cleanlab,
    check_suspects,
    find_suspects,
    prepare_suspects,
)
from saner_jax.label_errors._rank import Ranking, by_score, measure_ranking, pooled, rank
from saner_jax.label_errors._review import Decision, RelabelConfig, Relabeled, decisions_of, relabel

__all__ = [
    "Decision",
    "Found",
    "Ranking",
    "RelabelConfig",
    "Relabeled",
    "SuspectsConfig",
    "SuspectsJob",
    "beside_cleanlab",
    "by_score",
    "check_suspects",
    "decisions_of",
    "find_suspects",
    "measure_ranking",
    "pooled",
    "prepare_suspects",
    "rank",
    "relabel",
]
