"""What a VRT names, and whether it is a plain one.

A VRT can order GDAL to read any file or address as raw bytes or as a raster of any format, and to run code. So only the
elements of mosaics and warps are taken, each with the attributes it is known for: GDAL compares names without regard
to case, so whatever is written otherwise is refused and not passed over.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from urllib.parse import unquote
from xml.etree import ElementTree

from geoseg.errors import InputError, UsageError
from geoseg.source import Source

SOURCES = ("SimpleSource", "ComplexSource", "AveragedSource", "NoDataFromMaskSource")
NAMES_OF_FILES = ("SourceFilename", "SourceDataset")
_RECT = {"xOff", "yOff", "xSize", "ySize"}
_BANDS = {None, "VRTSourcedRasterBand", "VRTWarpedRasterBand"}
_REFUSED_DOMAINS = ("overviews", "geolocation")
"""Metadata in which GDAL looks for names of files."""
_ATTRIBUTES: dict[str, set[str]] = {
    "VRTDataset": {"rasterXSize", "rasterYSize", "subClass"},
    "VRTRasterBand": {"dataType", "band", "subClass", "blockXSize", "blockYSize"},
    "SRS": {"dataAxisToSRSAxisMapping", "coordinateEpoch"},
    "GCPList": {"Projection", "dataAxisToSRSAxisMapping"},
    "GCP": {"Id", "Info", "Pixel", "Line", "X", "Y", "Z"},
    "Metadata": {"domain", "format"},
    "MDI": {"key"},
    "OverviewList": {"resampling"},
    "Entry": {"c1", "c2", "c3", "c4"},
    "SourceFilename": {"relativeToVRT", "relativetoVRT", "shared"},
    "SourceDataset": {"relativeToVRT"},
    "SourceProperties": {"RasterXSize", "RasterYSize", "DataType", "BlockXSize", "BlockYSize"},
    "SrcRect": _RECT,
    "DstRect": _RECT,
    "OOI": {"key"},
    "Option": {"name", "key"},
    "BandMapping": {"src", "dst"},
    "GDALRasterAttributeTable": {"Row0Min", "BinSize", "tableType"},
    "FieldDefn": {"index"},
    "Row": {"index"},
} | {name: {"resampling", "name"} for name in SOURCES}
_PLAIN = """
    GeoTransform BlockXSize BlockYSize MaskBand Description NoDataValue HideNoDataValue UnitType Offset Scale
    ColorInterp CategoryNames Category ColorTable Histograms HistItem HistMin HistMax BucketCount IncludeOutOfRange
    Approximate HistCounts Name Type Usage F Overview SourceBand OpenOptions NODATA UseMaskBand ScaleOffset ScaleRatio
    LUT ColorTableComponent Exponent SrcMin SrcMax DstMin DstMax Clamp MaskValueThreshold RemappedValue
    GDALWarpOptions WarpMemoryLimit ResampleAlg WorkingDataType Transformer ApproxTransformer MaxError BaseTransformer
    GenImgProjTransformer SrcGeoTransform SrcInvGeoTransform DstGeoTransform DstInvGeoTransform ReprojectTransformer
    ReprojectionTransformer SourceSRS TargetSRS Options SrcGCPTransformer GCPTransformer TPSTransformer
    SrcTPSTransformer Order Reversed Refine MinimumGcps Tolerance BandList SrcNoDataReal SrcNoDataImag DstNoDataReal
    DstNoDataImag SrcAlphaBand DstAlphaBand Cutline CutlineBlendDist
"""
_ATTRIBUTES |= {name: set() for name in _PLAIN.split()}
_OPEN_OPTIONS = {"OVERVIEW_LEVEL", "NUM_THREADS"}
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_+.-]*:")


def nested_sources(text: bytes, vrt: Source) -> list[Source]:
    """The files that a VRT's text names, each once, under its policy. Nothing is opened.

    Raises InputError where it is no plain mosaic or warp, or names a file outside of its folder and the policy does not
    say that it may.
    """
    return list(dict.fromkeys(_source(element, vrt) for element in _names(_parsed(text, vrt), vrt)))


def _parsed(text: bytes, vrt: Source) -> ElementTree.Element:
    # Document types can define entities, and of a text in pieces GDAL takes the first: nothing of that is needed.
    if odd := next((mark for mark in (b"<!DOCTYPE", b"<!ENTITY", b"<![CDATA[") if mark in text), None):
        raise _not_plain(vrt, odd.decode())
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True, insert_pis=True))
    try:
        # Whatever encoding it claims: GDAL takes the bytes as they are.
        root = ElementTree.fromstring(text.decode("utf-8"), parser)
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{vrt}: is no VRT, or a damaged one ({error})") from error
    if root.tag != "VRTDataset" or root.get("subClass") not in (None, "VRTWarpedDataset"):
        raise _not_plain(vrt, root.get("subClass") or str(root.tag))
    return root


def _names(root: ElementTree.Element, vrt: Source) -> Iterator[ElementTree.Element]:
    """The elements that name files, when all others were found to be harmless."""
    if any(child.tag == "VRTDataset" for child in root.iter() if child is not root):
        raise _not_plain(vrt, "a VRTDataset in another")
    waiting = [root]
    while waiting:
        element = waiting.pop()
        if not isinstance(element.tag, str):
            continue
        _require_plain(element, vrt)
        if element.tag in NAMES_OF_FILES:
            yield element
        # Metadata in XML are passed on as they are.
        elif not (element.tag == "Metadata" and element.get("format") == "xml"):
            waiting += element


def _require_plain(element: ElementTree.Element, vrt: Source) -> None:
    if element.tag == "VRTRasterBand" and element.get("subClass") not in _BANDS:
        raise _not_plain(vrt, element.get("subClass"))
    unknown = set(element.attrib) - _ATTRIBUTES.get(element.tag, set())
    if element.tag not in _ATTRIBUTES or unknown:
        raise _not_plain(vrt, " ".join([f"<{element.tag}>", *sorted(unknown)]))
    if element.tag == "Metadata" and (element.get("domain") or "").lower() in _REFUSED_DOMAINS:
        raise _not_plain(vrt, f"metadata of the domain {element.get('domain')}")
    if element.tag == "OOI" and element.get("key") not in _OPEN_OPTIONS:
        raise _not_plain(vrt, f"the open option {element.get('key')}")


def _not_plain(vrt: Source, what: str) -> InputError:
    return InputError(
        f"{vrt}: only VRTs that are plain mosaics or warps are read, and this one has {what}; write it to a file: "
        "gdal_translate -co TILED=YES -co COMPRESS=DEFLATE IN.vrt OUT.tif"
    )


def _source(element: ElementTree.Element, vrt: Source) -> Source:
    name = element.text or ""
    relative = element.get("relativeToVRT", element.get("relativetoVRT", "0"))
    twice = {"relativeToVRT", "relativetoVRT"} <= set(element.attrib)
    if len(element) or relative not in ("0", "1") or twice:
        raise _ambiguous(name, vrt)
    return located(name, vrt, relative == "1")


def _ambiguous(name: str, vrt: Source) -> InputError:
    return InputError(f"{vrt}: names a file in a way that can be read in two ways ({name!r}); write it plainly")


def located(name: str, vrt: Source, relative: bool = True) -> Source:
    """The file that a VRT or a tile index calls so, from its folder or, not relative, from where GDAL runs.

    Raises InputError for what is no plain name of a file, and for files outside of the folder without the policy's
    leave.
    """
    if name != name.strip() or not name.isprintable():
        raise _ambiguous(name, vrt)
    if _PREFIX.match(name) or name.startswith("<"):
        raise InputError(
            f"{vrt}: names {name}, which is neither a path nor an address in GDAL's spelling (/vsicurl/https://...)"
        )
    try:
        found = vrt.at(posixpath.join(_folder(vrt), name) if relative else name)
    except UsageError as error:
        raise InputError(f"{vrt}: {error}") from error
    if not vrt.policy.external and not _is_below(found, vrt):
        raise InputError(
            f"{vrt}: names {found}, which lies outside of its folder; --allow-external reads such files, too"
        )
    return found


def _folder(vrt: Source) -> str:
    """Where its relative names start: GDAL follows a link to the VRT itself first."""
    if vrt.local:
        return os.path.dirname(os.path.realpath(vrt))
    return vrt.gdal_name.partition("?")[0].rpartition("/")[0]


def _is_below(found: Source, vrt: Source) -> bool:
    """Of local files where links really lead; elsewhere by names alone, which then hold no "..": servers differ."""
    folder = _folder(vrt)
    if vrt.local:
        return found.local and os.path.commonpath([folder, os.path.realpath(found)]) == folder
    name = found.gdal_name
    return name.startswith(f"{folder}/") and ".." not in unquote(name.removeprefix(folder)).split("/")
