"""cmu: errors of a residual network and of its two recurrent readings on CIFAR-10."""

from liquidlens.train.studies.reports.markdown import NOTHING, Tables, cost, table
from liquidlens.train.studies.reports.rows import Summary

READINGS = {
    "ResNet-1": "ResNet, depth 1",
    "RecNet": "RecNet: one block seven times, shared weights",
    "RecNet-RNN": "RecNet: a simple RNN of seven steps",
}
ACCURACY = "last_test_accuracy"


def _results(runs: list[Summary]) -> str:
    rows = []
    for model, words in READINGS.items():
        for run in (run for run in runs if run.name == model):
            printed = run.printed().get(ACCURACY)
            stated = NOTHING if printed is None else f"about {100 * (1 - printed.value):.0f}"
            ours_now = f"{100 * (1 - run.mean(ACCURACY)):.1f}"
            best = f"{100 * (1 - run.mean('best_test_accuracy')):.1f}"
            rows.append((words, f"{run.parameters:,}", run.seeds, ours_now, stated, best, *cost(run)))
    header = ("network", "parameters", "seeds", "test error, %", "stated", "at the best validation loss")
    return table((*header, "epochs", "seconds"), rows)


TABLES: Tables = {"results": _results}
