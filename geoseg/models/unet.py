"""The paper's U-Net (section 3.1)."""

from __future__ import annotations

from torch import Tensor, nn

from geoseg.models.decoder import Norm, TransposedDecoder, convolutions


class UNet(nn.Module):
    """The U-Net of section 3.1: four encoder blocks, a bottleneck, a mirrored decoder, a 1 x 1 head.

    At width 64 with 3 bands, 7 classes and no norm it has 31,032,135 parameters.
    """

    stride = 16
    """Height and width of the input are multiples of this."""

    def __init__(self, bands: int = 3, classes: int = 7, width: int = 64, norm: Norm = "none") -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.encoder = nn.ModuleList(
            convolutions(before, after, norm) for before, after in zip((bands, *widths), widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.decoder = TransposedDecoder(widths[-1], skips=widths[-2::-1], norm=norm)
        self.head = self.decoder.head(classes)

    def forward(self, image: Tensor) -> Tensor:
        """(N, bands, H, W) normalised image to (N, classes, H, W) logits; H and W multiples of ``stride``."""
        features, skips = image, []
        for block in self.encoder:
            features = block(features if not skips else self.pool(features))
            skips.append(features)
        deepest = skips.pop()
        return self.head(self.decoder(deepest, skips[::-1]))
