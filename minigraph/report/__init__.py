"""Pictures and pages for people: predictions, curves, scores, filters, feature maps, graphs."""

from minigraph.report.confusion import plot_confusion
from minigraph.report.curves import best_record, plot_curves, read_records
from minigraph.report.feature_maps import block_outputs, feature_map_picture, feature_maps
from minigraph.report.filters import (
    FilterCorrelations,
    filter_correlations,
    first_convolution,
    plot_filters,
)
from minigraph.report.graph_drawing import graph_dot, graph_svg, write_graph
from minigraph.report.palette import PALETTE, class_colours, colour_labels
from minigraph.report.picture_files import write_picture
from minigraph.report.predictions import classification_picture, segmentation_picture
from minigraph.report.scores import scores_csv, scores_markdown, write_scores
from minigraph.report.summary import write_markdown_summary, write_summary

__all__ = [
    "PALETTE",
    "FilterCorrelations",
    "best_record",
    "block_outputs",
    "class_colours",
    "classification_picture",
    "colour_labels",
    "feature_map_picture",
    "feature_maps",
    "filter_correlations",
    "first_convolution",
    "graph_dot",
    "graph_svg",
    "plot_confusion",
    "plot_curves",
    "plot_filters",
    "read_records",
    "scores_csv",
    "scores_markdown",
    "segmentation_picture",
    "write_graph",
    "write_markdown_summary",
    "write_picture",
    "write_scores",
    "write_summary",
]
