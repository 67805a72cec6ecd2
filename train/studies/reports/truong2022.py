"""truong-2022: fully connected heads against neural circuit policies on chest images."""

from liquidlens.train.studies.reports.markdown import NOTHING, Tables, cost, ours, table
from liquidlens.train.studies.reports.rows import Summary

HEADS = {
    "CRNet-FC": "fully connected",
    "CRNet-3FC": "three fully connected layers",
    "CRNet-NCP-y": "NCP over rows",
    "CRNet-NCP-z": "NCP over channels",
    "CRNet-NCP-patch": "NCP over patches",
}
METRICS = {"accuracy": "best_test_accuracy", "F1": "best_test_f1", "Dice": "best_test_dice", "AUC": "best_test_auc"}


def _results(runs: list[Summary]) -> str:
    heads = {(run.learning_rate, run.network.model): run for run in runs}
    rows = []
    for rate in sorted({rate for rate, _ in heads}):
        reference = heads.get((rate, "CRNet-FC"))
        for model, name in HEADS.items():
            if (run := heads.get((rate, model))) is None:
                continue
            figures = [ours(run, column) for column in METRICS.values()]
            off = NOTHING
            if reference is not None and run is not reference:
                off = f"{100 * (run.mean(METRICS['accuracy']) - reference.mean(METRICS['accuracy'])):+.1f}"
            rows.append((name, f"{run.parameters:,}", f"{rate:g}", run.seeds, *figures, off, *cost(run)))
    header = ("head", "parameters", "rate", "seeds", *(f"test {name}" for name in METRICS))
    return table((*header, "accuracy, points from FC", "epochs", "seconds"), rows)


TABLES: Tables = {"results": _results}
