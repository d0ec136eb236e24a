"""Tables measured again, one after the other: those whose data is there; of the others it is said what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import PurePosixPath

from clipseg_ray.addresses import absolute
from clipseg_ray.cluster.connection import connected, guard_a_local_cluster
from clipseg_ray.errors import UserError
from clipseg_ray.evaluation.job import evaluate
from clipseg_ray.evaluation.paper.comparison import Comparison
from clipseg_ray.evaluation.paper.config import PART, NeededData, PaperConfig, TruthOfRelease
from clipseg_ray.evaluation.releases.formats import PLACES
from clipseg_ray.evaluation.report import Report
from clipseg_ray.evaluation.truth_job import write_truth
from clipseg_ray.model.checkpoint import look
from clipseg_ray.storage import Store, plain_errors


@dataclass(frozen=True)
class Outcome:
    """What became of one table: ``text`` for a person; whether it was ``measured``, and whether it ``failed``."""

    text: str
    measured: bool = False
    failed: bool = False


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the releases lie, which checkpoint is measured (``{part}`` in it stands for a part's name), and where truth
    shards, evaluations and comparisons go: paths or URLs."""

    data: str
    checkpoint: str
    output: str


def measured(tables: Sequence[str], places: Places) -> Iterator[Outcome]:
    """Measure each table, given as the path or URL of its file.

    Raises UserError, before anything is measured, for a file that is no table or two of one name. What stops one
    table is said in its outcome, and the next goes on.
    """
    configs = {PurePosixPath(table).stem: PaperConfig.load(table) for table in tables}
    if len(configs) < len(tables):
        raise UserError("two tables have one name, by which their results are written; measure them one by one")
    here = Places(data=absolute(places.data), checkpoint=places.checkpoint, output=absolute(places.output))
    plans = {name: _planned(config, here) for name, config in configs.items()}
    guard_a_local_cluster()
    with connected() if any(isinstance(plan, _Plan) for plan in plans.values()) else nullcontext():
        for name, plan in plans.items():
            yield plan if isinstance(plan, Outcome) else _outcome(name, plan, here)


@dataclass(frozen=True)
class _Plan:
    """A table that can be measured: checkpoints, each with the parts it is for, and the parts without one."""

    config: PaperConfig
    checkpoints: Mapping[str, Sequence[str]]
    without: Sequence[str]


def _planned(config: PaperConfig, places: Places) -> _Plan | Outcome:
    try:
        missing = [each for each in config.data if not _is_there(places.data, each)]
        checkpoints, without = _checkpoints(config, places.checkpoint)
        if missing or not checkpoints:
            lines = [f"{places.data}/{each.path}, from {each.source}" for each in missing]
            said = "".join(f"- {line}\n" for line in lines or _lacking(config, without))
            return Outcome(f"# {config.title}\n\nNot measured; missing:\n\n{said}")
        return _Plan(config, checkpoints, without)
    except UserError as error:
        return _failed(config, error)


def _failed(config: PaperConfig, error: UserError) -> Outcome:
    return Outcome(f"# {config.title}\n\nNot measured; it failed: {error}\n", failed=True)


def _outcome(name: str, plan: _Plan, places: Places) -> Outcome:
    try:
        return Outcome(_compared(name, plan, places).markdown(), measured=True)
    except UserError as error:
        return _failed(plan.config, error)


def _compared(name: str, plan: _Plan, places: Places) -> Comparison:
    config = plan.config
    truth = {each: f"{places.output}/truth/{each}" for each in config.truth}
    notes = [*config.remarks, *(_made(config.truth[each], places, url) for each, url in truth.items())]
    reports: dict[str, Report] = {}
    written: dict[str, str] = {}
    for checkpoint, parts in plan.checkpoints.items():
        folder = f"{places.output}/{name}/{'-'.join(parts) if PART in places.checkpoint else 'all'}"
        report = evaluate(config.evaluation(checkpoint, truth, folder, config.rows_for(parts)))
        reports |= dict.fromkeys(parts, report)
        written |= dict.fromkeys(parts, f"{folder}/evaluation.md")
        notes += [note for note in report.notes if note not in notes]
    if PART not in places.checkpoint and len(config.stands_for) > 1:
        notes.append(
            f"one checkpoint for all of {', '.join(config.stands_for)}: comparable only if what each tests was kept "
            f"from its training; give one for each, with {PART} in its name"
        )
    found = Comparison.of(config, reports, [*notes, *_lacking(config, plan.without)], written)
    found.write(f"{places.output}/{name}")
    return found


def _made(truth: TruthOfRelease, places: Places, destination: str) -> str:
    """Write what a truth set still lacks; say what was done."""
    options = {
        option: f"{places.data}/{value}" if option in PLACES else value for option, value in truth.options.items()
    }
    return write_truth(truth.format, f"{places.data}/{truth.source}", destination, options)


def _checkpoints(config: PaperConfig, checkpoint: str) -> tuple[dict[str, list[str]], list[str]]:
    """The checkpoints to be measured, with the parts each is for, and the parts without one.

    Raises UserError for a checkpoint that is the same for all and not there.
    """
    wanted = {part for line in config.published for part in line.rows.values()}
    found: dict[str, list[str]] = {}
    without = []
    for part in config.parts:
        address = _address(checkpoint, part)
        if part not in wanted:
            continue
        if PART not in checkpoint and part not in config.stands_for:
            without.append(part)
            continue
        try:
            look(address, None)
        except UserError:
            if PART not in checkpoint:
                raise
            without.append(part)
        else:
            found.setdefault(address, []).append(part)
    return found, without


def _address(checkpoint: str, part: str) -> str:
    """A part's checkpoint: a path where the folder it would lie in is there, else as it is given."""
    folder = checkpoint.partition(PART)[0].rpartition("/")[0]
    address = checkpoint.replace(PART, part)
    beside = Store.of(absolute(folder)) if folder and PART in checkpoint else None
    return absolute(address) if beside is not None and beside.fs.isdir(beside.root) else address


def _lacking(config: PaperConfig, parts: Sequence[str]) -> list[str]:
    return [f"no checkpoint for {part} ({config.parts[part]}): give it as {PART} in the name" for part in parts]


def _is_there(data: str, needed: NeededData) -> bool:
    """Whether there is such a file, or a folder that is not empty."""
    folder, _, name = f"{data}/{needed.path}".rpartition("/")
    with plain_errors(folder):
        return Store.of(folder).exists(name) or next(iter(Store.of(f"{folder}/{name}").list()), None) is not None
