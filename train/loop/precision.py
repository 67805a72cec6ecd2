"""The precision of a training, and whether the processor has instructions for it."""

import torch


def notes(precision: str) -> tuple[str, ...]:
    """A sentence if `precision`, see `recipes.Training`, is slower than float32 on what trains here."""
    processor = torch.cpu.get_capabilities()
    emulated = processor["architecture"] == "x86_64" and not (processor["amx_bf16"] or processor["avx512_bf16"])
    if precision != "bf16" or not emulated or torch.accelerator.is_available():
        return ()
    return ("this processor has no instructions for bfloat16 (AMX): precision=bf16 is slower than float32 on it.",)
