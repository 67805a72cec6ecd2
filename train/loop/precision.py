"""The precision of a training, and what the processor does not compute at full speed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def notes(precision: str) -> tuple[str, ...]:
    """A sentence if `precision`, see `recipes.Training`, is slower than float32 on what trains here."""
    processor = torch.cpu.get_capabilities()
    emulated = processor["architecture"] == "x86_64" and not (processor["amx_bf16"] or processor["avx512_bf16"])
    if precision != "bf16" or not emulated or torch.accelerator.is_available():
        return ()
    return ("this processor has no instructions for bfloat16 (AMX, AVX512_BF16): on it bf16 is slower than float32.",)


@contextmanager
def without_denormals() -> Iterator[None]:
    """In this thread, numbers below 2 ** -126, too small for all their digits, count as 0: processors take many times
    as long for them, and the gradients of a saturated network are full of them.  Torch's other threads compute them."""
    tiny = torch.tensor(2.0**-126)
    before = bool(tiny / 2 == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
