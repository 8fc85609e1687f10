"""Indices as users hold them: tensors and arrays of any integer type, and lists."""

import copy
import warnings

import numpy as np
import pytest
import torch

from vqcore import VectorQuantizer
from vqcore.errors import SettingError


@pytest.fixture(scope="module")
def layer():
    return VectorQuantizer(dim=4, codebook_size=300, quantizer="fsq").eval()


@pytest.fixture(scope="module")
def indices(layer):
    return torch.arange(120).reshape(2, 60)


@pytest.mark.parametrize(
    "dtype", ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", ">u2", ">i8", "<u4"]
)
def test_arrays_of_every_integer_type_decode(layer, indices, dtype):
    array = indices.numpy().astype(dtype)
    array.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for given, expected in ((array, indices), (array[:, ::-2], indices.flip(1)[:, ::2])):
            assert torch.equal(layer.decode(given), layer.decode(expected))
            assert torch.equal(layer.lookup(given), layer.lookup(expected))


def test_an_array_element_and_a_number_decode(layer):
    expected = layer.decode(torch.tensor(7))
    assert torch.equal(layer.decode(np.uint16(7)), expected)
    assert torch.equal(layer.decode(7), expected)
    twin = copy.deepcopy(layer)
    twin.channel_first = True
    assert torch.equal(twin.decode(7), expected)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (torch.zeros(3), "torch.float32"),
        (torch.zeros(3, dtype=torch.bool), "torch.bool"),
        (torch.zeros(3, dtype=torch.complex64), "torch.complex64"),
        (np.zeros(3), "float64"),
        (np.zeros(3, bool), "bool"),
        (np.zeros(3, object), "object"),
        ([0.5, 1], "torch.float32"),
        ([True, False], "torch.bool"),
        ([[1], [1, 2]], "[[1], [1, 2]]"),
        (["1"], "['1']"),
        ([2**64], "[18446744073709551616]"),
        ([None], "[None]"),
        (None, "None"),
    ],
)
def test_what_is_no_whole_number_is_refused_by_name(layer, given, named):
    for method in (layer.decode, layer.lookup):
        with pytest.raises(SettingError, match="expected whole numbers, such as int64") as caught:
            method(given)
        assert named in str(caught.value)


@pytest.mark.parametrize("value", [2**64 - 1, 2**63, 2**63 - 1])
def test_the_upper_half_of_uint64_is_out_of_range_and_no_mask(layer, value):
    for given in (torch.tensor([value], dtype=torch.uint64), np.array([value], np.uint64)):
        with pytest.raises(SettingError, match="expected codes 0 to"):
            layer.decode(given)
