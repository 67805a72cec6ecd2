"""truong-2022: fully connected heads against neural circuit policies on chest images."""

from collections.abc import Callable

from train.reports.markdown import NOTHING, Plot, ours, table
from train.reports.rows import Summary

HEADS = {
    "CRNet-FC": "fully connected",
    "CRNet-3FC": "three fully connected layers",
    "CRNet-NCP-y": "NCP over rows",
    "CRNet-NCP-z": "NCP over channels",
    "CRNet-NCP-patch": "NCP over patches",
}
METRICS = {"accuracy": "best_test_accuracy", "F1": "best_test_f1", "Dice": "best_test_dice", "AUC": "best_test_auc"}


def _own(runs: list[Summary]) -> dict[str, Summary]:
    found = {run.model.partition("@")[0]: run for run in runs}
    return {model: found[model] for model in HEADS if model in found}


def _results(runs: list[Summary]) -> str:
    own = _own(runs)
    reference = own.get("CRNet-FC")
    rows = []
    for model, run in own.items():
        figures = [ours(run, column) for column in METRICS.values()]
        off = NOTHING
        if reference is not None and run is not reference:
            off = f"{100 * (run.mean(METRICS['accuracy']) - reference.mean(METRICS['accuracy'])):+.1f}"
        cost = f"{run.mean('epochs'):.0f}", f"{run.mean('seconds'):,.0f}"
        rows.append((HEADS[model], f"{run.parameters:,}", run.seeds, *figures, off, *cost))
    header = ("head", "parameters", "seeds", *(f"test {name}" for name in METRICS))
    return table((*header, "accuracy, points from FC", "epochs", "seconds"), rows)


TABLES: dict[str, Callable[[list[Summary]], str]] = {"results": _results}
PLOTS: dict[str, Plot] = {}
