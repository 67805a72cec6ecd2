"""The facts about every model of the zoo as a table that is read without torch: ``make docs`` writes it."""

import csv
import io

import torch

from liquidlens.models.papers import ENTRIES
from liquidlens.models.registry import TABLE


def written() -> str:
    """The text of ``models/zoo.csv``; parameters are the trainable ones."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("model", "paper", "input", "outputs", "parameters", "published", "recipe", "flags"))
    for entry in ENTRIES.values():
        with torch.device("meta"):  # nothing is allocated
            model = entry.make(entry.input_shape, entry.outputs)
        count = sum(p.numel() for p in model.parameters() if p.requires_grad)
        shape = "x".join(map(str, entry.input_shape))
        published = "" if entry.published_parameters is None else entry.published_parameters
        flags = " ".join(entry.flags)
        writer.writerow((entry.name, entry.paper, shape, entry.outputs, count, published, entry.recipe, flags))
    return text.getvalue()


def main() -> None:
    TABLE.write_text(written(), encoding="utf-8")


if __name__ == "__main__":
    main()
