"""Which device a trainer computes on, and in what precision."""

from __future__ import annotations

import os

import torch

from trainnet.worker.errors import TaskError


def set_up_torch(threads: int, slot: int = 0) -> torch.device:
    """Same input, same bytes: deterministic kernels, a fixed number of threads; answers the slot's device.

    On accelerators, an operation without a deterministic kernel is done all the same: better an update that another
    machine cannot repeat than none.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("RAYON_NUM_THREADS", str(threads))  # tokenizers
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:  # can be set once in a process
        torch.set_num_interop_threads(1)
    device = pick(slot)
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    # Filling fresh memory with NaN finds mistakes in kernels; a training pays for it at every allocation.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a module of properties
    torch.backends.cudnn.benchmark = False
    return device


def pick(slot: int) -> torch.device:
    """The best device of this machine; the slots of a worker share several GPUs evenly."""
    if torch.cuda.is_available():
        device = torch.device("cuda", slot % torch.cuda.device_count())
        torch.cuda.set_device(device)
        return device
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def device_name(device: torch.device) -> str:
    """Name of the accelerator; empty for the processor, which the agent names."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """What a step computes in; None is plain fp32. Raises TaskError."""
    match precision:
        case "fp32":
            return None
        case "bf16":
            return torch.bfloat16
        case "fp16":
            return torch.float16
        case "auto":
            with_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            return torch.bfloat16 if with_bf16 else None
        case other:
            raise TaskError("TASK", f"the hyperparameter precision is {other!r}, not auto, fp32, bf16 or fp16")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the processor, had no room for a tensor."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in said or "out of memory" in said)


def free_memory(device: torch.device) -> None:
    """Hands back what an allocator keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
