"""Styles of QGIS: the form in which a person labels points, and classes in their colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
import pyogrio.raw

from geoseg.legend import Colour, Legend, LegendClass

VERSION = "3.22.0"
"""Of QGIS, whose form styles have; newer ones read it."""
OUTLINE = "35,35,35,255"


def labelling_style(field: str, choices: Sequence[str], hidden: Sequence[str]) -> str:
    """A QML style: ``field`` is chosen from a list, ``hidden`` columns show neither in form nor table."""
    root = Element("qgis", version=VERSION, styleCategories="Fields|Forms|AttributeTable")
    fields = SubElement(root, "fieldConfiguration")
    options = SubElement(_widget(fields, field, "ValueMap"), "Option", type="Map")
    items = SubElement(options, "Option", type="List", name="map")
    for choice in choices:
        SubElement(SubElement(items, "Option", type="Map"), "Option", type="QString", name=choice, value=choice)
    table = SubElement(SubElement(root, "attributetableconfig", sortExpression="", sortOrder="0"), "columns")
    for name in hidden:
        SubElement(_widget(fields, name, "Hidden"), "Option")
        SubElement(table, "column", type="field", name=name, hidden="1", width="-1")
    return tostring(root, encoding="unicode")


def qml_path(raster: Path) -> Path:
    """Where QGIS looks for the style of a raster file."""
    return raster.with_suffix(".qml")


def class_raster_style(legend: Legend) -> str:
    """A QML style of a class raster: each code in its class's colour and by its name."""
    root = Element("qgis", version=VERSION, styleCategories="Symbology")
    renderer = SubElement(
        SubElement(root, "pipe"), "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1"
    )
    palette = SubElement(renderer, "colorPalette")
    for one in sorted(legend.classes, key=lambda c: c.code):
        colour = "#{:02x}{:02x}{:02x}".format(*one.colour)
        SubElement(palette, "paletteEntry", value=str(one.code), label=one.name, color=colour, alpha="255")
    SubElement(root, "blendMode").text = "0"
    return _document(root)


def class_polygon_style(classes: Sequence[LegendClass], field: str) -> str:
    """A QML style of polygons: ``field`` holds the class's code; each has its class's colour and name."""
    root = Element("qgis", version=VERSION, styleCategories="Symbology")
    renderer = SubElement(
        root, "renderer-v2", type="categorizedSymbol", attr=field, symbollevels="0", enableorderby="0"
    )
    categories, symbols = SubElement(renderer, "categories"), SubElement(renderer, "symbols")
    for number, one in enumerate(classes):
        SubElement(
            categories, "category", value=str(one.code), type="long", symbol=str(number), label=one.name, render="true"
        )
        symbol = SubElement(symbols, "symbol", type="fill", name=str(number), alpha="1", clip_to_extent="1")
        _fill(SubElement(symbol, "layer", {"class": "SimpleFill"}, enabled="1", locked="0"), one.colour)
    return _document(root)


def write_layer_style(path: Path, layer: str, name: str, style: str) -> None:
    """Add a QML style to a GeoPackage, in the table in which QGIS looks for a layer's default one when it loads it."""
    texts = {"f_table_catalog": "", "f_table_schema": "", "f_table_name": layer, "f_geometry_column": "geom"}
    texts |= {"styleName": name, "styleQML": style, "styleSLD": "", "description": "", "owner": "", "ui": ""}
    columns = {key: np.array([value], object) for key, value in texts.items()} | {"useAsDefault": np.array([True])}
    # QGIS has this column; no clock is written.
    columns["update_time"] = np.array(["NaT"], "datetime64[ms]")
    pyogrio.raw.write(
        path,
        None,
        list(columns.values()),
        list(columns),
        layer="layer_styles",
        driver="GPKG",
        append=True,
        layer_options={"FID": "id"},
    )


def _fill(layer: Element, colour: Colour) -> None:
    values = {"color": ",".join(map(str, (*colour, 255))), "style": "solid", "joinstyle": "bevel"}
    values |= {"outline_color": OUTLINE, "outline_style": "solid", "outline_width": "0.1", "outline_width_unit": "MM"}
    options = SubElement(layer, "Option", type="Map")
    for key, value in values.items():
        SubElement(options, "Option", type="QString", name=key, value=value)
        # Versions before 3.26 read these in place of the options.
        SubElement(layer, "prop", k=key, v=value)


def _document(root: Element) -> str:
    return "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n" + tostring(root, encoding="unicode") + "\n"


def _widget(fields: Element, name: str, kind: str) -> Element:
    return SubElement(SubElement(SubElement(fields, "field", name=name), "editWidget", type=kind), "config")
