"""Layers of vector files: what is read of them, and what never is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import shapely

from geoseg.errors import InputError
from geoseg.layers import field_names, layer_info, read_layer

MakeVector = Callable[..., Path]
BOXES = [shapely.box(i, 0, i + 1, 1) for i in range(3)]


@pytest.fixture
def requests() -> Iterator[tuple[str, list[str]]]:
    """The address of a server on this machine, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


def test_fields_all_some_or_none(make_vector: MakeVector) -> None:
    path = make_vector(BOXES, [10] * 3, ha=[1.5] * 3)
    assert list(read_layer(path, fields=["ha"]).fields) == ["ha"] and read_layer(path, fields=False).fields == {}
    assert list(read_layer(path).fields) == ["kind", "ha"] and field_names(path, "labels") == ("kind", "ha")


def test_one_layer_is_read_and_several_need_a_name(make_vector: MakeVector) -> None:
    path = make_vector(BOXES, ["a"] * 3, layer="one")
    assert layer_info(path)[0] == read_layer(path).name == "one"
    make_vector(BOXES[:1], ["b"], layer="two", crs="EPSG:4326")
    with pytest.raises(InputError, match=r"2 layers with geometry \(one, two\); name one so"):
        read_layer(path, remedy="name one so")
    found = read_layer(path, "two")
    assert found.crs.to_epsg() == 4326 and len(found.shapes) == 1 and found.fields["kind"].tolist() == ["b"]


def test_features_near_a_shape(make_vector: MakeVector) -> None:
    path = make_vector(BOXES, ["a", "b", "c"])
    assert read_layer(path, near=shapely.box(2.5, 0, 9, 9)).fields["kind"].tolist() == ["c"]


def test_nothing_is_fetched_that_a_file_names(tmp_path: Path, requests: tuple[str, list[str]]) -> None:
    address, asked = requests
    path = tmp_path / "a.gml"
    path.write_text(
        '<wfs:FeatureCollection xmlns:wfs="http://www.opengis.net/wfs" xmlns:ogr="http://ogr.maptools.org/" '
        'xmlns:gml="http://www.opengis.net/gml" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:schemaLocation="http://ogr.maptools.org/ {address}/wfs?SERVICE=WFS&amp;'
        'REQUEST=DescribeFeatureType&amp;TYPENAME=a">'
        '<gml:featureMember><ogr:a fid="a.0"><ogr:geom><gml:Point srsName="EPSG:32631"><gml:pos>1 2</gml:pos>'
        "</gml:Point></ogr:geom><ogr:kind>roof</ogr:kind></ogr:a></gml:featureMember></wfs:FeatureCollection>"
    )
    assert read_layer(path).fields["kind"].tolist() == ["roof"] and not asked
