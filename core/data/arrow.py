"""numpy to Arrow and back through the raw buffers. Any thread.

Arrow's own converters import pandas as a side effect, which would stall the window and cost 60 MB.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_arrow(values: NDArray[Any], arrow_type: Any = None) -> Any:
    """Return `values` (int32, int64, float64 or bool, no nulls) as an Arrow array of `arrow_type` (same width)."""
    import pyarrow as pa

    if values.dtype == np.bool_:
        buffer = pa.py_buffer(np.packbits(values, bitorder="little"))
        return pa.Array.from_buffers(pa.bool_(), len(values), [None, buffer])
    natural = {"int32": pa.int32(), "int64": pa.int64(), "float64": pa.float64()}[values.dtype.name]
    return pa.Array.from_buffers(arrow_type or natural, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def strings_to_arrow(values: NDArray[np.str_]) -> Any:
    """Return repetitive strings as an Arrow dictionary array."""
    import pyarrow as pa

    names, codes = np.unique(values, return_inverse=True)
    encoded = [str(name).encode() for name in names]
    offsets = np.cumsum([0, *(len(name) for name in encoded)]).astype(np.int32)
    dictionary = pa.StringArray.from_buffers(len(names), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))
    return pa.DictionaryArray.from_arrays(to_arrow(codes.astype(np.int32)), dictionary)


def to_numpy(column: Any, dtype: type[np.generic]) -> NDArray[Any]:
    """Return an Arrow column of a fixed-width type as an array of `dtype` (same width), nulls not allowed.

    Raises:
        ValueError: the column holds nulls.
    """
    if column.null_count:
        raise ValueError(f"{column.null_count} empty values")
    chunks = column.chunks if hasattr(column, "chunks") else [column]
    parts = [_chunk_to_numpy(chunk, np.dtype(dtype)) for chunk in chunks]
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, dtype), *parts])


def strings_to_numpy(column: Any) -> NDArray[np.str_]:
    """Return an Arrow dictionary or string column as numpy strings."""
    import pyarrow as pa

    parts = [np.empty(0, np.str_)]
    for chunk in column.chunks:
        encoded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        names = np.array([encoded.dictionary[i].as_py() for i in range(len(encoded.dictionary))], np.str_)
        parts.append(names[to_numpy(encoded.indices, np.int32)])
    return np.concatenate(parts)


def _chunk_to_numpy(chunk: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    data = chunk.buffers()[1]
    start, stop = chunk.offset, chunk.offset + len(chunk)
    if data is None or start == stop:
        return np.empty(0, dtype)
    if dtype == np.bool_:
        bits = np.unpackbits(np.frombuffer(data, np.uint8), count=stop, bitorder="little")
        return bits[start:].astype(np.bool_)
    return np.frombuffer(data, dtype)[start:stop]
