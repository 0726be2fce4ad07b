"""`profile.json`: read back as it was written, read by the settings, and refused where it is none; noise is told."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from autoscaler.model import Objective, ServiceCurve
from autoscaler.planning.service_fit import best_batch, fit, size_times
from penstock import settings
from penstock.cli.main import run
from penstock.errors import InvalidInput
from penstock.profile import file
from penstock.profile.child import foretold_s, tried_sizes
from penstock.profile.file import Profile, Setting
from penstock.profile.job import Job, Measured, Noise
from penstock.profile.noise import doubts
from penstock.profile.report import page
from penstock.simulate.scenario_file import read_scenario

if TYPE_CHECKING:
    from pathlib import Path

QUIET = Noise(round_spread=0.02, steal=0.0, other_cores=0.1, kept_waiting=0.01)


@pytest.fixture
def profile() -> Profile:
    """Of a device with 4 ms + 0.5 ms a row."""
    job = Job("models/x", "1", "cpu", 1, False, 32, 2**30, 1.0, 1.0, 1.0, 1)  # noqa: FBT003
    sizes = tuple(
        size_times(rows, [[0.004 + 0.0005 * rows] * 5] * 6, held_out=held) for rows, held in tried_sizes(job.most_rows)
    )
    measured = Measured(job, 5.0, 0.5, 0.25, 3, 4, 5, None, sizes, "--max-batch 32", (), QUIET)
    found = fit(sizes)
    best = best_batch(found, [1, 2, 4, 8, 16, 32], Objective())
    machine = {"cores": "2"}
    return Profile("models/x", "1", "2026-01-01", machine, Objective(), (Setting(measured, found, best, ()),), 0)


def test_a_profile_is_read_back_as_it_was_written(tmp_path: Path, profile: Profile) -> None:
    """A profile is read back as it was written, and says what a worker type takes from it."""
    file.write(tmp_path / "profile.json", profile)
    assert file.read(tmp_path / "profile.json") == profile
    told = json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))
    assert told["worker_type"]["curve"]["a_s"] == pytest.approx(0.004)
    assert told["worker_type"]["boot_s"] == 5.75
    assert told["settings"][0]["trusted"] is True
    assert told["settings"][0]["measured"]["sizes"][0]["rows_per_s"] == pytest.approx(1 / 0.0045)


def test_settings_take_curve_and_start_from_a_profile(tmp_path: Path, profile: Profile) -> None:
    """Settings take curve and start from a profile; what the table says itself wins."""
    file.write(tmp_path / "profile.json", profile)
    (tmp_path / "penstock.toml").write_text(
        '[pipeline]\nname = "x"\nmodel = "models/x"\n[[worker_types]]\nname = "cpu"\nprofile = "profile.json"\n'
        '[[worker_types]]\nname = "other"\nprofile = "profile.json"\nboot_s = 60.0\n',
        encoding="utf-8",
    )
    first, second = settings.load(tmp_path / "penstock.toml", {}).worker_types
    assert first.curve == profile.curve
    assert (first.boot_s, second.boot_s) == (5.75, 60.0)
    assert second.curve == first.curve


def test_a_scenario_takes_curve_and_boot_from_a_profile(tmp_path: Path, profile: Profile) -> None:
    """`penstock simulate --scenario` reads what `penstock profile` wrote, beside the scenario; a boot said wins."""
    file.write(tmp_path / "measured" / "profile.json", profile)
    path = tmp_path / "scenario.toml"
    path.write_text(
        '[[worker_type]]\nname = "cpu"\nprofile = "measured/profile.json"\n'
        '[[worker_type]]\nname = "far"\nprofile = "measured/profile.json"\nboot_s = 60\nmax = 3\n',
        encoding="utf-8",
    )
    first, second = read_scenario(path).worker_types
    assert first.curve == second.curve == profile.curve
    assert (first.boot_s, second.boot_s) == (5.75, 60.0)
    assert (first.boot_spread, second.max_workers) == (0.2, 3)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('profile = "none.json"', r"worker_type\.0\.profile: the profile .*none\.json: No such file.*penstock profile"),
        ("profile = 3", r"worker_type\.0\.profile=3; name a file"),
        ('profile = "profile.json"\nb_s = 0.1', r"worker_type\.0\.profile='profile\.json' beside b_s; .* not both"),
        ('profile = "scenario.toml"', r"worker_type\.0\.profile: the profile .*scenario\.toml is not JSON"),
    ],
)
def test_a_profile_that_a_scenario_cannot_use_is_one_line_and_code_2(
    tmp_path: Path, profile: Profile, capsys: pytest.CaptureFixture[str], table: str, said: str
) -> None:
    """File, field, value and cure; nothing is simulated."""
    file.write(tmp_path / "profile.json", profile)
    path = tmp_path / "scenario.toml"
    path.write_text(f"[[worker_type]]\n{table}\n", encoding="utf-8")
    assert run(["simulate", "--pattern", "constant", "--policy", "static", "--scenario", str(path)]) == 2
    told = capsys.readouterr()
    assert not told.out
    assert told.err.strip().count("\n") == 0
    assert re.search(said, told.err)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1, "settings": [{}], "chosen": 0}'])
def test_what_is_no_profile_is_refused(tmp_path: Path, text: str) -> None:
    """What is no profile is refused with its name."""
    (tmp_path / "profile.json").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"profile\.json"):
        file.read(tmp_path / "profile.json")


def test_a_noisy_machine_is_not_trusted() -> None:
    """Each kind of disturbance is named by itself; a quiet machine by none."""
    assert doubts(QUIET, cores=2) == ()
    noisy = [
        Noise(0.3, 0.0, 0.1, 0.0),
        Noise(0.01, 0.2, 0.1, 0.0),
        Noise(0.01, None, 1.5, 0.0),
        Noise(0.01, None, 0.1, 0.5),
    ]
    assert [len(doubts(noise, cores=2)) for noise in noisy] == [1, 1, 1, 1]
    # Three of sixteen cores are no trouble, three of four are.
    assert doubts(Noise(0.01, None, 3.0, None), cores=16) == ()
    assert doubts(Noise(0.01, None, 3.0, None), cores=4)


def test_sizes_between_powers_of_two_are_held_out() -> None:
    """The fit never sees what it is checked with."""
    found = tried_sizes(32)
    assert [rows for rows, held in found if not held] == [1, 2, 4, 8, 16, 32]
    assert [rows for rows, held in found if held] == [3, 6, 12, 24]


def test_padding_costs_what_it_costs_in_the_replay() -> None:
    """Three requests due at once take S(4) padded and S(3) not; the next one waits for them."""
    curve, due = ServiceCurve(0.0, 1.0, 4), np.array([0.0, 0.0, 0.0, 1.0])
    assert foretold_s(due, curve, (1, 2, 4)).tolist() == [4.0, 4.0, 4.0, 4.0]
    assert foretold_s(due, curve, ()).tolist() == [3.0, 3.0, 3.0, 3.0]


def test_the_report_begins_with_the_answer(profile: Profile) -> None:
    """The report begins with the answer and holds the arithmetic with its numbers."""
    shown = page(profile)
    assert shown.index("One worker on cpu, 1 thread takes") < shown.index("<svg")
    assert "S(n) = a + b n = 4 ms + n x 500 us" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["models/none"],
        ["models/none", "--objective-ms", "-5"],
        ["models/none", "--emulated", "20,2,0"],
        ["models/none", "--emulated", "20,2,8", "--objective-ms", "10"],
        ["models/none", "--device", "tpu"],
        ["models/none", "--max-batch", "0"],
    ],
)
def test_nonsense_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Nonsense is one line and code 2, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    assert run(["profile", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("where", "told"),
    [
        (("settings", 0, "fit", "a_s"), (-1, "a_s")),
        (("settings", 0, "fit", "b_s"), (float("nan"), "b_s")),
        (("settings", 0, "best", "max_batch"), (0, "max_batch")),
        (("settings", 0, "measured", "warm_s"), (float("inf"), "boot_s")),
        (("settings", 0, "measured", "warm_s"), (-90.0, "boot_s")),
        (("chosen",), (-1, "chosen")),
    ],
)
def test_a_profile_with_a_figure_that_cannot_be_is_one_line_and_code_2(
    tmp_path: Path, profile: Profile, capsys: pytest.CaptureFixture[str], where: tuple[str | int, ...],
    told: tuple[float, str],
) -> None:  # fmt: skip
    """The file and the field are named."""
    path, trace = tmp_path / "profile.json", tmp_path / "load.csv"
    whole: Any = profile.as_json()
    inner = whole
    for step in where[:-1]:
        inner = inner[step]
    inner[where[-1]], said = told
    path.write_text(json.dumps(whole), encoding="utf-8")
    trace.write_text("t_seconds,requests\n0,1\n1,2\n", encoding="utf-8")
    assert run(["plan", str(trace), "--type", f"cpu={path},price=1", "--out", str(tmp_path / "plan.json")]) == 2
    found = capsys.readouterr().err
    assert found.startswith(f"Error: the profile {path} is damaged")
    assert said in found
    assert found.count("\n") == 1


def test_a_deep_file_is_no_profile(tmp_path: Path) -> None:
    """Brackets beyond what a parser follows are damage, not a traceback."""
    (tmp_path / "profile.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"profile\.json is not JSON"):
        file.read(tmp_path / "profile.json")


def test_a_plan_says_that_a_profile_is_not_to_be_trusted(
    tmp_path: Path, profile: Profile, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the screen, in plan.json and in the report."""
    path, trace, out = tmp_path / "profile.json", tmp_path / "load.csv", tmp_path / "plan.json"
    (setting,) = profile.settings
    file.write(path, replace(profile, settings=(replace(setting, doubts=("rounds differ by 40 %",)),)))
    trace.write_text("t_seconds,requests\n" + "".join(f"{i},9\n" for i in range(300)), encoding="utf-8")
    report = tmp_path / "report"
    assert run(["plan", str(trace), "--type", f"cpu={path},price=1", "--out", str(out), "--report", str(report)]) == 0
    words = f"worker type cpu: its profile {path} is not to be trusted: rounds differ by 40 %"
    assert json.loads(out.read_text(encoding="utf-8"))["notes"] == [words]
    assert words in " ".join(capsys.readouterr().out.split())
    assert "rounds differ by 40 %" in (report / "plan.html").read_text(encoding="utf-8")
