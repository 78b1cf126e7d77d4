"""Structs as readable JSON files with a schema number, written whole or not at all; not what is in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from llm_latency.core.measurement import write_atomically
from llm_latency.errors import MeasurementFileError

T = TypeVar("T", bound=msgspec.Struct)


def write_struct(found: msgspec.Struct, path: str | os.PathLike[str], *, schema: int) -> None:
    """Write a struct's fields behind its schema number, atomically; raises OSError."""
    fields = {name: getattr(found, name) for name in found.__struct_fields__}
    whole = msgspec.json.encode({"schema": schema} | fields)
    write_atomically(path, msgspec.json.format(whole, indent=1) + b"\n")


def read_struct(path: str | os.PathLike[str], kind: type[T], *, schema: int, what: str) -> T:
    """Read a struct that `write_struct` has written; `what` says what it is and how one is made.

    Raises MeasurementFileError when the file is missing, broken or of another schema.
    """
    try:
        fields: Any = msgspec.json.decode(Path(path).read_bytes())
        found = fields.pop("schema", None) if isinstance(fields, dict) else None
        if isinstance(found, int) and found != schema:
            raise MeasurementFileError(f"{path} has schema {found} and this version reads {schema}")
        if found is None:
            raise MeasurementFileError(f"{path} is no {what}: it has no integer 'schema'")
        return msgspec.convert(fields, kind)
    except OSError as error:
        raise MeasurementFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise MeasurementFileError(f"{path} is no {what}: {error}") from error
