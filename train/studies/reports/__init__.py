"""The pages of the studies: their tables and plots, made from the results alone."""

from liquidlens.train.studies.reports.pages import write

__all__ = ["write"]
