"""The metadata of TFLite files, read field by field as metadata_schema.fbs numbers them."""

import struct

import pytest

from pipeline.export import tflite_metadata


class Table:
    """Reads a table of a flatbuffer, by the numbers of its fields."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position

    def at(self, number: int) -> int:
        """Where a field's value is."""
        (back,) = struct.unpack_from("<i", self.data, self.position)
        (offset,) = struct.unpack_from("<H", self.data, self.position - back + 4 + 2 * number)
        assert offset, f"field {number} is not there"
        return self.position + offset

    def follow(self, position: int) -> int:
        (offset,) = struct.unpack_from("<I", self.data, position)
        return position + int(offset)

    def table(self, number: int) -> "Table":
        return Table(self.data, self.follow(self.at(number)))

    def tables(self, number: int) -> list["Table"]:
        start = self.follow(self.at(number))
        (length,) = struct.unpack_from("<I", self.data, start)
        photo_paths = [start + 4 + 4 * i for i in range(length)]
        return [Table(self.data, self.follow(place)) for place in photo_paths]

    def text(self, number: int) -> str:
        start = self.follow(self.at(number))
        (length,) = struct.unpack_from("<I", self.data, start)
        return self.data[start + 4 : start + 4 + length].decode()

    def floats(self, number: int) -> list[float]:
        start = self.follow(self.at(number))
        (length,) = struct.unpack_from("<I", self.data, start)
        return list(struct.unpack_from(f"<{length}f", self.data, start + 4))

    def byte(self, number: int) -> int:
        return self.data[self.at(number)]


@pytest.fixture
def graph() -> Table:
    data = tflite_metadata.describe(50, "labels.txt")
    assert data[4:8] == b"M001"
    model = Table(data, struct.unpack_from("<I", data)[0])
    assert model.text(0) == "image classifier"
    assert model.text(7) == "1.0.0"
    (graph,) = model.tables(3)
    return graph


def test_the_input_is_an_rgb_photo_from_0_to_1(graph: Table) -> None:
    (image,) = graph.tables(2)
    assert image.text(0) == "image"
    content = image.table(3)
    assert content.byte(0) == 2  # ImageProperties
    assert content.table(1).byte(0) == 1  # RGB
    (unit,) = image.tables(4)
    assert unit.byte(0) == 1  # NormalizationOptions
    normalization = unit.table(1)
    assert (normalization.floats(0), normalization.floats(1)) == ([0], [255])
    assert (image.table(5).floats(0), image.table(5).floats(1)) == ([1], [0])


def test_the_output_names_the_file_of_its_labels(graph: Table) -> None:
    (prediction,) = graph.tables(3)
    assert prediction.text(0) == "prediction"
    assert "50 classes" in prediction.text(1)
    assert prediction.table(3).byte(0) == 1  # FeatureProperties
    (file,) = prediction.tables(6)
    assert file.text(0) == "labels.txt"
    assert file.byte(2) == 2  # TENSOR_AXIS_LABELS
