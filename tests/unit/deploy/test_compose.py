"""The deployment files, checked without a Docker engine: shape, hardening and every command line in them."""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from inference_workers.settings import WorkerSettings
from streams.errors import ReasonCode
from streams.records import Limits, decode_request

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[3]
ROLES = ("autoscaler", "worker", "worker-gpu")
DOCKERFILES = {role: ROOT / "docker" / f"{role}.Dockerfile" for role in ROLES}

_STRING = {"type": "string"}
_STRINGS = {"type": "array", "items": _STRING, "minItems": 1}
_DURATION = {"type": "string", "pattern": r"^(\d+(ms|s|m|h))+$"}


def _only(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


#: The part of the Compose specification that our file uses, written from its prose; what it leaves out is refused.
SCHEMA = _only(
    {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "services": {
            "type": "object",
            "additionalProperties": _only(
                {
                    "image": _STRING,
                    "build": _only({"context": _STRING, "dockerfile": _STRING}, "context", "dockerfile"),
                    "profiles": _STRINGS,
                    "user": _STRING,
                    "command": _STRINGS,
                    "init": {"type": "boolean"},
                    "read_only": {"type": "boolean"},
                    "cap_drop": _STRINGS,
                    "security_opt": _STRINGS,
                    "tmpfs": _STRINGS,
                    "environment": {"type": "object", "additionalProperties": {"type": ["string", "number"]}},
                    "ports": _STRINGS,
                    "volumes": {"type": "array", "items": {"type": "string", "pattern": "^[^:]+.*:/[^:]+(:ro)?$"}},
                    "secrets": _STRINGS,
                    "healthcheck": {
                        "oneOf": [
                            _only({"disable": {"const": True}}, "disable"),
                            _only(
                                {
                                    "test": _STRINGS,
                                    "interval": _DURATION,
                                    "timeout": _DURATION,
                                    "retries": {"type": "integer", "minimum": 1},
                                    "start_period": _DURATION,
                                    "start_interval": _DURATION,
                                },
                                "test",
                            ),
                        ]
                    },
                    "depends_on": {
                        "type": "object",
                        "additionalProperties": _only(
                            {"condition": {"enum": ["service_healthy", "service_completed_successfully"]}}, "condition"
                        ),
                    },
                    "deploy": _only(
                        {
                            "resources": _only(
                                {
                                    "reservations": _only(
                                        {
                                            "devices": {
                                                "type": "array",
                                                "items": _only(
                                                    {
                                                        "driver": _STRING,
                                                        "count": {"type": "integer"},
                                                        "capabilities": _STRINGS,
                                                    },
                                                    "capabilities",
                                                ),
                                            }
                                        }
                                    )
                                }
                            )
                        }
                    ),
                    "stop_grace_period": _DURATION,
                    "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
                    "logging": _only(
                        {"driver": _STRING, "options": {"type": "object", "additionalProperties": _STRING}}
                    ),
                },
                "image",
                "restart",
            ),
        },
        "secrets": {"type": "object", "additionalProperties": _only({"environment": _STRING}, "environment")},
        "volumes": {"type": "object", "additionalProperties": {"type": "null"}},
    },
    "services",
)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file, its extensions (`x-...`) taken out."""
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return {key: value for key, value in document.items() if not key.startswith("x-")}


def instructions(path: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile in order, continued lines joined."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(line.split(None, 1)[0].upper(), line.split(None, 1)[1].strip()) for line in joined.splitlines() if line]


def stages(path: Path) -> list[list[tuple[str, str]]]:
    """The instructions of each stage; what stands before the first FROM is left out."""
    found: list[list[tuple[str, str]]] = []
    for name, rest in instructions(path):
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, rest))
    return found


# --- the compose file


def test_compose_has_the_shape_that_the_specification_asks_for(compose: dict[str, Any]) -> None:
    """A misspelt key or a value of the wrong type would be refused by Docker, or worse, passed over."""
    jsonschema.Draft202012Validator(SCHEMA).validate(compose)


def test_what_compose_refers_to_is_there(compose: dict[str, Any]) -> None:
    """Dockerfiles, mounted files, named volumes, secrets and services that others wait for all exist."""
    services = compose["services"]
    for name, service in services.items():
        if build := service.get("build"):
            assert (ROOT / build["context"] / build["dockerfile"]).is_file(), name
        for volume in service.get("volumes", ()):
            source = volume.split(":/")[0]
            if source.startswith("./"):
                assert (ROOT / source).is_file(), volume
            elif not source.startswith("$"):
                assert source in compose["volumes"], volume
        assert set(service.get("secrets", ())) <= set(compose["secrets"]), name
        for other, wait in service.get("depends_on", {}).items():
            if wait["condition"] == "service_healthy":
                assert "test" in services[other]["healthcheck"], f"{name} waits for the health of {other}"
            else:
                assert services[other]["restart"] == "no", f"{name} waits for the end of {other}"


def test_every_image_is_pinned_or_built_here(compose: dict[str, Any]) -> None:
    """`latest` would be another Kafka tomorrow."""
    for name, service in compose["services"].items():
        if "build" not in service:
            assert re.search(r":\d", service["image"]), name


def test_containers_have_no_more_rights_than_they_need(compose: dict[str, Any]) -> None:
    """No capabilities, no way to gain any, no root file system to write to where we know what is written."""
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only") or name == "kafka", name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name} is open to the network"


def test_no_password_stands_in_a_file(compose: dict[str, Any]) -> None:
    """The password comes from the environment, and starting without one is refused."""
    url = compose["services"]["autoscaler"]["environment"]["PENSTOCK_REDIS__URL"]
    assert url.startswith("redis://:${REDIS_PASSWORD:?")
    assert compose["secrets"]["redis_password"] == {"environment": "REDIS_PASSWORD"}
    assert re.search(r"^REDIS_PASSWORD=$", (ROOT / "docker/example.env").read_text(encoding="utf-8"), re.MULTILINE)


def test_a_worker_has_time_to_drain(compose: dict[str, Any]) -> None:
    """Docker's SIGKILL must come after the worker's own deadline."""
    for name in ("worker-cpu", "worker-gpu"):
        assert int(compose["services"][name]["stop_grace_period"].removesuffix("s")) > WorkerSettings().drain_s


def test_the_gpu_worker_is_started_on_request_only(compose: dict[str, Any]) -> None:
    """A machine without a GPU can run the rest."""
    with_profile = {name for name, service in compose["services"].items() if "profiles" in service}
    assert with_profile == {"worker-gpu"}
    assert compose["services"]["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]


def test_one_node_is_asked_for_one_copy(compose: dict[str, Any]) -> None:
    """Kafka's defaults of three copies would make the first transaction wait for ever."""
    broker = compose["services"]["kafka"]["environment"]
    assert {value for key, value in broker.items() if key.endswith(("REPLICATION_FACTOR", "MIN_ISR"))} == {1}
    assert len(broker["CLUSTER_ID"]) == 22
    settings = tomllib.loads((ROOT / "docker/penstock.toml").read_text(encoding="utf-8"))
    assert settings["topics"]["replication_factor"] == 1
    assert f"PLAINTEXT://{settings['kafka']['bootstrap_servers']}" in broker["KAFKA_ADVERTISED_LISTENERS"]


# --- the images


@pytest.mark.parametrize("role", ROLES)
def test_an_image_is_multi_stage_and_not_root(role: str) -> None:
    """The last stage has no build tools, runs as a number that is not 0, and does so from there on."""
    build, final = stages(DOCKERFILES[role])
    assert not [rest for name, rest in final if name == "RUN" and "pip" in rest]
    assert [rest for name, rest in final if name == "COPY"] == ["--from=build /opt/penstock /opt/penstock"]
    users = [rest for name, rest in final if name == "USER"]
    assert users == ["10001:10001"]
    after = final[[name for name, _ in final].index("USER") :]
    assert not {"RUN", "COPY", "ADD"} & {name for name, _ in after}
    assert build[0][1].endswith("AS build")


@pytest.mark.parametrize("role", ROLES)
def test_an_image_has_a_health_check(role: str) -> None:
    """It asks the role's own heartbeat, with a limit, and leaves time for the start."""
    ((_, check),) = [entry for entry in stages(DOCKERFILES[role])[-1] if entry[0] == "HEALTHCHECK"]
    assert f"health {role.removesuffix('-gpu')} " in re.sub(r'[",]+', "", check)
    assert re.search(r"--timeout=\d+s", check)
    assert re.search(r"--start-period=\d+s", check)


@pytest.mark.parametrize("role", ROLES)
def test_an_image_installs_what_is_pinned_by_hash(role: str) -> None:
    """Nothing enters the image that is not in a lock file, our own wheel aside."""
    build = stages(DOCKERFILES[role])[0]
    installs = re.findall(r"pip (?:install|wheel) ([^&]*)", " && ".join(rest for name, rest in build if name == "RUN"))
    assert len(installs) == 4
    for arguments in installs:
        assert "--require-hashes" in arguments or "--no-deps" in arguments, arguments
    assert any(f"-r {role}.txt" in arguments for arguments in installs)


@pytest.mark.parametrize("role", ROLES)
def test_an_image_copies_what_its_context_has(role: str) -> None:
    """Each source of a COPY exists and is let through by `.dockerignore`."""
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = [line[1:] for line in ignore if line.startswith("!")]
    for name, rest in stages(DOCKERFILES[role])[0]:
        if name == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(Path(source).match(pattern) for pattern in allowed), source


def test_the_build_tools_are_those_of_the_lock_file() -> None:
    """`docker/build-requirements.txt` is a part of `requirements/dev.txt`, hashes included."""
    lock = (ROOT / "requirements/dev.txt").read_text(encoding="utf-8")
    lines = (ROOT / "docker/build-requirements.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    blocks = re.split(r"(?m)^(?=\S)", "".join(line for line in lines if not line.startswith("#")))[1:]
    assert {block.split("==")[0] for block in blocks} >= {"hatchling", "pathspec", "pluggy", "tomlkit"}
    for block in blocks:
        assert block in lock, block.split()[0]


# --- every command line, in the files and in the documentation


def in_compose() -> list[str]:
    """The `penstock` command lines of the compose file."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    found = [service["command"] for service in services.values() if service.get("command", [""])[0] == "penstock"]
    return [shlex.join(argv) for argv in found]


def in_dockerfile(path: Path) -> list[str]:
    """The `penstock` command lines of a Dockerfile: its CMD and its HEALTHCHECK, in either form."""
    found = []
    for name, rest in stages(path)[-1]:
        if name in {"CMD", "HEALTHCHECK"}:
            command = rest[rest.index("CMD") + 3 :] if name == "HEALTHCHECK" else rest
            argv = yaml.safe_load(command) if command.lstrip().startswith("[") else ["sh", "-c", command]
            line = argv[2] if argv[:2] == ["sh", "-c"] else shlex.join(argv)
            found.append(line.strip().removeprefix("exec ").replace("${SLOT:-", "").replace("$HOSTNAME}", "0"))
    return found


def in_markdown(path: Path) -> list[str]:
    """The `penstock` command lines in the fenced shell blocks of a page."""
    found = []
    text = path.read_text(encoding="utf-8")
    for block in re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            bare = line.removeprefix("$ ").strip()
            bare = re.sub(r"^(?:\.venv/bin/|python -m |\.venv/bin/python -m )", "", bare)
            if bare.startswith("penstock "):
                found.append(re.split(r" (?:[|&>]|#)", bare)[0])
    return found


PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
LINES = sorted(
    {
        (str(path.relative_to(ROOT)), line)
        for path, lines in (
            (ROOT / "docker-compose.yml", in_compose()),
            *((path, in_dockerfile(path)) for path in DOCKERFILES.values()),
            *((path, in_markdown(path)) for path in PAGES),
        )
        for line in lines
    }
)


def parse(root: click.Command, argv: list[str]) -> None:
    """Parse a command line as click would, without running it or asking whether its files exist.

    Raises:
        click.UsageError: a command or an option does not exist, or a required one is missing.
    """
    command, context = root, click.Context(root, info_name="penstock")
    while isinstance(command, click.Group):
        options, argv, _ = command.make_parser(context).parse_args(list(argv))
        if not argv:
            if "help" in options:
                return
            raise click.UsageError(f"{context.command_path}: no command given")
        name, *argv = argv
        found = command.get_command(context, name)
        if found is None:
            raise click.UsageError(f"{context.command_path} {name}: no such command")
        command, context = found, click.Context(found, info_name=name, parent=context)
    options, rest, _ = command.make_parser(context).parse_args(list(argv))
    if rest:
        raise click.UsageError(f"{context.command_path}: does not take {rest}")
    for parameter in command.get_params(context):
        value = options.get(parameter.name or "")
        if parameter.required and not isinstance(value, str | tuple | list):
            raise click.UsageError(f"{context.command_path}: {parameter.name} is required")
        if isinstance(value, str) and isinstance(parameter.type, click.Choice):
            parameter.type.convert(value, parameter, context)


@pytest.mark.parametrize(("where", "line"), LINES)
def test_a_command_line_is_one_that_penstock_takes(where: str, line: str) -> None:
    """A renamed command or option fails here before it fails in somebody's cluster."""
    from penstock.cli.main import cli  # noqa: PLC0415 - the other tests need no command line

    parse(cli, shlex.split(line)[1:])


def test_the_files_name_the_commands_of_each_role() -> None:
    """The search for command lines finds them; an empty list would make the test above pass."""
    deployed = {tuple(shlex.split(line)[1:3]) for where, line in LINES if not where.endswith(".md")}
    assert {command[0] for command in deployed} == {"worker", "autoscaler", "topics", "health"}
    assert {("health", "worker"), ("health", "autoscaler")} <= deployed


def test_a_wrong_command_line_is_refused() -> None:
    """The parser of this test sees what it is there for."""

    @click.group()
    def root() -> None: ...

    @root.command()
    @click.option("--config", required=True)
    @click.option("--actuator", type=click.Choice(["advisory"]))
    def autoscaler(config: str, actuator: str) -> None: ...

    parse(root, ["autoscaler", "--config", "f", "--actuator", "advisory"])
    for wrong in (
        ["autoscale"],
        ["autoscaler"],
        ["autoscaler", "--config", "f", "extra"],
        ["autoscaler", "--config", "f", "--actuators", "advisory"],
        ["autoscaler", "--config", "f", "--actuator", "docker"],
    ):
        with pytest.raises(click.UsageError):
            parse(root, wrong)


def test_the_example_settings_are_settings() -> None:
    """`docker/penstock.toml` has no key that our settings do not know."""
    from penstock.settings import load  # noqa: PLC0415 - nor the whole settings

    settings = load(ROOT / "docker/penstock.toml", {})
    assert settings.pipeline.name == "digits"
    assert [kind.name for kind in settings.worker_types] == ["cpu", "gpu"]


# --- what the documentation says against what there is


def load_script(name: str) -> ModuleType:
    """A file of `scripts/` as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def section(page: str, heading: str) -> str:
    """The text of a page below a heading, up to the next one of any level."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"{page} has no heading {heading!r}"
    return found[1]


def test_every_setting_is_documented_with_its_default() -> None:
    """A new setting, a changed default or a changed comment fails until `scripts/write_settings_page.py` has run."""
    script = load_script("write_settings_page")
    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    assert page == script.written(page)
    assert all(meaning for kind in script.SECTIONS.values() for _, meaning in script.rows(kind).values())


def test_every_option_is_documented() -> None:
    """A new command or option without its line in the documentation fails, and so does a line without its option."""
    from penstock.cli.main import cli  # noqa: PLC0415 - the other tests need no command line

    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        parts = list(command.commands.values()) if isinstance(command, click.Group) else [command]
        options = [p for part in parts for p in part.params if isinstance(p, click.Option)]
        long = {o for option in options for o in option.opts if o.startswith("--")}
        told = set(re.findall(r"`(--[a-z-]+)`", section("docs/reference/command-line.md", f"penstock {name}")))
        assert told == long, name


def test_every_reason_code_is_documented() -> None:
    """Whoever reads a dead letter finds its code."""
    told = set(
        re.findall(r"^\| `([a-z0-9-]+)` \|", section("docs/reference/wire-format.md", "Reason codes"), re.MULTILINE)
    )
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "inference_workers").glob("*.py"))
    later = set(re.findall(r'(?:RejectedInput|Failure)\(\s*"([a-z-]+)"', sources))
    assert later
    assert told == {code.value for code in ReasonCode} | later


def test_the_request_of_the_tutorial_is_a_request() -> None:
    """What a reader types in by hand is what a worker decodes."""
    page = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    (body,) = re.findall(r"^```json\n(.*)\n```", page, re.MULTILINE)
    request = decode_request(body.encode(), limits=Limits())
    assert (request.id, request.rows) == ("by-hand-1", 1)
    assert request.inputs["image"].shape == (1, 8, 8, 1)


def test_the_settings_of_the_tutorial_are_settings(tmp_path: Path) -> None:
    """The file that a reader writes first is taken."""
    from penstock.settings import load  # noqa: PLC0415 - nor the whole settings

    page = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    (body,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    path = tmp_path / "penstock.toml"
    path.write_text(body, encoding="utf-8")
    assert load(path, {}).pipeline.model == tmp_path / "first-run/models/digits"


def test_files_and_functions_that_the_design_page_names_exist() -> None:
    """A renamed file or function on the data path fails here."""
    page = (ROOT / "docs/DESIGN.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py):\s+(?:(\w+)\.)?(\w+)`", page)
    assert len(named) > 20
    for file in re.findall(r"`([a-z]\w*/[\w/]+\.py)`", page):
        assert (ROOT / file).is_file(), file
    for file, kind, name in named:
        text = (ROOT / file).read_text(encoding="utf-8")
        for word in filter(None, (kind, name)):
            assert re.search(rf"(?:def|class) {word}\b", text), f"{file}: {word}"


# --- the check of the documentation's links


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    """The script as a module."""
    return load_script("check_docs_links")


def test_a_broken_link_is_told_with_its_place(
    checker: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Missing files and anchors are found; those that are there, other sites and code are passed over."""
    (tmp_path / "b.md").write_text("# A `name`, and more\n\n## Twice\n\n## Twice\n", encoding="utf-8")
    page = tmp_path / "a.md"
    good = "[b](b.md) [h](b.md#a-name-and-more) [t](b.md#twice-1) [x](https://example.org/y) `[c](gone.md)`\n"
    page.write_text(f"{good}\n```\n[d](gone.md)\n```\n", encoding="utf-8")
    assert checker.main(tmp_path) == 0
    page.write_text(f"{good}\n[e](gone.md) [f](b.md#twice-2)\n[r]: also-gone.md\n", encoding="utf-8")
    assert checker.main(tmp_path) == 1
    told = capsys.readouterr().out.splitlines()
    assert [line.split(" ")[0] for line in told] == ["a.md:3:", "a.md:3:", "a.md:4:"]


def test_no_link_of_ours_is_broken(checker: ModuleType) -> None:
    """Every page of the documentation can be reached and left."""
    assert list(checker.problems(ROOT)) == []
