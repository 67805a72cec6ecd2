"""truong-2022: fully connected heads against neural circuit policies on chest images."""

from functools import partial

from liquidlens.train.studies.plans import TRUONG_SECOND
from liquidlens.train.studies.reports.markdown import NO_RUN, NOTHING, Tables, cost, ours, table
from liquidlens.train.studies.reports.rows import Summary
from liquidlens.train.studies.reports.verdicts import NOT_RUN, Claim, Finding, Verdict, share

HEADS = {
    "CRNet-FC": "fully connected",
    "CRNet-3FC": "three fully connected layers",
    "CRNet-NCP-y": "NCP over rows",
    "CRNet-NCP-z": "NCP over channels",
    "CRNet-NCP-patch": "NCP over patches",
    "CRNet-NCP-y-double": "NCP over rows, twice the neurons",
    "CRNet-NCP-y-custom": "NCP over rows, four times the neurons",
}
METRICS = {"accuracy": "best_test_accuracy", "F1": "best_test_f1", "Dice": "best_test_dice", "AUC": "best_test_auc"}


def _results(runs: list[Summary], data: str) -> str:
    heads = {(run.learning_rate, run.network.model): run for run in runs if run.dataset == data}
    if not heads:
        return NO_RUN
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
            figures += [off, ours(run, "last_test_accuracy")]
            rows.append((name, f"{run.parameters:,}", f"{rate:g}", run.seeds, *figures, *cost(run)))
    header = ("head", "parameters", "rate", "seeds", *(f"test {name}" for name in METRICS))
    return table((*header, "accuracy, points from FC", "accuracy at the end", "epochs", "seconds"), rows)


# --- Its claims ----------------------------------------------------------------------------------------------

#: The report's runs end after 175 to 200 epochs; from a third of that on, ours say something.
LEAST_EPOCHS = 60
_FC, _POLICIES = "CRNet-FC", tuple(model for model in HEADS if "NCP" in model)
_COMPARED = tuple(METRICS[name] for name in ("accuracy", "F1", "Dice"))  # the report has no AUC


def _longest(runs: list[Summary], recipe: str = "truong-2022") -> dict[str, Summary]:
    """The heads of the longest training by a recipe; on the report's kind of images, CT slices, if there is one."""
    own = [run for run in runs if run.rule.recipe == recipe]
    if not own:
        return {}
    last = max(own, key=lambda run: ("ct" in run.dataset, run.mean("epochs"), -run.learning_rate))
    return {run.network.model: run for run in own if (run.dataset, run.rule) == (last.dataset, last.rule)}


def _judged(found: Finding, heads: dict[str, Summary]) -> Finding:
    """A finding, undecided where the training was short."""
    if found.verdict is Verdict.NOT_RUN:
        return found
    epochs = min(run.mean("epochs") for run in heads.values())
    why = f"{found.why}; {next(iter(heads.values())).dataset}, {epochs:.0f} epochs"
    verdict = found.verdict if epochs >= LEAST_EPOCHS else Verdict.UNDECIDED
    return found._replace(verdict=verdict, why=why)


def _ahead(runs: list[Summary], most: float) -> Finding:
    """How often the fully connected head is ahead of a policy, by no more than `most`."""
    heads = _longest(runs)
    if _FC not in heads:
        return NOT_RUN
    policies = [heads[model] for model in _POLICIES if model in heads]
    off = [heads[_FC].mean(metric) - run.mean(metric) for run in policies for metric in _COMPARED]
    found = share([0 < one <= most for one in off], 1.0, "policies and metrics", len(_POLICIES) * len(_COMPARED))
    return _judged(found, heads)


def _channels_first(runs: list[Summary]) -> Finding:
    heads = _longest(runs)
    others = [heads[model] for model in _POLICIES if model in heads and model != "CRNet-NCP-z"]
    if "CRNet-NCP-z" not in heads or not others:
        return NOT_RUN
    hits = [heads["CRNet-NCP-z"].mean(metric) >= run.mean(metric) for run in others for metric in _COMPARED]
    return _judged(share(hits, 1.0, "other policies and metrics", (len(_POLICIES) - 1) * len(_COMPARED)), heads)


def _settings(runs: list[Summary]) -> Finding:
    first, second = _longest(runs), _longest(runs, "truong-2022-setting-2")
    both = [model for model, run in second.items() if model in first and first[model].dataset == run.dataset]
    pairs = [(first[model], second[model]) for model in both]
    hits = [one.mean(metric) > other.mean(metric) for one, other in pairs for metric in _COMPARED]
    return _judged(share(hits, 1.0, "heads and metrics", len(TRUONG_SECOND) * len(_COMPARED)), second)


def _ends(runs: list[Summary]) -> Finding:
    heads = {model: run for model, run in _longest(runs).items() if run.mean("epochs") > 200}
    if not heads:
        return NOT_RUN._replace(why="no run is longer than 200 epochs")
    best = [epoch for run in heads.values() for epoch in run.values("best_epoch")]
    return share([150 <= epoch <= 200 for epoch in best], 0.5, "runs whose best epoch is between 150 and 200")


_SECTION = "section 6"
CLAIMS = (
    Claim("fully connected heads are always ahead of policies", _SECTION, partial(_ahead, most=1.0)),
    Claim("by less than 1 % in accuracy, F1 and Dice", _SECTION, partial(_ahead, most=0.01)),
    Claim("of the policies, the one over channels (z) is best", _SECTION, _channels_first),
    Claim("setting 1 scores higher than setting 2", _SECTION, _settings),
    Claim("training ends after 175 to 200 epochs", _SECTION, _ends),
)

TABLES: Tables = {
    "ct": partial(_results, data="table:covid_ct"),
    "x-rays": partial(_results, data="chestxray224"),
}
