"""Reading PyTorch's old files: what is in them comes out, and anything else is refused."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def pack(
    *tensors: Tensor, magic: int = MAGIC, little_endian: bool = True, state: bytes | None = None
) -> bytes:
    """A whole file; `state` stands in for the opcodes of its state dict."""
    addresses = [numbers.ctypes.data for _, numbers, *_ in tensors]
    keys = [str(addresses.index(address)) for address in addresses]
    if state is None:
        state = ORDERED_DICT + b"(" + b"".join(map(rebuilt, tensors, keys)) + b"u"
    storages = {key: numbers for key, (_, numbers, *_) in zip(keys, tensors, strict=True)}
    machine = {"protocol_version": 1001, "little_endian": little_endian}
    head = b"".join(pickle.dumps(part, 2) for part in (magic, 1001, machine))
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


def refusal(path: Path) -> str:
    """Why a file is refused; the message has to name the file and to say what to do."""
    with pytest.raises(UserError) as caught:
        torch_weights.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path} does not read as PyTorch weights: ")
    assert message.endswith(".")
    return message


def test_arrays_come_back_by_name_in_the_order_of_the_file(write: Writer) -> None:
    arrays = {"b": ramp(6).reshape(2, 3), "a": ramp(4), "c": ramp(1).reshape(())}
    read = torch_weights.read(write(pack(*(view(n, a) for n, a in arrays.items()))))
    assert list(read) == ["b", "a", "c"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array, strict=True)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_the_kind_of_number_is_kept(write: Writer, dtype: type) -> None:
    read = torch_weights.read(write(pack(view("x", ramp(5, dtype)))))
    np.testing.assert_array_equal(read["x"], ramp(5, dtype), strict=True)


def test_a_transposed_tensor_is_read_with_its_strides(write: Writer) -> None:
    transposed = ramp(24).reshape(2, 3, 4).transpose(2, 0, 1)
    read = torch_weights.read(write(pack(view("x", transposed))))["x"]
    np.testing.assert_array_equal(read, transposed, strict=True)
    assert read.flags.c_contiguous


def test_two_tensors_may_share_a_storage(write: Writer) -> None:
    numbers = ramp(10)
    read = torch_weights.read(write(pack(view("front", numbers[:4]), view("back", numbers[4:]))))
    assert read["front"].tolist() == [1, 2, 3, 4]
    assert read["back"].tolist() == [5, 6, 7, 8, 9, 10]


def test_an_empty_tensor_keeps_its_shape(write: Writer) -> None:
    read = torch_weights.read(write(pack(("x", ramp(0), 0, (0, 7), (7, 1)))))
    assert read["x"].shape == (0, 7)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.pth")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "directory" in refusal(tmp_path)


def test_a_file_that_lacks_its_last_byte_is_refused(write: Writer) -> None:
    assert "it ends too soon" in refusal(write(pack(view("x", ramp(3)))[:-1]))


def test_a_file_is_refused_wherever_it_breaks_off(write: Writer) -> None:
    data = pack(view("x", ramp(3)))
    for end in range(len(data)):
        assert "reinstall the package" in refusal(write(data[:end]))


def test_the_zip_format_is_refused_by_name(write: Writer) -> None:
    message = refusal(write(b"PK\x03\x04" + bytes(100)))
    assert "zip format" in message
    assert "_use_new_zipfile_serialization=False" in message


def test_another_magic_number_is_refused(write: Writer) -> None:
    assert "magic number" in refusal(write(pack(view("x", ramp(3)), magic=MAGIC + 1)))


def test_big_endian_numbers_are_refused(write: Writer) -> None:
    message = refusal(write(pack(view("x", ramp(3)), little_endian=False)))
    assert "not little-endian" in message


def test_a_forbidden_global_is_refused_and_not_run(write: Writer, tmp_path: Path) -> None:
    command = opcodes(f"touch {tmp_path / 'run'}")
    message = refusal(write(pack(state=b"cos\nsystem\n(" + command + b"tR")))
    assert "'os.system'" in message
    assert "Do not trust this file" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["collections.deque", "torch._utils._rebuild", "torch.load"])
def test_a_global_close_to_those_that_occur_is_refused(write: Writer, name: str) -> None:
    module, attribute = name.rsplit(".", 1)
    assert repr(name) in refusal(write(pack(state=f"c{module}\n{attribute}\n".encode())))


def test_an_opcode_that_composes_the_name_of_a_global_is_refused(write: Writer) -> None:
    hidden = opcodes("os") + opcodes("system") + b"\x93)R"
    assert "opcode STACK_GLOBAL" in refusal(write(pack(state=hidden)))


@pytest.mark.parametrize("state", [[1, 2], {"epoch": 3}])
def test_anything_but_a_dict_of_tensors_is_refused(write: Writer, state: object) -> None:
    assert "no state dict" in refusal(write(pack(state=opcodes(state))))


def test_pickles_of_too_many_opcodes_are_refused(write: Writer) -> None:
    assert "too large for weights" in refusal(write(pack(state=b"N" + b"\x85" * 60_000)))


def test_a_memo_index_that_would_take_gigabytes_is_refused(write: Writer) -> None:
    assert "too large for weights" in refusal(write(pack(state=b"}r\xff\xff\xff\x3f")))


@pytest.mark.parametrize(
    ("offset", "size", "strides"),
    [
        (1, (6,), (1,)),
        (0, (7,), (1,)),
        (0, (2, 3), (4, 1)),
        (6, (), ()),
        (0, (10**6, 10**6), (0, 0)),
        (0, (3, 3), (1, 1)),
    ],
    ids=["offset", "size", "strides", "scalar", "huge with strides of zero", "overlapping"],
)
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(
    write: Writer, offset: int, size: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    message = refusal(write(pack(("kernel", ramp(6), offset, size, strides))))
    assert "reaches beyond its storage" in message or "larger than the file" in message


@pytest.mark.parametrize(
    ("offset", "size", "strides"),
    [(-1, (3,), (1,)), (0, (-3,), (1,)), (2, (3,), (-1,)), (0, (3,), (1, 1))],
    ids=["offset", "size", "strides", "rank"],
)
def test_numbers_that_describe_no_tensor_are_refused(
    write: Writer, offset: int, size: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    message = refusal(write(pack(("x", ramp(6), offset, size, strides))))
    assert "describes a tensor wrongly" in message


def test_a_storage_of_another_length_than_announced_is_refused(write: Writer) -> None:
    data = pack(view("x", ramp(3)))
    shorter = data[:-20] + struct.pack("<q", 2) + data[-12:]
    assert "another length than announced" in refusal(write(shorter))


SOUND = pack(view("a", ramp(6).reshape(2, 3).T), view("b", ramp(2, np.int64)))
PLACES = st.integers(0, len(SOUND) - 1)


@settings(max_examples=100, deadline=None, database=None)
@given(
    flips=st.dictionaries(PLACES, st.integers(1, 255), max_size=3), cut=st.tuples(PLACES, PLACES)
)
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, flips: dict[int, int], cut: tuple[int, int]
) -> None:
    damaged = bytearray(SOUND)
    for place, flip in flips.items():
        damaged[place] ^= flip
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    for data in (damaged, damaged[: min(cut)] + damaged[max(cut) :]):
        path.write_bytes(data)
        try:
            arrays = torch_weights.read(path)
        except UserError as error:
            assert str(path) in str(error)
        else:
            assert all(array.dtype in (np.float32, np.int64) for array in arrays.values())


def test_the_real_weights_have_the_stem_of_the_network() -> None:
    read = torch_weights.read(efficientnet_lite.weights_path("efficientnet-lite0"))
    assert read["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert read["_conv_stem.weight"].dtype == np.float32


def test_a_description_that_is_changed_afterwards_is_refused(write: Writer) -> None:
    tensor = ("x", ramp(6), 0, (6,), (1,))
    state = ORDERED_DICT + b"(" + rebuilt(tensor, "0") + opcodes({"offset": -1}) + b"bu"
    refusal(write(pack(tensor, state=state)))


@pytest.mark.parametrize(
    "state",
    [
        b"]q\x00h\x00\x85a",  # a list in a tuple in the list
        b"]q\x00h\x00\x85q\x01a0}h\x01K\x01s",  # that tuple as a name
        b"}q\x00X\x01\0\0\0ah\x00s",  # a dict in itself
        b"}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n(]q\x00h\x00ah\x00h\x00h\x00tRs",
        b"(" * 1000 + b"t" * 1000,
        b")" + b"\x85" * 49_000 + b"q\x00}h\x00K\x01s",  # deep, and as a name
        b"}q\x00)" + b"\x85" * 45_000 + b"K\x01s",  # the same without being remembered
    ],
)
def test_what_holds_itself_or_is_deep_is_refused(write: Writer, state: bytes) -> None:
    refusal(write(pack(state=state)))
