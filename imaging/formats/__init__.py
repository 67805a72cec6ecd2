"""The readers of each file format, each behind the budgets of `imaging.budget`."""
