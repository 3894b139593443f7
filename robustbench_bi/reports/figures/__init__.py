"""Figures: functions from a frame to a matplotlib Figure; `robustbench_bi.reports.FIGURES` lists them."""
