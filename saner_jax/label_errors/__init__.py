"""Find the wrong labels of a training set, and turn a review of them into labels."""

from saner_jax._options import OtherTool, RelabelConfig, SuspectsConfig
from saner_jax.label_errors._by_features import check_features, features_of
from saner_jax.label_errors._find import (
    SuspectsJob,
    check_suspects,
    find_suspects,
    judged_by,
    prepare_suspects,
)
from saner_jax.label_errors._found import Found, beside_cleanlab, evidence_of, write_found
from saner_jax.label_errors._interop import (
    coco_rows,
    columns_of,
    from_datalab,
    label_studio_tasks,
)
from saner_jax.label_errors._judge import LabelErrors, by_history, find_label_errors
from saner_jax.label_errors._neighbors import Oddities, alike, find_oddities
from saner_jax.label_errors._rank import Ranking, by_score, measure_ranking, pooled, rank
from saner_jax.label_errors._relabel import Relabeled, relabel
from saner_jax.label_errors._review import Listed, decisions_of, read_review

__all__ = [
    "Found",
    "LabelErrors",
    "Listed",
    "Oddities",
    "OtherTool",
    "Ranking",
    "RelabelConfig",
    "Relabeled",
    "SuspectsConfig",
    "SuspectsJob",
    "alike",
    "beside_cleanlab",
    "by_history",
    "by_score",
    "check_features",
    "check_suspects",
    "coco_rows",
    "columns_of",
    "decisions_of",
    "evidence_of",
    "features_of",
    "find_label_errors",
    "find_oddities",
    "find_suspects",
    "from_datalab",
    "judged_by",
    "label_studio_tasks",
    "measure_ranking",
    "pooled",
    "prepare_suspects",
    "rank",
    "read_review",
    "relabel",
    "write_found",
]
