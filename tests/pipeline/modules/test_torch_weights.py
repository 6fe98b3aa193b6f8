"""Reading PyTorch's old files: arrays come out unchanged, and other files are refused."""

import hashlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.modules import efficientnet_lite, torch_weights

MAGIC = 0x1950A86A20F9469CFC6C
ORDERED_DICT = b"ccollections\nOrderedDict\n)R"

# A tensor is its name, the numbers of its storage, and its offset, size and strides.
Tensor = tuple[str, np.ndarray, int, tuple[int, ...], tuple[int, ...]]
Writer = Callable[[bytes], Path]


def opcodes(value: object) -> bytes:
    """Those that push a value of plain Python, which is what lies between PROTO and STOP."""
    return pickle.dumps(value, 2)[2:-1]


def view(name: str, array: np.ndarray) -> Tensor:
    """A tensor that sees its storage just as the array sees the one-dimensional array below it."""
    numbers = array if array.base is None else array.base
    offset = array.ctypes.data - numbers.ctypes.data
    strides = tuple(stride // array.itemsize for stride in array.strides)
    return name, numbers.ravel(), offset // array.itemsize, array.shape, strides


def rebuilt(tensor: Tensor, key: str) -> bytes:
    name, numbers, offset, size, strides = tensor
    kind = {"f": b"FloatStorage", "i": b"LongStorage"}[numbers.dtype.kind]
    storage = b"(" + opcodes("storage") + b"ctorch\n" + kind + b"\n" + opcodes(key)
    storage += opcodes("cpu") + opcodes(len(numbers)) + b"NtQ"
    arguments = storage + opcodes(offset) + opcodes(size) + opcodes(strides)
    return opcodes(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"\x89}tR"


def pack(*tensors: Tensor, state: bytes | None = None) -> bytes:
    """A complete file; `state` stands in for the opcodes of its state dict."""
    addresses = [numbers.ctypes.data for _, numbers, *_ in tensors]
    keys = [str(addresses.index(address)) for address in addresses]
    if state is None:
        state = ORDERED_DICT + b"(" + b"".join(map(rebuilt, tensors, keys)) + b"u"
    storages = {key: numbers for key, (_, numbers, *_) in zip(keys, tensors, strict=True)}
    machine = {"protocol_version": 1001, "little_endian": True}
    head = b"".join(pickle.dumps(part, 2) for part in (MAGIC, 1001, machine))
    tail = pickle.dumps(list(storages), 2)
    raw = (struct.pack("<q", len(n)) + n.tobytes() for n in storages.values())
    return head + b"\x80\x02" + state + b"." + tail + b"".join(raw)


def ramp(count: int, dtype: type = np.float32) -> np.ndarray:
    return np.arange(count, dtype=dtype) + 1


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    def to_file(data: bytes) -> Path:
        path = tmp_path / "weights.pth"
        path.write_bytes(data)
        return path

    return to_file


def read(path: Path) -> dict[str, np.ndarray]:
    return torch_weights.read(path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_arrays_come_back_by_name_in_the_order_of_the_file(write: Writer) -> None:
    arrays = {"b": ramp(6).reshape(2, 3), "a": ramp(4), "c": ramp(1).reshape(())}
    arrays_read = read(write(pack(*(view(n, a) for n, a in arrays.items()))))
    assert list(arrays_read) == ["b", "a", "c"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(arrays_read[name], array, strict=True)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_the_kind_of_number_is_kept(write: Writer, dtype: type) -> None:
    arrays_read = read(write(pack(view("x", ramp(5, dtype)))))
    np.testing.assert_array_equal(arrays_read["x"], ramp(5, dtype), strict=True)


def test_a_transposed_tensor_is_read_with_its_strides(write: Writer) -> None:
    transposed = ramp(24).reshape(2, 3, 4).transpose(2, 0, 1)
    arrays_read = read(write(pack(view("x", transposed))))["x"]
    np.testing.assert_array_equal(arrays_read, transposed, strict=True)
    assert arrays_read.flags.c_contiguous


def test_two_tensors_may_share_a_storage(write: Writer) -> None:
    numbers = ramp(10)
    arrays_read = read(write(pack(view("front", numbers[:4]), view("back", numbers[4:]))))
    assert arrays_read["front"].tolist() == [1, 2, 3, 4]
    assert arrays_read["back"].tolist() == [5, 6, 7, 8, 9, 10]


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.pth", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UserError, match=f"{path} cannot be read: {reason}.*; reinstall the"):
            torch_weights.read(path, "")


def test_a_file_with_another_digest_is_refused_before_it_is_unpickled(
    write: Writer, tmp_path: Path
) -> None:
    command = opcodes(f"touch {tmp_path / 'run'}")
    path = write(pack(state=b"cos\nsystem\n(" + command + b"tR"))
    with pytest.raises(
        UserError, match=f"{path} is damaged, or not the expected weights"
    ) as caught:
        torch_weights.read(path, "0" * 64)
    assert "reinstall the package" in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["os.system", "collections.deque", "torch.load"])
def test_a_name_that_does_not_occur_in_weights_is_not_imported(write: Writer, name: str) -> None:
    module, attribute = name.rsplit(".", 1)
    state = f"c{module}\n{attribute}\n(".encode() + opcodes("true") + b"tR"
    with pytest.raises(pickle.UnpicklingError, match=name):
        read(write(pack(state=state)))


def test_the_real_weights_have_the_stem_of_the_network() -> None:
    lite0 = efficientnet_lite.VARIANTS["efficientnet-lite0"]
    weights = torch_weights.read(efficientnet_lite.weights_path(lite0.name), lite0.sha256)
    assert weights["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert weights["_conv_stem.weight"].dtype == np.float32
