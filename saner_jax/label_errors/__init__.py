"""Find the wrong labels of a training set, and turn a review of them into labels."""

from saner_jax.label_errors._by_features import check_features, features_of, judge
from saner_jax.label_errors._find import (
    Found,
    SuspectsConfig,
    SuspectsJob,
    beside_cleanlab,
    check_suspects,
    find_suspects,
    prepare_suspects,
)
from saner_jax.label_errors._judge import LabelErrors, find_label_errors
from saner_jax.label_errors._rank import Ranking, by_score, measure_ranking, pooled, rank
from saner_jax.label_errors._review import Decision, RelabelConfig, Relabeled, decisions_of, relabel

__all__ = [
    "Decision",
    "Found",
    "LabelErrors",
    "Ranking",
    "RelabelConfig",
    "Relabeled",
    "SuspectsConfig",
    "SuspectsJob",
    "beside_cleanlab",
    "by_score",
    "check_features",
    "check_suspects",
    "decisions_of",
    "features_of",
    "find_label_errors",
    "find_suspects",
    "judge",
    "measure_ranking",
    "pooled",
    "prepare_suspects",
    "rank",
    "relabel",
]
