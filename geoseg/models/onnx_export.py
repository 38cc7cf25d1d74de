"""geoseg.export_onnx: a segmenter as one ONNX file, raw pixels in, scores out (docs/export.md)."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

import geoseg
from geoseg.errors import ModelError, UsageError
from geoseg.files import replace_file, require_place
from geoseg.legend import NODATA
from geoseg.models.normalisation import TileBatch, exact_dtype
from geoseg.models.segmenter import Segmenter, SegmenterConfig
from geoseg.models.storage import load

if TYPE_CHECKING:
    import onnx

Output = Literal["scores", "logits", "classes"]
"""scores: softmax of the scored classes' logits. logits: of all classes of the legend. classes: codes of the legend."""
OPSET = 18
"""The newest that runtimes since 2023 know, and the oldest that torch's exporter writes."""
TOLERANCE = 1e-4
"""Of what the file gives and what the model gives; of logits beyond 1, as a share of the largest."""
TIES = 0.01
"""Share of the pixels whose class may be another one: two scores that are all but equal."""
MOST_BYTES = (2 << 30) - (16 << 20)
"""Of the weights: what one ONNX file holds, with room for the graph."""
AXES = {0: "batch", 2: "height", 3: "width"}
OVERLAP = 1 / 8, 96
"""Share of a tile, and pixels of a tile, that neighbours share at least: what geoseg predict takes itself."""


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX file that was written and run."""

    path: Path
    output: Output
    inputs: dict[str, str]
    """dtype and shape of each input, by name."""
    outputs: dict[str, str]
    difference: float
    """The largest that was found between what the file and what the model give: of scores, logits, or for classes the
    share of pixels of another class."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"path": str(self.path)}

    def to_text(self) -> str:
        """One line for the terminal."""
        sides = self.inputs, self.outputs
        taken, given = (", ".join(f"{name} {what}" for name, what in side.items()) for side in sides)
        return f"{self.path}: {taken} -> {given}; differs from the model by {self.difference:.1e} at most"


def export_onnx(
    model: str | Path | Segmenter,
    path: str | Path,
    *,
    output: Output = "scores",
    valid_input: bool = False,
    deepness: bool = False,
    overwrite: bool = False,
) -> OnnxModel:
    """Write a model as an ONNX file of any batch, height and width, and run it once beside the model.

    Its input ``pixels`` is (N, C, H, W) raw digital numbers in the model's dtype; normalisation is part of the graph.

    Args:
        model: a run folder, a model file, or a Segmenter.
        path: the file, ending in .onnx.
        output: ``scores`` (N, S, H, W) float32 of the classes that can be predicted, ``logits`` (N, K, H, W) float32 of
            all, or ``classes`` (N, H, W) uint8 codes.
        valid_input: take a second input ``valid`` (N, H, W) bool; pixels that are not valid enter as the band means.
            Without it all pixels are, of floats those that are finite.
        deepness: as the QGIS plugin Deepness takes it: pixels / 255 in float32, scores, squares of the size that the
            model was trained with.
        overwrite: replace an existing file.

    A model that scales each raster by its percentiles takes the input ``stretch`` (N, 2, C) too: low and high of each
    band.

    Raises UsageError (onnx is not installed, options that contradict each other), ModelError (a network that cannot be
    exported, or does not give the same), OutputError, ResourceError.
    """
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        raise UsageError(f"{path}: an ONNX file ends in .onnx")
    require_onnx()
    require_place(path, overwrite)
    segmenter = model if isinstance(model, Segmenter) else load(model)
    graph = _Graph.of(segmenter, output, valid_input, deepness)
    written = _described(_exported(graph), graph, _facts(graph, segmenter))
    data = written.SerializeToString()
    difference = _require_same(data, graph)
    replace_file(path, data)
    inputs, outputs = ({one.name: _told(one) for one in side} for side in (written.graph.input, written.graph.output))
    return OnnxModel(path, output, inputs, outputs, difference)


def require_onnx() -> None:
    """Raise UsageError unless what exporting needs is installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(f"ONNX needs packages that are not there ({error}): pip install 'geoseg[onnx]'") from error


class _Graph(nn.Module):
    """A segmenter on the CPU as the file has it: what comes in, and what becomes of its logits."""

    def __init__(self, segmenter: Segmenter, output: Output, valid_input: bool, deepness: bool) -> None:
        super().__init__()
        self.segmenter = copy.deepcopy(segmenter).cpu().requires_grad_(False)
        self.config, self.output, self.valid_input, self.deepness = segmenter.config, output, valid_input, deepness
        self.side = segmenter.config.size if deepness else None
        """Height and width where they are fixed."""
        legend = segmenter.legend
        self.register_buffer("scored", torch.tensor(legend.scored), persistent=False)
        codes = [legend.classes[index].code for index in legend.scored]
        self.register_buffer("codes", torch.tensor(codes, dtype=torch.uint8), persistent=False)
        self.eval()

    @classmethod
    def of(cls, segmenter: Segmenter, output: Output, valid_input: bool, deepness: bool) -> _Graph:
        """Checked; raises UsageError, ModelError."""
        config = segmenter.config
        if output not in get_args(Output):
            raise UsageError(f'the output is "scores", "logits" or "classes", got {output!r}')
        if deepness and (output != "scores" or valid_input):
            raise UsageError("Deepness takes scores and gives pixels alone: leave --output and --valid-input out")
        if deepness and config.scaling.per_raster:
            raise UsageError("Deepness knows no percentiles of a raster, which this model is scaled by")
        if (size := sum(p.numel() * p.element_size() for p in segmenter.parameters())) > MOST_BYTES:
            raise ModelError(f"{size / 2**30:.1f} GiB of weights: one ONNX file holds 2 GiB")
        return cls(segmenter, output, valid_input, deepness)

    @property
    def input_names(self) -> list[str]:
        """In the order of ``forward``'s."""
        stretch = ["stretch"] if self.config.scaling.per_raster else []
        return ["pixels", *(["valid"] if self.valid_input else []), *stretch]

    def forward(self, pixels: Tensor, valid: Tensor | None = None, stretch: Tensor | None = None) -> Tensor:
        """What the file gives for (N, C, H, W) pixels, and what else ``input_names`` has."""
        if self.deepness:
            pixels = self._undivided(pixels)
        if valid is None:
            valid = torch.ones_like(pixels[:, 0], dtype=torch.bool)
        if pixels.is_floating_point():
            valid = valid & torch.isfinite(pixels).all(1)
        logits = self.segmenter(TileBatch(pixels, valid, stretch))
        return logits if self.output == "logits" else self._decided(logits.index_select(1, self.scored))

    def _decided(self, scored: Tensor) -> Tensor:
        return torch.softmax(scored, 1) if self.output == "scores" else self.codes[scored.argmax(1)]

    def _undivided(self, pixels: Tensor) -> Tensor:
        """Raw digital numbers of what was divided by 255: whole ones, where the model's are."""
        numbers = pixels * 255
        return numbers if self.config.dtype.startswith("float") else numbers.round()

    def trial(self, count: int, height: int, width: int, seed: int) -> dict[str, Tensor]:
        """Inputs by name, as the training pixels may have been: below, within and above the bounds."""
        random = np.random.default_rng(seed)
        config = self.config
        shape = (count, config.bands, height, width)
        bounds = np.array([(0.0, 1000.0)] if config.scaling.per_raster else config.scaling.of_bands(config.bands))
        low, high = (bounds[:, side].reshape(1, -1, 1, 1) for side in (0, 1))
        values = low + random.uniform(-0.1, 1.1, shape) * (high - low)
        pixels = np.dtype(config.dtype)
        if pixels.kind in "iu":
            limits = np.iinfo(pixels)
            values = values.round().clip(limits.min, limits.max)
        values = values.astype(pixels)
        given = {"pixels": torch.from_numpy((values / 255).astype(np.float32) if self.deepness else values)}
        given["valid"] = torch.from_numpy(random.random((count, height, width)) > 0.2)
        span = torch.tensor((0.0, 1000.0), dtype=exact_dtype(getattr(torch, config.dtype)))
        given["stretch"] = span[None, :, None].expand(count, 2, config.bands).contiguous()
        return {name: given[name] for name in self.input_names}


def _exported(graph: _Graph) -> onnx.ModelProto:
    """The graph as torch's exporter writes it; raises ModelError."""
    # Neither of 1: a dimension of 1 would be fixed.
    sides = (graph.side, graph.side) if graph.side else (2 * graph.segmenter.network.stride, 3 * 32 + 5)
    example = graph.trial(2, *sides, seed=0)
    dynamic = {name: dict.fromkeys(_axes(graph, name), torch.export.Dim.DYNAMIC) for name in graph.input_names}
    try:
        with _quiet(), torch.inference_mode(False), torch.no_grad():
            program = torch.onnx.export(
                graph,
                kwargs=example,
                dynamo=True,
                dynamic_shapes=dynamic,
                input_names=graph.input_names,
                output_names=[graph.output],
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        reason = " ".join(str(_first_cause(error)).split())[:200]
        raise ModelError(f"the network {graph.config.encoder} cannot be exported to ONNX ({reason})") from error
    return program.model_proto


def _first_cause(error: BaseException) -> BaseException:
    """torch tells first what one might do about it."""
    return _first_cause(error.__cause__) if error.__cause__ else error


def _axes(graph: _Graph, name: str) -> list[int]:
    """The dimensions of an input that may be of any length."""
    whole = {"pixels": [0, 2, 3], "valid": [0, 1, 2], "stretch": [0]}[name]
    return [0] if graph.side else whole


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch's exporter prints, warns and logs whatever happens; what it raises is told."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _described(written: onnx.ModelProto, graph: _Graph, facts: dict[str, str]) -> onnx.ModelProto:
    """The same with names for its dimensions, its maker and metadata; without what the exporter noted of the code."""
    import onnx

    for value in (*written.graph.input, *written.graph.output):
        names = [AXES.get(axis) for axis in range(4)] if value.name in ("pixels", graph.output) else ["batch"]
        if value.name in ("valid", "classes"):
            names = ["batch", "height", "width"]
        for dimension, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
            if name and not dimension.HasField("dim_value"):
                dimension.dim_param = name
    # Lengths within the graph are named by formulas of lengths that are now called otherwise.
    del written.graph.value_info[:]
    for node in written.graph.node:
        del node.metadata_props[:]
    del written.graph.metadata_props[:], written.metadata_props[:]
    written.producer_name, written.producer_version = "geoseg", geoseg.__version__
    written.doc_string = f"Land cover: {', '.join(graph.config.legend.names)}. See geoseg's docs/export.md."
    onnx.helper.set_model_props(written, facts)
    onnx.checker.check_model(written)
    return written


def _facts(graph: _Graph, segmenter: Segmenter) -> dict[str, str]:
    """The file's metadata: what Deepness and its like read, and the model's own record; each value is JSON."""
    config, legend = graph.config, graph.config.legend
    listed = legend.scored if graph.output != "logits" else range(len(legend))
    classes = [legend.classes[index] for index in listed]
    path, weights = segmenter.origin["path"], segmenter.weights_sha256()
    model = {"name": path and Path(path).name, "sha256": segmenter.origin["sha256"], "weights_sha256": weights}
    ours: dict[str, Any] = {"output": graph.output, "version": geoseg.__version__, "model": model}
    ours |= {"config": config.to_dict(), "codes": [one.code for one in classes], "nodata": NODATA}
    ours["colors"] = ["#{:02x}{:02x}{:02x}".format(*one.colour) for one in classes]
    facts: dict[str, Any] = {"geoseg": ours, "model_type": "Segmentor"}
    facts["class_names"] = {str(place): one.name for place, one in enumerate(classes)}
    # The plugin's documents and its code disagree on the name.
    facts |= {"tile_size": config.size, "tiles_size": config.size, "tiles_overlap": _overlap_percent(config)}
    # Of scores it takes the highest, if nothing is below a threshold.
    facts |= {"seg_thresh": 0.0, "seg_small_segment": 0}
    if config.gsd:
        facts["resolution"] = round(100 * config.gsd * config.window / config.size, 6)
    if graph.deepness:
        # It divides by 255 before this, and takes three bands for granted unless it is told.
        facts |= {"standardization_mean": [0.0] * config.bands, "standardization_std": [1.0] * config.bands}
    return {key: json.dumps(value) for key, value in facts.items()}


def _overlap_percent(config: SegmenterConfig) -> int:
    share, pixels = OVERLAP
    return math.ceil(100 * min(max(share, pixels / config.size), 0.25))


def _require_same(data: bytes, graph: _Graph) -> float:
    """The largest difference between the file and the model on a few tiles; raises ModelError where it is too large."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        found = [_difference(session, graph, *shape, seed) for seed, shape in enumerate(_trial_shapes(graph))]
    except Exception as error:
        if isinstance(error, ModelError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"the exported network does not run in onnxruntime ({reason})") from error
    return max(found)


def _trial_shapes(graph: _Graph) -> Sequence[tuple[int, int, int]]:
    """(N, H, W) of tiles that show whether all three may be anything."""
    if graph.side:
        return ((2, graph.side, graph.side),)
    stride = graph.segmenter.network.stride
    return (2, 2 * stride, 3 * stride), (1, stride + 5, 2 * stride - 3), (3, 1, 7)


def _difference(session: Any, graph: _Graph, count: int, height: int, width: int, seed: int) -> float:
    trial = graph.trial(count, height, width, seed)
    with torch.inference_mode():
        expected = graph(**trial).numpy()
    (found,) = session.run(None, {name: one.numpy() for name, one in trial.items()})
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ModelError(f"the exported network gives {found.shape} {found.dtype}, the model {expected.shape}")
    if graph.output == "classes":
        apart, most = float((found != expected).mean()), TIES
    else:
        apart = float(np.abs(found - expected).max())
        most = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if not apart <= most:
        raise ModelError(f"the exported network differs from the model by {apart:.2g}, more than {most:.2g}")
    return apart


def _told(value: onnx.ValueInfoProto) -> str:
    """float32 (batch, 3, height, width)"""
    import onnx

    kind = value.type.tensor_type
    lengths = (d.dim_param or str(d.dim_value) for d in kind.shape.dim)
    return f"{onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)} ({', '.join(lengths)})"
