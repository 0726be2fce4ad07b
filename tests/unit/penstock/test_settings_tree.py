"""The settings file: defaults, overrides, and errors that name field, value and cure without showing secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from penstock.errors import InvalidSettings
from penstock.settings import load

if TYPE_CHECKING:
    from pathlib import Path

_LEAST = '[pipeline]\nname = "digits"\nmodel = "models/digits"\n'


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "penstock.toml"
    path.write_text(text)
    return path


def test_a_name_and_a_model_are_enough(tmp_path: Path) -> None:
    """Everything else has a default; paths are relative to the file."""
    tree = load(_file(tmp_path, _LEAST), {})
    assert tree.pipeline.model == tmp_path / "models/digits"
    assert tree.state_dir == tmp_path / ".penstock/state"
    assert tree.worker.delivery == "exactly-once"
    assert [kind.name for kind in tree.worker_types] == ["cpu"]


def test_the_whole_tree_is_read(tmp_path: Path) -> None:
    """Sections, nested tables and lists of tables reach their dataclasses."""
    text = (
        _LEAST + "[pipeline.objective]\nwithin_s = 0.5\nshare = 0.95\n[kafka]\nbootstrap_servers = 'b:9092'\n"
        "[kafka.client]\nsecurity_protocol = 'SSL'\n[[worker_types]]\nname = 'gpu'\ndevice = 'gpu:0'\nmax_workers = 2\n"
        "[worker_types.curve]\na_s = 0.008\nb_s = 0.00025\nmax_batch = 128\n"
    )
    tree = load(_file(tmp_path, text), {})
    assert tree.pipeline.objective.within_s == 0.5
    assert tree.kafka.client == {"security_protocol": "SSL"}
    assert tree.worker_type("gpu").curve.max_batch == 128


def test_a_variable_wins_over_the_file(tmp_path: Path) -> None:
    """Two underscores go one level down; our other variables are no settings."""
    environ = {"PENSTOCK_KAFKA__BOOTSTRAP_SERVERS": "other:9093", "PENSTOCK_ASKED_AT_S": "1.5", "HOME": "/"}
    tree = load(_file(tmp_path, _LEAST + "[kafka]\nbootstrap_servers = 'b:9092'\n"), environ)
    assert tree.kafka.servers == ["other:9093"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (_LEAST + "[worker]\nmax_bach = 3\n", "worker.max_bach: unknown key"),
        (_LEAST + "[autoscaler]\npolicy = 'kedda'\n", "autoscaler.policy='kedda': use one of penstock, static, keda"),
        (_LEAST + "[worker]\nemulated_boot_s = -1\n", "worker.emulated_boot_s=-1.0: must be from 0 to below 3600"),
        (
            _LEAST + "[worker]\nemulated_boot_s = { gpu = -1 }\n",
            "worker.emulated_boot_s.gpu=-1.0: must be from 0 to below",
        ),
        (_LEAST + "[worker]\nmax_batch = 0\n", "worker.max_batch=0: must be at least 1"),
        (_LEAST + "[pipeline.objective]\nshare = 99\n", "share=99"),
        (_LEAST + "[[worker_types]]\nname = 'cpu'\nboot = 3\n", "worker_types.0.boot: unknown key"),
        (_LEAST + "[[worker_types]]\nname='a'\n[[worker_types]]\nname='a'\n", "each type needs a name of its own"),
        ('[pipeline]\nname = "Digits!"\nmodel = "m"\n', "'Digits!'"),
        ("[pipeline]\nname = 'a'\n", "pipeline.model: Field required"),
        (_LEAST + "[worker]\nmax_record_bytes = 99999999\n", "topics.max_record_bytes"),
        ("not toml", "not TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, told: str) -> None:
    """The field, the value and what is allowed."""
    with pytest.raises(InvalidSettings) as caught:
        load(_file(tmp_path, text), {})
    assert told in str(caught.value)


def test_a_missing_file_and_a_misspelt_variable_are_errors(tmp_path: Path) -> None:
    """Neither is passed over in silence."""
    with pytest.raises(InvalidSettings, match="No such file"):
        load(tmp_path / "none.toml", {})
    with pytest.raises(InvalidSettings, match="kafak: unknown key"):
        load(_file(tmp_path, _LEAST), {"PENSTOCK_KAFAK__BOOTSTRAP_SERVERS": "x:1"})


def test_no_secret_is_shown(tmp_path: Path) -> None:
    """Neither in an error about it nor in the tree's representation."""
    with pytest.raises(InvalidSettings) as caught:
        load(_file(tmp_path, _LEAST + "[redis]\nurl = ['redis://u:hunter2@h:1/0']\n"), {})
    assert "hunter2" not in str(caught.value)
    text = (
        _LEAST + "[redis]\nurl = 'redis://u:hunter2@h:1/0'\n[kafka.client]\nsecurity_protocol = 'SASL_SSL'\n"
        "sasl_mechanism = 'PLAIN'\nsasl_plain_password = 'hunter2'\n"
    )
    tree = load(_file(tmp_path, text), {})
    assert "hunter2" not in repr(tree)
    assert tree.redis.resolved_url() == "redis://u:hunter2@h:1/0"
