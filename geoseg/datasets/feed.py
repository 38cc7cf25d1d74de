"""Feed: the batches of an epoch on the device that computes, augmented there."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geoseg.ahead import batches, read_ahead, reader_threads
from geoseg.datasets.augmentation import AS_IT_IS, Augmentation, SampleBatch, augment
from geoseg.datasets.samples import Sample, Samples
from geoseg.legend import NO_CLASS
from geoseg.models.device import pinned
from geoseg.models.normalisation import as_signed, stretch_tensor
from geoseg.scaling import EIGHT_BITS, Scaling

log = logging.getLogger("geoseg")

MOST_OF_THE_DEVICE = 0.5
"""Share of a GPU's free memory that scenes may take; the rest is the network's."""


class Feed:
    """The samples of a part of a split as batches on a device.

    On a GPU the scenes themselves are there, where they fit and windows are not resampled: batches are cut there and
    nothing crosses the bus. Else a thread reads ahead, into pinned memory for a GPU.

    Args:
        augmentation: applied to every sample but those that stay clean; None applies none.
        scaling: how pixels become the range on which colours change.
    """

    def __init__(
        self,
        samples: Samples,
        device: torch.device,
        augmentation: Augmentation | None = None,
        scaling: Scaling = EIGHT_BITS,
    ) -> None:
        self.samples, self.device, self.augmentation, self.scaling = samples, device, augmentation, scaling
        self.resident = ResidentScenes(samples, device) if _fits(samples, device) else None

    def batches(self, epoch: int, places: Iterable[int], size: int) -> Iterator[SampleBatch]:
        """The samples at ``places`` of an epoch, ``size`` at a time; each a function of its seed, epoch and place."""
        places = [int(place) for place in places]
        with closing(self._unchanged(epoch, places, size)) as unchanged:
            for chosen, batch in zip(batches(places, size), unchanged, strict=True):
                yield self._augmented(self._stretched(batch, chosen), epoch, chosen)

    def _unchanged(self, epoch: int, places: Sequence[int], size: int) -> Iterator[SampleBatch]:
        if self.resident is not None:
            yield from (self.resident.batch(epoch, chosen) for chosen in batches(places, size))
            return
        calls = (partial(self.samples.draw, epoch, place) for place in places)
        with reader_threads() as reader, closing(read_ahead(reader, calls, 2 * size)) as drawn:
            yield from (self._on_device(batch) for batch in batches(drawn, size))

    def _on_device(self, samples: Sequence[Sample]) -> SampleBatch:
        stacked = (pinned(torch.from_numpy(np.stack(part)), self.device) for part in zip(*samples, strict=True))
        return SampleBatch(*(part.to(self.device, non_blocking=True) for part in stacked))

    def _stretched(self, batch: SampleBatch, places: Sequence[int]) -> SampleBatch:
        """The batch with the bounds of its samples' scenes, where each is scaled by itself."""
        if not self.scaling.per_raster:
            return batch
        stretch = stretch_tensor([self.samples.stretch(place) for place in places], batch.pixels.dtype)
        return batch._replace(stretch=stretch.to(self.device))

    def _augmented(self, batch: SampleBatch, epoch: int, places: Sequence[int]) -> SampleBatch:
        if self.augmentation is None:
            return batch
        samples, drawn = self.samples, partial(self.augmentation.draw, self.samples.seed, epoch)
        draws = [AS_IT_IS if samples.stays_clean(place) else drawn(place) for place in places]
        return augment(batch, draws, self.scaling)


class ResidentScenes:
    """The scenes of ``samples`` on a device; what is cut from them equals ``Samples.draw``."""

    def __init__(self, samples: Samples, device: torch.device) -> None:
        self.samples, self.size = samples, samples.framing.size
        self.scenes: dict[int, SampleBatch] = {}
        for number in samples.used:
            # Copied, as what comes from a cache is read-only.
            pixels, valid, index = (torch.from_numpy(np.array(part)).to(device) for part in samples.read_whole(number))
            self.scenes[number] = SampleBatch(as_signed(pixels), valid, index)
            self.dtype = pixels.dtype

    def batch(self, epoch: int, places: Sequence[int]) -> SampleBatch:
        """The samples at some places of an epoch."""
        cuts = [self._cut(epoch, place) for place in places]
        pixels, valid, index = (torch.stack(part) for part in zip(*cuts, strict=True))
        return SampleBatch(pixels.view(self.dtype), valid, index)

    def _cut(self, epoch: int, place: int) -> list[Tensor]:
        number, window = self.samples.cut_at(epoch, place)
        scene = self.scenes[number]
        parts = scene[:3] if window is None else (part[..., *window.slices] for part in scene[:3])
        return [self._padded(part, fill) for part, fill in zip(parts, (0, False, NO_CLASS), strict=True)]

    def _padded(self, part: Tensor, fill: int) -> Tensor:
        height, width = part.shape[-2:]
        return F.pad(part, (0, self.size - width, 0, self.size - height), value=fill)


def _fits(samples: Samples, device: torch.device) -> bool:
    if device.type != "cuda" or not samples.can_be_resident:
        return False
    free, needed = torch.cuda.mem_get_info(device)[0], samples.whole_bytes
    fits = needed <= MOST_OF_THE_DEVICE * free
    log.info("scenes %s: %.1f GiB", f"on {device}" if fits else f"too large for {device}", needed / 2**30)
    return fits
