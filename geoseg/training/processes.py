"""Processes: one training run on several processes that torchrun started, one a device."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from geoseg.errors import ResourceError, UsageError

TIMEOUT = timedelta(days=1)
"""A process may wait long while another validates its last scene; where one fails, torchrun ends all."""
LONGEST_TEXT = 4096


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them. All must call the same methods in the same order."""

    rank: int = 0
    """Number of this process, from 0; number 0 writes."""
    count: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence) -> Sequence:
        """Every ``count``-th item, from the ``rank``-th."""
        return items[self.rank :: self.count]

    def add(self, tensor: Tensor) -> Tensor:
        """The sum of the processes' tensors, in the place of this one's."""
        if self.count > 1:
            with _others_may_fail():
                dist.all_reduce(tensor)
        return tensor

    def add_gradients(self, network: nn.Module) -> None:
        """Add up the gradients; a process that saw no sample counts as 0."""
        if self.count == 1:
            return
        parameters = [p for p in network.parameters() if p.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        _in_one_piece(self.add, gradients)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient

    def average_buffers(self, network: nn.Module) -> None:
        """Make the running means and variances of batch norms those of all processes."""
        if self.count > 1 and (buffers := [b for b in network.buffers() if b.is_floating_point()]):
            _in_one_piece(lambda flat: self.add(flat).div_(self.count), buffers)

    def any(self, flag: bool) -> bool:
        """True where it is true in one of the processes."""
        if self.count == 1:
            return flag
        return bool(self.add(torch.tensor(float(flag), device=_device_of_messages())).item())

    def agree(self, text: str) -> str:
        """The first process's text."""
        if self.count == 1:
            return text
        data = text.encode()[:LONGEST_TEXT]
        letters = torch.tensor(list(data.ljust(LONGEST_TEXT)), dtype=torch.int64, device=_device_of_messages())
        return bytes(self.add(letters * self.first).tolist()).decode().rstrip()

    def wait(self) -> None:
        """Return when all have called."""
        if self.count > 1:
            self.add(torch.zeros(1, device=_device_of_messages()))


ALONE = Processes()


def is_first() -> bool:
    """True in the process that writes and speaks, and where there is only one."""
    return os.environ.get("RANK", "0") == "0"


def restarts() -> tuple[int, int]:
    """How often torchrun has started processes again as one of this node had ended, and how often it may
    (--max-restarts)."""
    counts = (os.environ.get(f"TORCHELASTIC_{name}", "0") for name in ("RESTART_COUNT", "MAX_RESTARTS"))
    return tuple(int(count) for count in counts)


@contextmanager
def joined(device: str) -> Iterator[tuple[Processes, str]]:
    """The processes of this run and this one's device: several where torchrun started this one, else one alone.

    "auto" and "cuda" give each process the GPU of its local number. A group that the caller set up is taken as it is.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ and not dist.is_initialized():
        yield Processes(), device
        return
    device = _device_of_this(device)
    mine = not dist.is_initialized()
    if mine:
        backend = "nccl" if device.startswith("cuda") else "gloo"
        dist.init_process_group(backend, timeout=TIMEOUT, **_meeting_place())
    processes = Processes(dist.get_rank(), dist.get_world_size())
    if not processes.first:
        logging.getLogger("geoseg").setLevel(logging.ERROR)
    try:
        yield processes, device
    finally:
        if mine:
            dist.destroy_process_group()


def require_even_batches(batch_size: int, processes: Processes) -> None:
    """Raise UsageError where the processes would not get equal parts of a batch."""
    if batch_size % processes.count:
        raise UsageError(
            f"--batch-size {batch_size} is of all {processes.count} processes together; give a multiple of them"
        )


def _meeting_place() -> dict[str, Any]:
    """Where processes that torchrun started again find each other; nothing on the first start.

    torchrun keeps one store over its restarts, in which they would find the addresses of those that have ended.
    Raises UsageError on several nodes, whose counts of restarts differ, so that they cannot agree on another place.
    """
    variables = os.environ
    kept = variables.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    one_node = variables.get("LOCAL_WORLD_SIZE") == variables.get("WORLD_SIZE")
    number, at_most = restarts()
    if kept and at_most and not one_node:
        raise UsageError(
            "processes on several nodes would not find each other after a restart; set "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun, or take --max-restarts 0"
        )
    if not (kept and number):
        return {}
    store = dist.TCPStore(variables["MASTER_ADDR"], int(variables["MASTER_PORT"]), is_master=False)
    rank, count = int(variables["RANK"]), int(variables["WORLD_SIZE"])
    return {"store": dist.PrefixStore(f"restart-{number}", store), "rank": rank, "world_size": count}


def _device_of_this(device: str) -> str:
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        if local >= torch.cuda.device_count():
            raise ResourceError(
                f"process {local} has no GPU of its own, there are {torch.cuda.device_count()}; "
                "start as many processes as GPUs (--nproc-per-node), or use --device cpu"
            )
        torch.cuda.set_device(local)
        return f"cuda:{local}"
    return "cpu" if device == "auto" else device


def _device_of_messages() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"


def _in_one_piece(change, tensors: Sequence[Tensor]) -> None:
    """Change many tensors in place by one call on all their values."""
    flat = change(torch.cat([tensor.flatten() for tensor in tensors]))
    for tensor, values in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(values.view_as(tensor))


@contextmanager
def _others_may_fail() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ResourceError("another process of this run has ended; its own message says why") from error
