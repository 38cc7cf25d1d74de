"""The form in which QGIS lets a person label points."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, tostring


def labelling_style(field: str, choices: Sequence[str], hidden: Sequence[str]) -> str:
    """A QML style: ``field`` is chosen from a list, ``hidden`` columns show neither in form nor table."""
    root = Element("qgis", version="3.28.0", styleCategories="Fields|Forms|AttributeTable")
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


def _widget(fields: Element, name: str, kind: str) -> Element:
    return SubElement(SubElement(SubElement(fields, "field", name=name), "editWidget", type=kind), "config")
