"""Settings: the rows of the paper's ablation, and what a user changes of them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from geoseg.errors import UsageError
from geoseg.scaling import Bounds, Kind, Scaling, as_bounds, as_pair
from geoseg.training.losses import require_gamma
from geoseg.training.region import RegionLoss

CUSTOM = "custom"
ABOVE_ZERO = ("epochs", "steps", "batch_size", "accumulate", "lr", "encoder_lr", "clip", "patience")
ABOVE_ZERO += ("width", "window", "size", "gsd")
CHOICES = {"loss": ("ce", "focal"), "region_loss": ("none", "dice", "lovasz"), "norm": ("none", "batch", "group")}
CHOICES |= {"class_weights": ("median", "sqrt", "none"), "normalise": ("none", "imagenet")}
CHOICES |= {"scaling": (None, "range", "statistics", "percentile")}
CHOICES |= {"decoder": ("transposed", "nearest")}
CHOICES |= {
    "rare_set": ("text", "table1", "shares"),
    "optimizer": ("adam", "adamw"),
    "schedule": ("constant", "cosine"),
}


@dataclass(frozen=True)
class TrainingSettings:
    """All that decides a training run beside the data. The defaults are the paper's baseline (sections 3 and 5.1)."""

    setting: str = "baseline"
    """The row of the paper's ablation, or CUSTOM where an option departs from it."""
    loss: Literal["ce", "focal"] = "ce"
    """Cross-entropy or focal loss, both with class weights."""
    gamma: float = 2.0
    """Focusing parameter of the focal loss."""
    region_loss: RegionLoss = "none"
    """Added to the loss, with the same weight: 1 less the soft Dice coefficient, or the Lovász extension of 1 - IoU."""
    class_weights: Literal["median", "sqrt", "none"] = "median"
    """Median-frequency weights, their square roots, or the same weight for every class."""
    encoder: str = "plain"
    """"plain" for the paper's own U-Net, else the name of a timm encoder."""
    encoder_weights: str = "none"
    """"imagenet", "none", or a safetensors file."""
    decoder: Literal["transposed", "nearest"] = "transposed"
    """On a timm encoder: the paper's, or that of segmentation-models-pytorch."""
    init: str | None = None
    """A run or model file of geoseg to start from, with its normalisation; other classes get a new last layer."""
    normalise: Literal["none", "imagenet"] = "none"
    """What pixels on the range 0 to 1 are brought to: themselves, or what encoders were pretrained with."""
    scaling: Kind | None = None
    """How pixels come to the range 0 to 1 (geoseg.scaling); None: as ``scale`` or ``percentiles`` have it, else range 0
    to 255 for uint8 and statistics for others."""
    scale: Bounds | None = None
    """(low, high) for all bands, or one pair a band, of the scaling range."""
    percentiles: tuple[float, float] | None = None
    """Of the scaling percentile; None takes 2 and 98."""
    norm: Literal["none", "batch", "group"] = "none"
    """Normalisation in the plain U-Net, and in the decoder on other encoders."""
    width: int = 64
    """Channels of the plain U-Net's first block."""
    window: int | None = None
    """Side in scene pixels of the windows that are cut at random places; None takes whole scenes."""
    size: int | None = None
    """Side in pixels as the network sees it; None takes the window, or for whole scenes 1024 but never enlarges."""
    gsd: float | None = None
    """Ground resolution in metres per pixel of scenes whose files tell none."""
    nodata: float | None = None
    """Raw digital number that means no data where all bands hold it, beside what the files declare."""
    split: str | None = None
    """As datasets.splits.resolve_split explains."""
    augment: bool = False
    """Flips, rotation and colour jitter: of every sample, but of oversampled scenes not of the first copy."""
    oversample: bool = False
    """Repeat scenes by the classes they show, as datasets.oversampling explains."""
    rare_set: Literal["text", "table1", "shares"] = "text"
    """What oversampling counts as rare: as the paper's text says, with barren as its Table 1 needs, or by the shares of
    the training pixels, of any legend."""
    balance_crops: bool = False
    """Place every other window on a pixel of a class drawn evenly, as datasets.balance explains."""
    epochs: int = 30
    steps: int | None = None
    """Stop after so many optimiser steps, whatever the epochs."""
    batch_size: int = 2
    accumulate: int = 1
    """Batches whose gradients make one step: the same step as one batch of all their samples, in less memory."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam, or AdamW, whose decay does not pass through the gradient's moments."""
    lr: float = 1e-4
    """Learning rate, where the schedule is at its height."""
    encoder_lr: float | None = None
    """Another one for a timm encoder; None takes ``lr`` for all."""
    weight_decay: float = 0.0
    """Of the kernels; biases and normalisation layers are never decayed."""
    schedule: Literal["constant", "cosine"] = "constant"
    """What the learning rate does after the warm-up; the cosine ends at 0 with the last step."""
    warmup: float = 0.0
    """Steps in which the learning rate rises from near 0; below 1 a share of all steps."""
    clip: float | None = None
    """Longest gradient, as the norm over all parameters; a longer one is shortened to it."""
    ema: float | None = None
    """Decay of the moving average of the weights that is validated and saved; None takes the weights themselves."""
    patience: int | None = None
    """Stop after so many epochs without a better validation mean IoU."""
    compile: bool = False
    """Compile the network, in training only: some minutes at the start, then faster on GPUs."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ABOVE_ZERO:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"--{name.replace('_', '-')} is larger than 0, got {value}")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                option, known = name.replace("_", "-"), ", ".join(filter(None, allowed))
                raise UsageError(f"--{option} is one of {known}, got {getattr(self, name)!r}")
        for name in ("weight_decay", "warmup"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"--{name.replace('_', '-')} is 0 or more, got {getattr(self, name)}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise UsageError(f"--ema is a decay between 0 and 1, such as 0.999, got {self.ema}")
        self._check_scaling()
        if self.encoder_lr is not None and self.encoder == "plain":
            raise UsageError("--encoder-lr is of a timm encoder; the plain U-Net has one learning rate, --lr")
        if self.init and (self.encoder_weights, self.normalise, self.scaling_kind) != ("none", "none", None):
            own = "--encoder-weights, --normalise and --scaling"
            raise UsageError(f"--init brings its weights, scaling and normalisation; leave {own} out")
        require_gamma(self.gamma)
        if self.encoder != "plain" and self.width != TrainingSettings.width:
            raise UsageError(f"--width is of the plain U-Net; the encoder {self.encoder} has widths of its own")
        if self.encoder == "plain" and self.decoder != TrainingSettings.decoder:
            raise UsageError("--decoder is of a timm encoder; the plain U-Net has transposed convolutions")
        if self.loss != "focal" and self.gamma != TrainingSettings.gamma:
            raise UsageError("--gamma is of the focal loss; add --loss focal")
        if self.balance_crops and self.window is None:
            raise UsageError("--balance-crops is of windows; add --window")
        if not self.oversample and self.rare_set != TrainingSettings.rare_set:
            raise UsageError("--rare-set is of oversampling; add --oversample")

    def _check_scaling(self) -> None:
        for name, read in (("scale", as_bounds), ("percentiles", as_pair)):
            if getattr(self, name) is not None:
                # JSON has lists.
                object.__setattr__(self, name, read(getattr(self, name)))
        for option, values, kind in (("scale", self.scale, "range"), ("percentiles", self.percentiles, "percentile")):
            if values and self.scaling_kind != kind:
                raise UsageError(f"--{option} is of --scaling {kind}, not {self.scaling_kind}")
        if self.scale:
            Scaling("range", self.scale)
        if self.percentiles:
            Scaling("percentile", percentiles=self.percentiles)

    @property
    def scaling_kind(self) -> Kind | None:
        """The scaling that was asked for, by its name or by its values."""
        return self.scaling or ("range" if self.scale else "percentile" if self.percentiles else None)

    @property
    def focusing(self) -> float:
        """The gamma of the loss in use: 0 for cross-entropy."""
        return self.gamma if self.loss == "focal" else 0.0

    @property
    def samples_per_step(self) -> int:
        """Samples of all batches, on all processes, that make one step."""
        return self.batch_size * self.accumulate

    @property
    def bound_to_length(self) -> bool:
        """True where the learning rate of a step depends on how many there are in all."""
        return self.schedule != "constant" or 0 < self.warmup < 1

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


SETTINGS: dict[str, TrainingSettings] = {
    "baseline": TrainingSettings(),
    "focal": TrainingSettings("focal", loss="focal"),
    "augment": TrainingSettings("augment", augment=True, oversample=True),
    "resnet34": TrainingSettings("resnet34", encoder="resnet34", encoder_weights="imagenet"),
}
"""Rows of the paper's Table 3 by name."""

PRESETS: dict[str, TrainingSettings] = {
    "recommended": TrainingSettings(
        "recommended",
        encoder="resnet34",
        encoder_weights="imagenet",
        normalise="imagenet",
        norm="batch",
        class_weights="sqrt",
        window=1024,
        augment=True,
        balance_crops=True,
        batch_size=4,
        optimizer="adamw",
        lr=1e-3,
        encoder_lr=1e-4,
        weight_decay=0.01,
        warmup=0.05,
        clip=1.0,
        ema=0.999,
    ),
}
"""geoseg's own recipes by name; docs/training.md gives the reason of each value."""

FREE = ("seed", "split", "gsd", "nodata", "compile")
"""What may differ without a setting losing its name: the paper has one seed, its split, resolution and nodata are of
its data, and a compiled network is the same."""


def resolve_settings(
    setting: str | None = None, begun: TrainingSettings | None = None, preset: str | None = None, **options: Any
) -> TrainingSettings:
    """A setting or a preset (default: ``begun``, of a run that goes on, else the baseline) with the options that are
    not None.

    The name becomes that of the row whose values result, CUSTOM where there is none. Raises UsageError.
    """
    if setting is not None and setting not in SETTINGS:
        raise UsageError(f"setting {setting!r}: there are {', '.join(SETTINGS)}")
    if preset is not None and preset not in PRESETS:
        raise UsageError(f"preset {preset!r}: there is {', '.join(PRESETS)}")
    if setting and preset:
        raise UsageError(f"--setting {setting} and --preset {preset}: choose one of them")
    base = SETTINGS[setting] if setting else PRESETS[preset] if preset else begun or SETTINGS["baseline"]
    if options.get("epochs") and not options.get("steps"):
        # Epochs given anew take the place of the steps that a run was begun with.
        base = replace(base, steps=None)
    known = {field.name for field in fields(TrainingSettings)} - {"setting"}
    if unknown := sorted(options.keys() - known):
        raise UsageError(f"unknown training option {unknown[0]!r}; there are {', '.join(sorted(known))}")
    chosen = replace(base, **{key: value for key, value in options.items() if value is not None})
    return replace(chosen, setting=_name_of(chosen))


def _name_of(chosen: TrainingSettings) -> str:
    for name, row in (SETTINGS | PRESETS).items():
        free = {key: getattr(chosen, key) for key in FREE}
        if replace(row, **free) == replace(chosen, setting=name):
            return name
    return CUSTOM
