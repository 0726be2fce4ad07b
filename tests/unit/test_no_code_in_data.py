"""What comes over the wire is data: nothing in the product unpickles, evaluates, or loads objects from bytes."""

from __future__ import annotations

import ast
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from streams.errors import MalformedRequest
from streams.records import Limits, decode_request

ROOT = Path(__file__).parents[2]
PACKAGES = ("penstock", "streams", "inference_workers", "autoscaler")
#: Modules whose very purpose is to make objects, or to run code, from bytes.
MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle", "code"}
#: Functions of Python's own that do so.
BUILT_IN = {"eval", "exec", "compile", "__import__"}
#: Methods of libraries that do so, whoever owns them.
METHODS = {"unsafe_load", "full_load", "unsafe_load_all", "enable_unsafe_deserialization"}


def faults(tree: ast.AST) -> list[str]:
    """What a module does that it must not."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module] if (node.module or "").split(".")[0] in MODULES else []
        elif isinstance(node, ast.Call):
            owner, name = called(node)
            pickles = {word.arg: getattr(word.value, "value", True) for word in node.keywords}.get("allow_pickle")
            forbidden = name in METHODS if owner is not None else name in BUILT_IN
            if forbidden or (owner, name) == ("yaml", "load") or pickles:
                found.append(f"{owner}.{name}")
            # False by default, and said all the same: the default was another once.
            if owner in {"np", "numpy"} and name == "load" and pickles is not False:
                found.append(f"{owner}.{name}")
    return found


def called(node: ast.Call) -> tuple[str | None, str | None]:
    """Owner and name of what is called, as `re` and `compile`."""
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        return owner.id if isinstance(owner, ast.Name) else "", node.func.attr
    return None, node.func.id if isinstance(node.func, ast.Name) else None


@pytest.mark.parametrize(
    "line",
    ["import pickle", "from marshal import loads", "eval(x)", "yaml.load(x)", "np.load(x)", "f(x, allow_pickle=True)"],
)
def test_the_look_finds_what_it_looks_for(line: str) -> None:
    """Each of these is a fault, and `re.compile` is none."""
    assert faults(ast.parse(line))
    assert not faults(ast.parse("re.compile(x); yaml.safe_load(x); np.load(x, allow_pickle=False)"))


def test_nothing_in_the_product_turns_bytes_into_code() -> None:
    """All modules of all packages."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 100
    found = {str(path.relative_to(ROOT)): faults(ast.parse(path.read_text())) for path in files}
    assert {path: faulty for path, faulty in found.items() if faulty} == {}


class Bomb:
    """Goes off where it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        raise_ = "raise AssertionError('unpickled')"
        return exec, (raise_,)


def raw(body: str, payload: bytes) -> tuple[bytes, list[tuple[str, bytes | None]]]:
    """A request in the binary encoding, by hand."""
    head = body.encode()
    return head + payload, [
        ("content-type", b"application/octet-stream"),
        ("inference-header-content-length", str(len(head)).encode()),
    ]


@pytest.mark.parametrize("datatype", ["BYTES", "OBJECT", "O", "object", "FP32"])
def test_a_pickle_is_data_or_refused(datatype: str) -> None:
    """Python objects have no datatype; a pickle in `BYTES` arrives as the bytes that it is."""
    bomb = pickle.dumps(Bomb())
    payload = struct.pack("<i", len(bomb)) + bomb
    value, headers = raw(
        f'{{"inputs":[{{"name":"x","shape":[1],"datatype":"{datatype}",'
        f'"parameters":{{"binary_data_size":{len(payload)}}}}}]}}',
        payload,
    )
    if datatype == "BYTES":
        (array,) = decode_request(value, headers, limits=Limits()).inputs.values()
        assert array.tolist() == [bomb]
    else:
        with pytest.raises(MalformedRequest):
            decode_request(value, headers, limits=Limits())


def test_a_numpy_file_is_no_request(tmp_path: Path) -> None:
    """Its object arrays are pickles."""
    path = tmp_path / "x.npy"
    np.save(path, np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(MalformedRequest):
        decode_request(path.read_bytes(), None, limits=Limits())
