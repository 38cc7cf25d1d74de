"""Feed: the batches of an epoch on the device that computes, read ahead and augmented there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial

import numpy as np
import torch

from geoseg.ahead import batches, read_ahead, reader_threads
from geoseg.datasets.augmentation import AS_IT_IS, Augmentation, SampleBatch, augment
from geoseg.datasets.samples import Sample, Samples
from geoseg.models.device import pinned


class Feed:
    """The samples of a part of a split as batches on a device.

    Args:
        augmentation: applied to every sample but those that stay clean; None applies none.
    """

    def __init__(self, samples: Samples, device: torch.device, augmentation: Augmentation | None = None) -> None:
        self.samples, self.device, self.augmentation = samples, device, augmentation

    def batches(self, epoch: int, places: Iterable[int], size: int) -> Iterator[SampleBatch]:
        """The samples at ``places`` of an epoch, ``size`` at a time; each a function of its seed, epoch and place."""
        places = [int(place) for place in places]
        calls = (partial(self.samples.draw, epoch, place) for place in places)
        with reader_threads() as reader, closing(read_ahead(reader, calls, 2 * size)) as drawn:
            for chosen, batch in zip(batches(places, size), batches(drawn, size), strict=True):
                yield self._augmented(self._on_device(batch), epoch, chosen)

    def _on_device(self, samples: Sequence[Sample]) -> SampleBatch:
        stacked = (pinned(torch.from_numpy(np.stack(part)), self.device) for part in zip(*samples, strict=True))
        return SampleBatch(*(part.to(self.device, non_blocking=True) for part in stacked))

    def _augmented(self, batch: SampleBatch, epoch: int, places: Sequence[int]) -> SampleBatch:
        if self.augmentation is None:
            return batch
        samples, drawn = self.samples, partial(self.augmentation.draw, self.samples.seed, epoch)
        return augment(batch, [AS_IT_IS if samples.stays_clean(place) else drawn(place) for place in places])
