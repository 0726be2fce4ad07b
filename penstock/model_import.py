"""A Keras file or a SavedModel made a version of a model: exported, tried, and put in its place in one step."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import tempfile
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from inference_workers.device import Device
from inference_workers.errors import BrokenModel
from inference_workers.model import ServedModel
from inference_workers.model_versions import MARKER, Version, digest, look, parse_number
from inference_workers.warming import warm
from penstock.errors import PenstockError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: Batch sizes that an imported version must compute before it is put in its place, in rows.
_TRIED_ROWS = (1, 2)
#: How often the next number is taken anew because somebody else has just taken it.
_MOST_TRIES = 20

_MISSING = re.compile(r"Could not locate (class|function) '([^']{1,80})'")


class ModelUnusable(PenstockError):
    """What is to be imported is no model that can be served, or its place is taken."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True)
class Imported:
    """A version that is there now."""

    version: Version
    digest: str
    #: Name -> type and shape, in the words of the wire.
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


def import_model(source: Path, model_dir: Path, *, number: int | None = None) -> Imported:
    """Make a version of a `.keras` file or a SavedModel directory.

    It is written beside its place under a name that no worker looks at, loaded and run once, and renamed: workers never
    see half of it. Where anything fails nothing remains.

    Args:
        source: a Keras 3 file (read in safe mode: code in it, such as a `Lambda` layer's, is refused), or a directory
            with `saved_model.pb`. A SavedModel is a program itself: import only those you would run as code.
        model_dir: `models/<name>`; made if it is not there.
        number: of the version; the next free one by default.

    Raises:
        ModelUnusable: one sentence each: what is wrong, and what to do.

    """
    write = _reader(source)
    if number is not None and (model_dir / str(number)).exists():
        raise ModelUnusable(f"{model_dir / str(number)} is there already", "leave --version out, or take another one")
    with _room_in(model_dir) as room:
        folder = room / "1"
        with _quiet():
            write(folder)
            inputs, outputs = _tried(folder, source)
        (folder / MARKER).touch()
        place = _put(folder, model_dir, number)
    version = look(int(place.name), place)
    if version is None:
        raise ModelUnusable(f"{place} has gone again", "see who else writes there, and import it again")
    return Imported(version, digest(version), inputs, outputs)


def _reader(source: Path) -> Callable[[Path], None]:
    """What writes the source as a SavedModel; found without TensorFlow, so that a slip costs no time."""
    if source.is_dir():
        if not (source / "saved_model.pb").is_file():
            versions = [path.name for path in source.iterdir() if parse_number(path.name) is not None]
            cure = f"name one of its versions, e.g. {source / versions[0]}" if versions else "name a SavedModel"
            raise ModelUnusable(f"{source} has no saved_model.pb", cure)
        return lambda folder: _copy(source, folder)
    if not source.exists():
        raise ModelUnusable(f"{source} is not there", "name a .keras file or a SavedModel directory")
    if source.suffix != ".keras":
        raise ModelUnusable(
            f"{source} is neither a .keras file nor a SavedModel directory",
            "save the model with `model.save('name.keras')` or `model.export('folder')` of Keras 3",
        )
    try:
        whole = zipfile.is_zipfile(source) and "config.json" in zipfile.ZipFile(source).namelist()
    except (OSError, zipfile.BadZipFile):
        whole = False
    if not whole:
        raise ModelUnusable(f"{source} cannot be read: it is cut off, or no Keras 3 file", "save or copy it again")
    return lambda folder: _export(source, folder)


def _copy(source: Path, folder: Path) -> None:
    try:
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(MARKER))
    except (OSError, shutil.Error) as error:
        raise ModelUnusable(f"{source} cannot be copied: {_first_line(error)}", "see to rights and room") from error


def _export(source: Path, folder: Path) -> None:
    # A Keras for another backend would need that one's export; ours serves TensorFlow.
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras  # noqa: PLC0415 - seconds of import

    try:
        model: Any = keras.saving.load_model(source, compile=False, safe_mode=True)
    except Exception as error:
        raise _refused(source, str(error)) from error
    try:
        model.export(folder, format="tf_saved_model", verbose=False)
    except Exception as error:
        cure = "export it in the program that made it (`model.export`), and import that directory"
        raise ModelUnusable(f"{source} cannot be exported: {_first_line(error)}", cure) from error


def _refused(source: Path, told: str) -> ModelUnusable:
    """Keras's pages of explanation as one sentence."""
    if "safe_mode" in told or "lambda" in told.lower():
        return ModelUnusable(
            f"{source} holds Python code (a Lambda layer), which safe mode refuses",
            "build it of Keras layers, or export it where you trust it (`model.export`) and import that directory",
        )
    if missing := _MISSING.search(told):
        return ModelUnusable(
            f"{source} needs the custom {missing[1]} {missing[2]!r}, which is not in the file",
            "export it in the program that defines it (`model.export`), and import that directory",
        )
    lines = told.strip().splitlines() or ["no reason given"]
    return ModelUnusable(f"{source} cannot be read: {lines[0][:200]}", "save it again with Keras 3")


def _tried(folder: Path, source: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Load and run the version as a worker would; returns what it takes and gives."""
    try:
        model = ServedModel(folder.parent, folder.name)
        warm(model, Device(), _TRIED_ROWS)
    except BrokenModel as error:
        told = str(error).replace(str(folder), str(source))
        raise ModelUnusable(f"{source} cannot be served: {told}", "nothing was imported") from error
    return (
        {name: str(spec) for name, spec in model.inputs.items()},
        {name: str(spec) for name, spec in model.outputs.items()},
    )


def _put(folder: Path, model_dir: Path, number: int | None) -> Path:
    """Rename the version into its place. A folder that is there and not empty refuses: nothing is ever replaced."""
    for _ in range(_MOST_TRIES):
        taken = [found for path in model_dir.iterdir() if (found := parse_number(path.name)) is not None]
        place = model_dir / str(max(taken, default=0) + 1 if number is None else number)
        try:
            if place.exists():
                raise FileExistsError
            folder.rename(place)
        except OSError as error:
            if number is not None or not place.exists():
                raise ModelUnusable(
                    f"{place} cannot be written: {_first_line(error)}", "take another --version"
                ) from error
            continue
        return place
    raise ModelUnusable(f"each next version in {model_dir} was taken by somebody else", "import it again")


@contextlib.contextmanager
def _room_in(model_dir: Path) -> Iterator[Path]:
    """A folder inside `model_dir` that goes away again, with what had to be made for it if nothing came of it."""
    made = [path for path in (*reversed(model_dir.parents), model_dir) if not path.exists()]
    room: Path | None = None
    try:
        try:
            model_dir.mkdir(parents=True, exist_ok=True)
            room = Path(tempfile.mkdtemp(prefix=".importing-", dir=model_dir))
            # Made for its owner alone; what is moved out of it is for workers under other users.
            room.chmod(0o755)
        except OSError as error:
            raise ModelUnusable(f"{model_dir} cannot be written: {error.strerror}", "see to its rights") from error
        yield room
    finally:
        if room is not None:
            shutil.rmtree(room, ignore_errors=True)
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TensorFlow and Keras explain themselves on standard error; here one sentence is wanted."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
