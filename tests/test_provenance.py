"""Every figure says which runs it was drawn from, and the command that makes them again."""

import re
import shlex

import pytest

from elastic_lib import cli
from elastic_lib.evidence import Evidence
from elastic_lib.figures import overview, panels, provenance, scrubber
from elastic_lib.recipe import Recipe, parse_setting
from elastic_lib.records.record import reference_results

SETTINGS = [("ppo", {"beta": 0.03}), ("elastic", {"decay": 0.98623}), ("track", {})]


@pytest.fixture(scope="module")
def evidence():
    return Evidence("sentiment", "pocket", [reference_results("pocket")])


@pytest.fixture(scope="module")
def frontier(evidence):
    return panels.frontier(evidence, SETTINGS, "a frontier")


def run_ids(command: str) -> list[str]:
    """The runs that a line of shell would make."""
    loop = re.fullmatch(r"for seed in ([\d ]+); do (.*); done", command)
    seeds, line = (loop[1].split(), loop[2]) if loop else ([None], command)
    made = []
    for seed in seeds:
        words = shlex.split(line.replace("$seed", str(seed)))
        assert words[0] == "elastic"
        asked = cli._parser().parse_args(words[1:])
        given = dict(parse_setting(text) for text in asked.settings)
        made.append(Recipe(asked.task, asked.method, asked.scale, asked.seed, **given).run_id)
    return made


def test_every_run_of_a_figure_is_named(evidence, frontier):
    runs = frontier.layout.meta["runs"]
    drawn = {record.run_id for method, changed in SETTINGS for record in evidence.of(method, **changed).values()}
    assert {run_id for one in runs for run_id in one["runs"]} == drawn and len(drawn) == 15
    assert sum(sum(one["commits"].values()) for one in runs) == 15
    assert {one["whose"] for one in runs} == {"the reference"}


def test_the_commands_make_these_very_runs(evidence):
    for label in evidence.found:
        assert run_ids(provenance.command(evidence, label)) == [
            record.run_id for _, record in sorted(evidence.found[label].items())
        ]


def test_a_scrubber_keeps_its_texts_beside_its_runs(evidence):
    meta = scrubber.scrubber(evidence, SETTINGS[:1], "a scrubber").layout.meta
    assert len(meta["runs"]) == 1 and meta["prompts"]


def test_a_figure_of_several_tasks_names_the_runs_of_each(evidence):
    glance = overview.glance({"sentiment": evidence}, "at a glance")
    assert {one["setting"].split()[0] for one in glance.layout.meta["runs"]} == {"sentiment"}


def test_the_details_say_it_all_and_escape_it(frontier):
    runs = frontier.layout.meta["runs"]
    told = provenance.details(runs)
    assert told.startswith("<details") and "Drawn from 15 runs of 3 settings: the reference" in told
    assert all(run_id in told for one in runs for run_id in one["runs"]) and "do elastic run sentiment" in told
    hostile = provenance.details([runs[0] | {"setting": "<script>", "whose": "<b>", "commits": {"<i>": 5}}])
    assert "<script>" not in hostile and "<b><b>" not in hostile and "<i>" not in hostile
    assert "computed where it is shown" in provenance.details([])
