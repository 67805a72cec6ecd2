"""Tables made from a generator, and labels for them."""

from pathlib import Path

import numpy as np
import pytest

from liquidlens.serve.batch import tables

TWO = ("vessel", "aneurysm")
FOUR = ("mucus", "stroma", "debris", "$\\alpha$ a rather long name that is wrapped")
FINDINGS = ("effusion", "mass, solid", "nodule")


def write_table(
    path: Path, names, probabilities, threshold=None, abstained=(), paths=None, items=None, errors=(), task=None
) -> Path:
    """A results table of the answers of a model that has these probabilities.  task: None as in older tables."""
    columns = tables.columns(names)
    rows = []
    for i, p in enumerate(probabilities):
        if threshold is None:
            label = names[int(np.argmax(p))]
        elif names == TWO:
            label = names[int(p[1] > threshold)]
        else:
            label = ", ".join(name for name, each in zip(names, p, strict=True) if each > threshold) or "none"
        answer = {
            "label": label,
            **{f"p_{name}": float(each) for name, each in zip(names, p, strict=True)},
            "threshold": threshold,
            "abstained": i in abstained,
            "ood_score": float(i),
            "ood": i % 4 == 0,
        }
        rows.append(
            {
                **dict.fromkeys(columns),
                "input": 0,
                "number": i,
                "shard": "1/1",
                "path": paths[i] if paths else f"scans/{i:03}.png",
                "item": items[i] if items else "",
                **(dict.fromkeys(answer) if i in errors else answer),
                "device": "cpu",
                "milliseconds": 1.5,
                "model": "LiqExp1N2",
                "model_sha256": "ab" * 32,
                "task": task,
                "error": "scan.png: the file is empty." if i in errors else None,
            }
        )
    tables.write(path, columns, rows)
    return path


def binary(*positive):
    return np.array([[1 - p, p] for p in positive])


def array(folder: Path, labels) -> str:
    np.save(folder / "labels.npy", labels)
    return str(folder / "labels.npy")


def sheet(folder: Path, text: str) -> str:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return str(folder / "labels.csv")


@pytest.fixture
def two(tmp_path):
    """120 scans of two classes with ties, five unsure, and two errors."""
    rng = np.random.default_rng(0)
    labels = (rng.random(120) < 0.3).astype(np.uint8)
    probabilities = binary(*(0.6 * rng.random(120) + 0.35 * labels).round(2))
    table = write_table(tmp_path / "results.jsonl", TWO, probabilities, 0.42, abstained=(0, 1, 2, 3, 4), errors=(7, 90))
    return table, labels, probabilities
