"""What the conversions to other precisions share: which operators hold weights, and the record of a conversion."""

from collections import Counter
from dataclasses import dataclass

import onnx

#: Initializers with this prefix come from the network's parameters.
NETWORK = "network."
#: Operators that hold weights: those that int8 knows, and why it does not know the others.
PRODUCTS = ("Conv", "MatMul", "Gemm")
RECURRENT = dict.fromkeys(("LSTM", "GRU", "RNN"), "ai.onnx has no int8 form of it")
WITH_WEIGHTS = {*PRODUCTS, *RECURRENT}


@dataclass(frozen=True)
class Converted:
    """A variant, or the file as it was if nothing could be converted.

    converted: operator -> how many of them compute in int8; "initializers" -> how many are stored as float16.
    left: operator that holds weights -> (how many stayed float32, why).
    """

    proto: onnx.ModelProto
    converted: dict[str, int]
    left: dict[str, tuple[int, str]]


def summarized(left: list[tuple[str, str]]) -> dict[str, tuple[int, str]]:
    """From (operator, reason) of every node that stayed to operator -> (how many, reasons)."""
    summary = {}
    for operator in dict.fromkeys(operator for operator, _ in left):
        reasons = Counter(reason for other, reason in left if other == operator)
        texts = reasons if len(reasons) == 1 else [f"{count}: {reason}" for reason, count in reasons.items()]
        summary[operator] = (reasons.total(), "; ".join(texts))
    return summary
