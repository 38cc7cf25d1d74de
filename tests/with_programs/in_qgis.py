"""Run by QGIS's own Python: says as JSON how QGIS shows a raster and a vector file, and draws both.

Usage: in_qgis.py RASTER VECTOR PICTURE.png
"""

import json
import os
import sys

from qgis.core import (
    QgsApplication,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize


def classes_of_raster(layer):
    renderer = layer.renderer()
    if renderer.type() != "paletted":
        return renderer.type(), {}
    return renderer.type(), {int(c.value): [c.label, c.color.name()] for c in renderer.classes()}


def classes_of_vector(layer):
    renderer = layer.renderer()
    if renderer.type() != "categorizedSymbol":
        return renderer.type(), {}
    found = {int(c.value()): [c.label(), c.symbol().color().name()] for c in renderer.categories()}
    return renderer.type(), found


def table_of(layer):
    """Names by value in the raster's attribute table, from QGIS 3.30 on."""
    if not hasattr(layer.dataProvider(), "readNativeAttributeTable"):
        return None
    layer.dataProvider().readNativeAttributeTable()
    table = layer.attributeTable(1)
    return table and {int(row[0]): row[1] for row in table.data()}


def main(raster, vector, picture):
    QgsApplication.setPrefixPath("/usr", True)
    application = QgsApplication([], False)
    application.initQgis()
    below, above = QgsRasterLayer(raster, "raster"), QgsVectorLayer(vector, "vector", "ogr")
    record = {"valid": [below.isValid(), above.isValid()], "bands": below.bandCount(), "features": above.featureCount()}
    record["raster"], record["raster_classes"] = classes_of_raster(below)
    record["vector"], record["vector_classes"] = classes_of_vector(above)
    record["table"], record["crs"] = table_of(below), [below.crs().authid(), above.crs().authid()]
    extents = [[e.xMinimum(), e.yMinimum(), e.xMaximum(), e.yMaximum()] for e in (below.extent(), above.extent())]
    record["extents"] = extents
    for name, layers in (("raster", [below]), ("vector", [above])):
        settings = QgsMapSettings()
        settings.setLayers(layers)
        settings.setDestinationCrs(below.crs())
        settings.setExtent(below.extent())
        settings.setOutputSize(QSize(400, 400))
        job = QgsMapRendererParallelJob(settings)
        job.start()
        job.waitForFinished()
        job.renderedImage().save(picture.replace(".png", "_" + name + ".png"))
    print(json.dumps(record), flush=True)
    # QGIS of Debian crashes when it leaves while Python still holds layers.
    os._exit(0)


main(*sys.argv[1:])
