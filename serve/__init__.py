"""Serving exported files.  Never imports torch, onnx, ncps or medmnist.

Every name is loaded when it is first touched: importing `liquidlens.serve` itself loads no library.
"""

from liquidlens.lazy import lazily

_NAMES = {
    "Inputs": "batch.inputs:Inputs",
    "Options": "batch.engine:Options",
    "Prediction": "predict:Prediction",
    "Predictor": "predict:Predictor",
    "Settings": "settings:Settings",
    "evaluate_table": "evaluate.run:evaluate",
    "examine_machine": "doctor:examine",
    "explain": "explain",
    "explanation_page": "explain.page:page",
    "merge_tables": "batch.merge:merge",
    "predict_table": "batch.job:run",
    "pretrained": "predict.pretrained",
    "read_labels": "evaluate.labels:read_labels",
    "run_node": "node.running:run",
    "run_server": "server.app:run",
    "time_models": "bench:measure",
    "write_site": "web.site:write",
}
__all__ = list(_NAMES)
__getattr__ = lazily(__name__, {name: f"{__name__}.{place}" for name, place in _NAMES.items()})
