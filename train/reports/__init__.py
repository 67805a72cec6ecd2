"""The pages of the studies: their tables and plots, made from the results alone."""

from train.reports.pages import write

__all__ = ["write"]
