"""Show what runs measured: console, pictures and one HTML page."""

from saner_jax.reports._console import (
    headline,
    progress,
    say,
    show_evaluation,
    show_suspects,
    show_table,
    write_picture,
)
from saner_jax.reports._explain import (
    Paths,
    draw_shrinkage,
    draw_trajectories,
    explain,
    logit_paths,
    recipes,
    two_digits,
)
from saner_jax.reports._figures import COLORS, draw_curves, draw_suspects, image_grid, png_of
from saner_jax.reports._html import write_report
from saner_jax.reports._html_figures import (
    GROUPS,
    Picture,
    curves_picture,
    draw_groups,
    figure,
    percent,
)
from saner_jax.reports._table import (
    COLUMNS,
    TableRow,
    cell_text,
    columns_of,
    describe_labels,
    listed,
    mean_and_std,
    plural,
    table_rows,
)

__all__ = [
    "COLORS",
    "COLUMNS",
    "GROUPS",
    "Paths",
    "Picture",
    "TableRow",
    "cell_text",
    "columns_of",
    "curves_picture",
    "describe_labels",
    "draw_curves",
    "draw_groups",
    "draw_shrinkage",
    "draw_suspects",
    "draw_trajectories",
    "explain",
    "figure",
    "headline",
    "image_grid",
    "listed",
    "logit_paths",
    "mean_and_std",
    "percent",
    "plural",
    "png_of",
    "progress",
    "recipes",
    "say",
    "show_evaluation",
    "show_suspects",
    "show_table",
    "table_rows",
    "two_digits",
    "write_picture",
    "write_report",
]
