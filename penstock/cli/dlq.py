"""`penstock dlq`: look at dead letters, send their requests again, delete them."""

from __future__ import annotations

import contextlib
import functools
import json
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock import settings
from penstock.cli import _letters as shown
from penstock.cli._options import Moment, config_option
from penstock.errors import KafkaUnusable, NotFound
from streams.dead_letters import STAGES
from streams.dead_letters_plan import Cut, PurgeRule, ReplayPlan
from streams.dead_letters_selection import Place, Selection, SourceRange
from streams.dead_letters_topic import DeadLetterTopic, ReplayOrder
from streams.errors import StreamsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Bytes of a value that `show` prints unasked.
SHOWN_BYTES = 2048


class _Source(click.ParamType):
    name = "TOPIC[/PARTITION[/OFFSET[-OFFSET]]]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> SourceRange:
        try:
            return value if isinstance(value, SourceRange) else SourceRange.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _selecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the filters, and hand them on as one `selection`."""

    @click.option("--reason", "reasons", multiple=True, help="A code, e.g. model-failed; give it again for more.")
    @click.option("--since", type=Moment(), help="Requests of this time or later: 2h, 7d, or ISO 8601 (UTC).")
    @click.option("--until", type=Moment(), help="Requests before this time.")
    @click.option("--source", "sources", type=_Source(), multiple=True, help="Where the request was.")
    @click.option("--stage", type=click.Choice(STAGES), help="How far it got.")
    @click.option("--min-attempts", type=click.IntRange(min=1), default=1, help="Tried at least so often.")
    @functools.wraps(command)
    def selecting(
        *,
        reasons: tuple[str, ...],
        since: int | None,
        until: int | None,
        sources: tuple[SourceRange, ...],
        stage: str | None,
        min_attempts: int,
        **rest: Any,
    ) -> Any:
        selection = Selection(frozenset(reasons), since, until, sources, stage, min_attempts)
        return command(selection=selection, **rest)

    return selecting


@contextlib.contextmanager
def _letters(config: Path) -> Iterator[DeadLetterTopic]:
    """The pipeline's dead letters; Kafka's errors in the form of the command line."""
    tree = settings.load(config)
    try:
        with DeadLetterTopic(tree.kafka, tree.pipeline.name) as found:
            yield found
    except StreamsError as error:
        raise KafkaUnusable(str(error), "then run it again; it goes on where it was") from error


@click.group("dlq")
def command() -> None:
    """Dead letters: look at them, send their requests again, delete them."""


@command.command("ls")
@config_option
@_selecting
@click.option(
    "--limit", type=click.IntRange(min=0), default=50, show_default=True, help="The newest so many; 0 = counts only."
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def ls(*, config: Path, selection: Selection, limit: int, as_json: bool) -> None:
    """Count dead letters by reason and list the newest. No payload is shown."""
    newest = shown.Newest(limit)
    with _letters(config) as letters:
        told = shown.listing(letters.name, letters.survey(selection, newest.add), newest)
    if as_json:
        click.echo(json.dumps(told, indent=1))
    else:
        shown.print_listing(told)


@command.command("show")
@config_option
@click.argument("place")
@click.option("--bytes", "most_bytes", type=click.IntRange(min=0), default=SHOWN_BYTES, show_default=True)
@click.option(
    "--value-to", type=click.Path(dir_okay=False, path_type=Path), help="Write the value to a file, as it is."
)
@click.option("--json", "as_json", is_flag=True, help="All of it for programs, unbounded.")
def show(*, config: Path, place: str, most_bytes: int, value_to: Path | None, as_json: bool) -> None:
    """Show one letter with its headers and its value.

    PLACE is where the letter is (PARTITION/OFFSET, as `ls` lists it) or where its request was (TOPIC/PARTITION/OFFSET,
    its header dlq-source).
    """
    with _letters(config) as letters:
        found = Place.parse(place) or Place.parse(f"{letters.name}/{place}")
        if found is None:
            raise click.BadParameter(
                f"{place!r} must be PARTITION/OFFSET or TOPIC/PARTITION/OFFSET", param_hint="PLACE"
            )
        records = list(letters.find(found))
    if not records:
        raise NotFound(f"no dead letter at {place}", "look for it with `penstock dlq ls`; it may have been purged")
    if value_to is not None:
        value_to.write_bytes(records[-1].value or b"")
    if as_json:
        click.echo(json.dumps([shown.whole(record) for record in records], indent=1))
        return
    for record in records:
        shown.print_whole(record, most_bytes)


@command.command("replay")
@config_option
@_selecting
@click.option("--to", default=None, help="Topic for the requests; where each was by default.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=10_000, show_default=True, help="Most letters of this run."
)
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Most letters a second.")
@click.option(
    "--max-attempts",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Requests that were tried so often stay where they are.",
)
@click.option("--drop-deadlines", is_flag=True, help="Leave the header deadline-ms out of the requests.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def replay(
    *,
    config: Path,
    selection: Selection,
    to: str | None,
    limit: int,
    rate: float | None,
    max_attempts: int,
    drop_deadlines: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Write the requests of dead letters to their topic again, each exactly once.

    Letters that were replayed before are passed over, whatever the filter was, so a run that was killed is gone on
    with by running it again. Exit code 0 when all that was chosen is sent, 1 when it was stopped before.
    """
    order = ReplayOrder(selection, to, limit, rate, max_attempts, keep_deadlines=not drop_deadlines)
    with _letters(config) as letters:
        if dry_run:
            plan = letters.plan(order)
            _tell(as_json, _replay_facts(plan) | {"sent": 0}, _replay_words(plan, 0))
            return 0
        outcome = letters.replay(order, _stopped_by_signals())
    facts = _replay_facts(outcome.plan) | {"sent": outcome.sent, "stopped": outcome.stopped}
    _tell(as_json, facts, _replay_words(outcome.plan, outcome.sent))
    return int(outcome.stopped)


@command.command("purge")
@config_option
@click.option("--before", type=Moment(), help="Letters of requests before this time: 7d, or ISO 8601 (UTC).")
@click.option(
    "--through", multiple=True, help="PARTITION/OFFSET: up to this letter; give it again for more partitions."
)
@click.option("--replayed", is_flag=True, help="Letters that were replayed.")
@click.option("--all", "everything", is_flag=True, help="All that are there now.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="For programs; needs --yes or --dry-run.")
def purge(
    *,
    config: Path,
    before: int | None,
    through: tuple[str, ...],
    replayed: bool,
    everything: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete dead letters for good.

    Kafka deletes from the start of a partition up to an offset and nothing in between: a letter that is meant but lies
    behind one that is not stays, and is counted.
    """
    rule = _purge_rule(before, through, replayed=replayed, everything=everything)
    if as_json and not (yes or dry_run):
        raise click.UsageError("--json asks nothing: add --yes or --dry-run")
    with _letters(config) as letters:
        cuts = letters.plan_purge(rule)
        words = _purge_words(letters.name, cuts)
        if cuts and not dry_run:
            if not yes:
                click.echo("\n".join(words))
                click.confirm("Delete them for good?", abort=True)
            letters.purge(cuts)
    done = bool(cuts) and not dry_run
    facts = {
        "deleted": done,
        "partitions": [
            {
                "partition": cut.partition,
                "before": cut.before,
                "letters": cut.letters,
                "never_replayed": cut.never_replayed,
                "held_back": cut.held_back,
            }
            for cut in cuts
        ],
    }
    _tell(as_json, facts, ["Deleted."] if done and not yes else [*words, *(["Deleted."] if done else [])])


def _purge_rule(before: int | None, through: tuple[str, ...], *, replayed: bool, everything: bool) -> PurgeRule:
    if [before is not None, bool(through), replayed, everything].count(True) != 1:
        raise click.UsageError("say up to where, in one way: --before, --through, --replayed or --all")
    if through:
        places = [Place.parse(f"t/{text}") for text in through]
        if None in places:
            raise click.UsageError(f"--through {' '.join(through)}: must be PARTITION/OFFSET, as `dlq ls` lists them")
        return PurgeRule("through", through={place.partition: place.offset for place in places if place})
    if before is not None:
        return PurgeRule("before", before_ms=before)
    return PurgeRule("replayed" if replayed else "all")


def _purge_words(topic: str, cuts: tuple[Cut, ...]) -> list[str]:
    if not cuts:
        return [f"{topic}: nothing to delete."]
    letters, never = sum(cut.letters for cut in cuts), sum(cut.never_replayed for cut in cuts)
    words = [f"{topic}: {letters} letters go, {never} of them never replayed."]
    words += [f"  partition {cut.partition}: {cut.letters} letters before offset {cut.before}" for cut in cuts]
    held = sum(cut.held_back for cut in cuts)
    if held:
        words.append(f"{held} more that you mean stay: they lie behind letters that you do not mean.")
    return words


def _replay_facts(plan: ReplayPlan) -> dict[str, Any]:
    return {
        "matched": plan.matched,
        "planned": plan.count,
        "already_replayed": plan.already,
        "tried_too_often": plan.worn_out,
        "without_value": plan.cut,
        "left": plan.left,
        "overdue": plan.overdue,
    }


def _replay_words(plan: ReplayPlan, sent: int) -> list[str]:
    words = [f"{plan.matched} letters match, {plan.count} to be replayed, {sent} sent."]
    for count, said in (
        (plan.already, "were replayed before and are passed over."),
        (plan.worn_out, "were tried too often and are passed over; see --max-attempts."),
        (plan.cut, "have no value, which was too large for the topic of dead letters, and are passed over."),
        (plan.left, "are left by --limit; run it again for them."),
        (plan.overdue, "have a deadline that has passed and will be answered `expired`; see --drop-deadlines."),
    ):
        if count:
            words.append(f"{count} {said}")
    return words


def _tell(as_json: bool, facts: dict[str, Any], words: list[str]) -> None:
    click.echo(json.dumps(facts, indent=1) if as_json else "\n".join(words))


def _stopped_by_signals() -> threading.Event:
    """Set by SIGTERM and Ctrl-C: the transaction under way is ended, none is left open."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
