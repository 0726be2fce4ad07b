"""A training for programs, for a terminal, and on a page: accuracy and loss, and what the machine gave for it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from penstock.page import COLOURS, INK, Page, draw, dress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from penstock.train.run import Outcome


def as_told(found: Outcome) -> dict[str, Any]:
    """For programs; what is not known is null."""
    return {
        "model": found.job.export,
        "job": asdict(found.job),
        "trained": asdict(found.trained),
        "used": None if found.used is None else asdict(found.used),
        "epochs": [asdict(epoch) for epoch in found.epochs],
        "samples": [asdict(sample) for sample in found.samples],
    }


def lines(found: Outcome) -> Iterator[tuple[str, str]]:
    """What and the figure."""
    ended, used = found.trained, found.used
    yield "model", found.job.export
    yield "accuracy", f"{ended.accuracy:.2%} of {ended.held_out:,} pictures held out; trained on {ended.trained_on:,}"
    # The first epoch traces the graph; it would hide what the others take.
    steady = found.epochs[1:] or found.epochs
    seconds = sorted(epoch.seconds for epoch in steady)[len(steady) // 2]
    rate = sorted(epoch.records_per_s for epoch in steady)[len(steady) // 2]
    resumed = f", gone on after {ended.resumed_at}" if ended.resumed_at else ""
    yield "epochs", f"{len(found.epochs)}{resumed}; median {seconds:.2f} s and {rate:,.0f} pictures/s an epoch"
    if used is None:
        yield "resources", "not seen: over before the first look"
    else:
        yield "CPU", f"{used.cpu_percent_mean:.0f} % of a core on average, {used.cpu_percent_peak:.0f} % at most"
        yield "memory", f"{used.peak_bytes / 2**20:,.0f} MiB at most"
    if used is not None and used.gpu_percent_mean is not None:
        yield "GPU", f"{used.gpu_percent_mean:.0f} % on average, {(used.gpu_bytes_peak or 0) / 2**20:,.0f} MiB at most"
    else:
        yield "GPU", "none seen"
    if ended.gpu_peak_bytes is not None:
        yield "GPU memory of TensorFlow", f"{ended.gpu_peak_bytes / 2**20:,.0f} MiB at most"
    yield "devices", ", ".join(ended.devices)


def page(found: Outcome, png: Path | None = None) -> str:
    """The report as one file; its picture as pixels too where `png` says."""
    made = Page(f"Training: {found.job.export}", ", ".join(found.trained.devices))
    made.lead(
        f"{found.trained.accuracy:.2%} of {found.trained.held_out:,} pictures that it has never seen are named right, "
        f"after {len(found.epochs)} passes over {found.trained.trained_on:,}."
    )
    made.picture(
        draw(lambda figure: _picture(figure, found), 11, 5.4, png), "Resources: of this run, every half second."
    )
    made.table(("what", "found"), lines(found))
    made.heading("Epochs")
    made.table(
        ("#epoch", "#loss", "#accuracy", "#held-out loss", "#held-out accuracy", "#seconds", "#pictures/s"),
        [
            (
                epoch.number, f"{epoch.loss:.4f}", f"{epoch.accuracy:.2%}", f"{epoch.held_loss:.4f}",
                f"{epoch.held_accuracy:.2%}", f"{epoch.seconds:.2f}", f"{epoch.records_per_s:,.0f}",
            )
            for epoch in found.epochs
        ],
    )  # fmt: skip
    return made.render()


def _picture(figure: Any, found: Outcome) -> None:
    (loss, accuracy), (cpu, memory) = figure.subplots(2, 2)
    numbers = [epoch.number for epoch in found.epochs]
    for axis, name, title in ((loss, "loss", "Loss"), (accuracy, "accuracy", "Accuracy")):
        axis.plot(numbers, [getattr(epoch, name) for epoch in found.epochs], color=COLOURS[0], label="training")
        held = [getattr(epoch, f"held_{name}") for epoch in found.epochs]
        axis.plot(numbers, held, color=COLOURS[2], label="held out")
        axis.legend(frameon=False, labelcolor=INK, fontsize=8.5)
        dress(axis, title, x="epoch")
    loss.set_ylim(0, None)
    at = [sample.at_s for sample in found.samples]
    cpu.plot(at, [sample.cpu_percent for sample in found.samples], color=COLOURS[1], label="CPU, % of a core")
    gpus = [sample.gpu_percent for sample in found.samples]
    if any(gpu is not None for gpu in gpus):
        cpu.plot(at, gpus, color=COLOURS[3], label="GPU, %")
    cpu.legend(frameon=False, labelcolor=INK, fontsize=8.5)
    cpu.set_ylim(0, None)
    dress(cpu, "Computing", x="seconds")
    memory.plot(at, [sample.resident_bytes / 2**20 for sample in found.samples], color=COLOURS[1])
    memory.set_ylim(0, None)
    dress(memory, "Memory of the process, MiB", x="seconds")
