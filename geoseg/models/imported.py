"""U-Nets that were trained with segmentation-models-pytorch (smp), made models of geoseg."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import timm
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

import geoseg
from geoseg.errors import ModelError, UsageError
from geoseg.files import require_place
from geoseg.legend import Legend, find_legend
from geoseg.models.encoder_unet import EncoderUNet
from geoseg.models.encoder_weights import pretrained_statistics
from geoseg.models.segmenter import Segmenter, SegmenterConfig
from geoseg.models.storage import CONFIG_KEY, MODEL_FILE, load, model_sha256, save_segmenter
from geoseg.raster.bands import Band

log = logging.getLogger("geoseg")

Normalise = Literal["imagenet", "none"] | tuple[Sequence[float], Sequence[float]]
NATIVE = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
NATIVE += ("resnext50_32x4d", "resnext101_32x4d", "resnext101_32x8d", "resnext101_32x16d")
"""Encoders of smp's own that are timm's of the same name, layer by layer. All of its tu- encoders are timm's."""
HEAD = "segmentation_head.0.weight"
BESIDE = re.compile(r"criterion\.|loss|(mean|std)$")
"""Names of what Lightning modules keep beside the network: the loss's class weights, their own normalisation."""
UNSEEN = {"decoder_interpolation": ("nearest",), "decoder_use_norm": ("batchnorm", True)}
"""What changes a network and not its tensors, with the values that are read here, as smp's config.json has them."""
WINDOW = 1024
REMEDY = (
    "pickles are never loaded: load the model in the program that trained it, and save it from there with: "
    "from safetensors.torch import save_model; save_model(model, 'FILE.safetensors')"
)


class Source(NamedTuple):
    """A file of smp's."""

    path: Path
    tensors: dict[str, Tensor]
    """By the names in ``smp.Unet``."""
    encoder: str
    """As smp calls it."""

    @property
    def timm_encoder(self) -> str:
        """As timm calls the architecture: without smp's prefix and without the tag of pretrained weights."""
        return self.encoder.removeprefix("tu-").partition(".")[0]

    @property
    def universal(self) -> bool:
        """True where the encoder is one of timm's within smp's wrapper."""
        return any(name.startswith("encoder.model.") for name in self.tensors)

    def name_of(self, name: str) -> str:
        """What the file calls a tensor of an EncoderUNet with the nearest decoder."""
        part, _, rest = name.partition(".")
        if part == "encoder":
            return f"encoder.model.{rest}" if self.universal else name
        if part == "head":
            return f"segmentation_head.0.{rest}"
        _, block, layer, rest = rest.split(".", 3)
        # Convolution, batch norm, ReLU, and the same again.
        return f"decoder.blocks.{block}.conv{1 + int(layer) // 3}.{int(layer) % 3}.{rest}"


def import_model(
    file: str | Path,
    output: str | Path,
    *,
    legend: Legend | str | Path,
    normalise: Normalise,
    raw: bool = False,
    encoder: str | None = None,
    window: int | None = None,
    size: int | None = None,
    gsd: float | None = None,
    bands: Sequence[Band] | None = None,
    overwrite: bool = False,
) -> Segmenter:
    """Make a model file of an ``smp.Unet``'s weights: of depth 5, with smp's own widths, batch norm and no attention.

    Args:
        file: the weights as safetensors; a Lightning module's are read, too, where the network is its ``model`` (as in
            torchgeo's SemanticSegmentationTask).
        output: the model file to write, ending in .safetensors.
        legend: the classes in the order of the network's outputs, with or without those that the legend ignores. One
            output is the second of two classes, where its sigmoid is above 0.5.
        normalise: how pixels were normalised: "none" leaves them, "imagenet" takes the mean and the standard deviation
            that the encoder was pretrained with, (means, standard deviations) are those of each band.
        raw: the normalisation is of pixels on the range 0 to 255; else on the range 0 to 1.
        encoder: as smp calls it; None: as the config.json says that smp wrote beside a model.safetensors.
        window: side in scene pixels of the windows that it is used with, WINDOW where there is none.
        size: side in pixels of a window as the network sees it; None: the window itself.
        gsd: metres per pixel of the training images.
        bands: what the network takes of an image, numbers from 1 or the names of its bands; None: all but alpha.
        overwrite: replace a file that exists.

    Returns the model, ready to predict. Invalid pixels enter it as the normalisation's means.
    Raises InputError for the legend, ModelError where a tensor is missing, of another shape, not finite or not used,
    OutputError (before any work), UsageError.
    """
    file, output = Path(file), Path(output)
    _require_new(output, file, overwrite)
    legend = legend if isinstance(legend, Legend) else find_legend(legend)
    source = read_source(file, encoder)
    network = read_network(source)
    outputs = network.head.out_channels
    network.head = head_for(legend, network.head, file)
    mean, std = resolve_normalisation(normalise, raw, source.encoder.removeprefix("tu-"), network.bands)
    window, size = resolve_window(window, size)
    config = SegmenterConfig(
        legend,
        encoder=source.timm_encoder,
        bands=network.bands,
        **_bands_of(bands or ()),
        mean=mean,
        std=std,
        fill=tuple(value * 255 for value in mean),
        norm="batch",
        decoder="nearest",
        window=window,
        size=size,
        gsd=gsd,
        provenance=_provenance(source),
    )
    save_segmenter(Segmenter(config, network), output)
    _say(config, source, outputs, raw)
    return load(output)


def _bands_of(bands: Sequence[Band]) -> dict[str, tuple[Band, ...]]:
    """The bands as a config has them, by their numbers or by their names; raises UsageError for some of each."""
    kinds = {isinstance(band, str) for band in bands}
    if len(kinds) > 1:
        raise UsageError(f"bands {', '.join(map(str, bands))}: give numbers or names, not some of each")
    return {"band_names" if kinds == {True} else "band_numbers": tuple(bands)}


def read_source(path: Path, encoder: str | None) -> Source:
    """The network's tensors in a file, and which encoder it has; raises ModelError, UsageError for another encoder."""
    tensors, saved = _network_only(path, _read(path)), _saved_config(path)
    encoder = encoder or saved.get("encoder_name")
    if encoder is None:
        raise UsageError(f"{path}: which encoder has it? name it as smp does: --encoder resnet34, or tu-NAME of timm")
    if encoder != saved.get("encoder_name", encoder):
        raise UsageError(f"{path}: its config.json says {saved['encoder_name']}, not {encoder}; leave --encoder out")
    for name, known in UNSEEN.items():
        if saved.get(name, known[0]) not in known:
            raise ModelError(f"{path}: its config.json says {name} {saved[name]!r}; only {known[0]!r} is read")
    source = Source(path, tensors, encoder)
    if not source.universal and source.timm_encoder not in NATIVE:
        raise ModelError(f"{path}: of smp's own encoders {', '.join(NATIVE)} are read, not {encoder}; and all tu- ones")
    return source


def read_network(source: Source) -> EncoderUNet:
    """The network in a file, with as many outputs as it has there.

    Raises ModelError unless the file has each tensor of the network, finite and of its shape, and no other.
    """
    example = _build(source, bands=3, outputs=1)
    names = {name: source.name_of(name) for name in example.state_dict()}
    lacking, beyond = set(names.values()) - source.tensors.keys(), source.tensors.keys() - set(names.values())
    if lacking or beyond:
        raise ModelError(
            f"{source.path}: not an smp.Unet on {source.encoder} as geoseg reads it, of depth 5 with smp's own widths, "
            f"batch norm and no attention: lacks {_listed(lacking)}; has beyond it {_listed(beyond)}"
        )
    first = next(name for name, value in example.named_parameters() if value.ndim == 4)
    network = _build(source, _length(source.tensors[names[first]], 1), _length(source.tensors[HEAD], 0))
    weights = {name: source.tensors[names[name]] for name in names}
    for name, value in network.state_dict().items():
        if weights[name].shape != value.shape:
            shapes = f"{tuple(weights[name].shape)}, in smp's Unet on {source.encoder} {tuple(value.shape)}"
            raise ModelError(f"{source.path}: {names[name]} has the shape {shapes}")
        if not torch.isfinite(weights[name]).all():
            raise ModelError(f"{source.path}: {names[name]} holds values that are not finite")
    network.load_state_dict(weights)
    return network


def head_for(legend: Legend, head: nn.Conv2d, path: Path) -> nn.Conv2d:
    """The layer that decides, with an output for each class of the legend; raises ModelError.

    The outputs are those of all classes, or of all that are not ignored: the ignored ones, which are never predicted,
    then give 0. One output, of a sigmoid, is that of the second of two classes.
    """
    weight, bias = head.weight.detach(), head.bias.detach()
    if head.out_channels == 1 and len(legend.scored) == 2:
        # sigmoid(x) is the second part of softmax(0, x).
        weight, bias = (torch.cat((torch.zeros_like(value), value)) for value in (weight, bias))
    places = range(len(legend)) if len(bias) == len(legend) else legend.scored
    if len(bias) != len(places):
        less = f", {len(legend.scored)} without what it ignores" if legend.ignored else ""
        raise ModelError(
            f"{path}: has {len(bias)} output(s), the legend {legend.name!r} {len(legend)} classes{less}; "
            "write a legend with a class for each output, in their order"
        )
    whole = nn.Conv2d(head.in_channels, len(legend), head.kernel_size, padding=head.padding)
    with torch.no_grad():
        for parameter, value in ((whole.weight, weight), (whole.bias, bias)):
            parameter.zero_()[list(places)] = value
    return whole


def resolve_normalisation(
    normalise: Normalise, raw: bool, encoder: str, bands: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each band on the range 0 to 1, of whichever range they were said; UsageError."""
    if normalise == "none":
        mean, std = (0.0,) * bands, (1.0,) * bands
    elif normalise == "imagenet":
        if bands != 3:
            raise UsageError(f"ImageNet's statistics are of 3 bands, the network takes {bands}: name them, MEANS/STDS")
        mean, std = pretrained_statistics(encoder)
    elif isinstance(normalise, str):
        raise UsageError(f'the normalisation is "imagenet", "none" or numbers of each band, got {normalise!r}')
    else:
        mean, std = normalise
    if {len(mean), len(std)} != {bands}:
        raise UsageError(f"{len(mean)} means and {len(std)} standard deviations for {bands} bands")
    if not raw and max(*mean, *std) > 1:
        raise UsageError(f"{max(*mean, *std):g} is of pixels on the range 0 to 255; add --raw to say so")
    top = 255 if raw else 1
    return tuple(value / top for value in mean), tuple(value / top for value in std)


def resolve_window(window: int | None, size: int | None) -> tuple[int, int]:
    """Sides of a window in scene pixels, and as the network sees it; raises UsageError for the second alone."""
    if window is None and size is not None:
        raise UsageError(f"--size {size} is what a window is resampled to; say with --window PX how large that is")
    window = WINDOW if window is None else window
    return window, window if size is None else size


def _require_new(output: Path, file: Path, overwrite: bool) -> None:
    if output.suffix != ".safetensors":
        raise UsageError(f"{output}: models are safetensors; let the output end in .safetensors")
    if output.exists() and file.exists() and output.samefile(file):
        raise UsageError(f"{output}: is the file to import; give the model another name")
    require_place(output, overwrite)


def _saved_config(path: Path) -> Mapping[str, Any]:
    """What smp's save_pretrained wrote beside a model; empty where there is nothing of the kind."""
    beside = path.with_name("config.json")
    if path.name != MODEL_FILE or not beside.is_file():
        return {}
    try:
        record = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{beside}: cannot be read ({error})") from error
    return record if isinstance(record, dict) and "encoder_name" in record else {}


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"{path}: no such file of weights")
    if path.suffix != ".safetensors":
        raise ModelError(f"{path}: weights are read from .safetensors files only; {REMEDY}")
    try:
        with safe_open(path, framework="pt") as file:
            if CONFIG_KEY in (file.metadata() or {}):
                raise ModelError(f"{path}: is a model of geoseg already; use it with --model or --init")
            return {name: file.get_tensor(name) for name in list(file.keys())}
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path}: not a whole safetensors file ({error}); {REMEDY}") from error


def _network_only(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by their names in the network; what a Lightning module keeps beside it is left out, and said."""
    prefixes = [name.removesuffix(HEAD) for name in tensors if name.endswith(HEAD)]
    if len(prefixes) != 1:
        raise ModelError(f"{path}: holds no smp.Unet ({HEAD} is there {len(prefixes)} times, not once)")
    inside = {name.removeprefix(prefixes[0]): value for name, value in tensors.items() if name.startswith(prefixes[0])}
    outside = [name for name in tensors if not name.startswith(prefixes[0])]
    if unknown := [name for name in outside if not BESIDE.match(name)]:
        raise ModelError(f"{path}: has tensors beside the network in {prefixes[0]!r}: {_listed(unknown)}")
    if outside:
        log.warning("%s: left out, as not of the network: %s", path, _listed(outside))
    return inside


def _build(source: Source, bands: int, outputs: int) -> EncoderUNet:
    return EncoderUNet(source.timm_encoder, bands, outputs, "batch", "nearest")


def _length(tensor: Tensor, axis: int) -> int:
    """Of a tensor without that axis 1: its shape is refused, once it is known which it should have."""
    return max(tensor.shape[axis], 1) if tensor.ndim > axis else 1


def _provenance(source: Source) -> dict[str, Any]:
    origin = {"from": "segmentation-models-pytorch", "file": source.path.name, "sha256": model_sha256(source.path)}
    versions = {"geoseg": geoseg.__version__, "torch": torch.__version__, "timm": timm.__version__}
    return {"imported": origin | {"encoder": source.encoder}, "versions": versions}


def _say(config: SegmenterConfig, source: Source, outputs: int, raw: bool) -> None:
    """Log what was understood, for the user to compare with the training."""
    log.info("%s: %s, %d band(s), %d output(s)", source.path, source.encoder, config.bands, outputs)
    legend = config.legend
    if outputs == 1:
        first, second = (legend.names[i] for i in legend.scored)
        log.info("classes: %s where the sigmoid is above 0.5, else %s", second, first)
    else:
        told = legend.names if outputs == len(legend) else [legend.names[i] for i in legend.scored]
        log.info("outputs: %s", ", ".join(f"{place} {name}" for place, name in enumerate(told)))
    top, said = (255, "pixels") if raw else (1, "pixels / 255")
    numbers = [", ".join(f"{value * top:.6g}" for value in values) for values in (config.mean, config.std)]
    log.info("normalisation: (%s - mean) / std, mean %s, std %s", said, *numbers)
    log.info("windows of %d px, seen at %d px", config.window, config.size)


def _listed(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more if names else "nothing"
