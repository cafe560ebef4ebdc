"""`elastic read`: logs of other people's trainers, what is said of them, and what is refused."""

import json
import math

import pytest

from elastic_lib.cli import main
from elastic_lib.figures.own_run import picture
from elastic_lib.notebook.own_run import read, said

STEADY = [(x / 10, 1 + x / 20) for x in range(30)]  # √KL and reward rise together
STALLED = [(x / 10, 1 + min(x, 12) / 20) for x in range(30)]
DEAR = [(x / 10, 1 - math.exp(-x / 5)) for x in range(30)]


def csv(folder, rows, **more):
    lines = [f"{i + 1},{reward},{root**2}" for i, (root, reward) in enumerate(rows)]
    path = folder / "log.csv"
    path.write_text("\n".join(["step,reward,kl", *lines]))
    return path


@pytest.mark.parametrize("rows, says", [
    (STEADY, "Little drift: in the last third a reward costs 1.0 times"),
    (STALLED, "in the last third the KL still grows and the reward does not"),
    (DEAR, "Drift: in the last third a reward costs"),
    ([(root, -reward) for root, reward in STEADY], "nothing to reset yet"),
    ([(min(root, 1.0), reward) for root, reward in STEADY], "the KL does not grow any more"),
])  # fmt: skip
def test_what_a_log_shows_is_said(tmp_path, rows, says):
    lines = said(read(csv(tmp_path, rows)))
    assert any(says in line for line in lines), lines
    assert "decay=decay_for(left=0.5, moves=11), reset_every=11" in lines[-1]  # of 30 steps: two resets


@pytest.mark.parametrize("way, says", [(0.97, "does nothing"), (0.01, "stays at θ0"), (0.5, "went up to 50%")])
def test_a_trainers_state_tells_of_resets_and_of_the_average(tmp_path, way, says):
    history = [
        {"step": i, "loss": 0.1, "rewards/mean": reward, "objective/kl": root**2, "elastic/reset": int(i % 10 == 9),
         "elastic/distance_init": 2.0, "elastic/distance_ema_init": 2.0 * way}
        for i, (root, reward) in enumerate(STEADY)
    ]  # fmt: skip
    (tmp_path / "checkpoint-30").mkdir()
    state = {"log_history": [*history, {"step": 30, "train_runtime": 1.0}]}
    (tmp_path / "checkpoint-30" / "trainer_state.json").write_text(json.dumps(state))
    lines = said(read(tmp_path))
    assert "3 resets" in lines[0] and any(says in line for line in lines) and lines[-1].startswith("Go on from there")


def test_a_record_of_ours_tells_of_its_resets_on_lines_without_a_reward(tmp_path):
    rows = [f"{i},{reward},{root**2},0" for i, (root, reward) in enumerate(STEADY)]
    path = tmp_path / "curve.csv"
    rows = ["step,reward,kl,reset", ",,,0", *rows[:10], "9,,,1", *rows[10:20], "19,,,1", *rows[20:]]
    path.write_text("\n".join(rows))
    assert said(read(path))[0].startswith("30 lines up to step 29") and "2 resets" in said(read(path))[0]


def state(folder, step, reward, resets=(0, 0)):
    """A checkpoint of a run with two callbacks, the first of which resets `resets[0]` times."""
    folder.mkdir(parents=True)
    went = {"elastic/distance_init": 2.0, "elastic/distance_ema_init": 1.0}
    went |= {"elastic_2/distance_init": 2.0, "elastic_2/distance_ema_init": 0.02}
    lines = [
        {"step": 10 * i, "reward": reward, "kl": i / 10, "elastic/reset": int(i < resets[0])}
        | {"elastic_2/reset": int(i < resets[1]), **went}
        for i in range(step // 10)
    ]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": lines, "global_step": step}))


def test_of_a_folder_the_checkpoint_that_came_furthest_is_read_and_of_several_runs_none(tmp_path, capsys):
    state(tmp_path / "run" / "checkpoint-300", 300, 2.0)
    state(tmp_path / "run" / "checkpoint-90", 90, 1.0)  # written last, as by a copy
    assert main(["read", str(tmp_path / "run"), "--out", str(tmp_path / "page.html")]) == 0
    told = capsys.readouterr().out
    assert told.startswith(str(tmp_path / "run" / "checkpoint-300")) and "30 lines up to step 290" in told
    state(tmp_path / "other" / "checkpoint-90", 90, 1.0)
    with pytest.raises(ValueError, match="holds 2 runs: name one of them"):
        read(tmp_path)


def test_of_two_callbacks_the_one_that_resets_is_read(tmp_path):
    state(tmp_path / "checkpoint-300", 300, 2.0, resets=(0, 3))
    lines = said(read(tmp_path))
    assert "3 resets" in lines[0] and any("stays at θ0" in line for line in lines)


def test_the_order_of_lines_does_not_matter_and_a_line_that_is_there_again_counts_once(tmp_path):
    path = csv(tmp_path, STEADY)
    told = said(read(path))
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([head, *reversed(lines), *lines[10:20]]))
    assert said(read(path)) == told


def test_lines_are_counted_where_no_steps_are_told_and_it_says_so(tmp_path):
    path = csv(tmp_path, STEADY)
    path.write_text(path.read_text().replace("step,reward,kl", "episode,train/reward,train/kl", 1))
    assert any("lines are counted in their place" in line for line in said(read(path)))
    path.write_text(path.read_text().replace("episode", "train/global_step", 1))
    assert not any("lines are counted" in line for line in said(read(path)))


def test_the_picture_needs_a_folder_before_anything_is_said(tmp_path, capsys):
    assert main(["read", str(csv(tmp_path, DEAR)), "--out", str(tmp_path / "none" / "page.html")]) == 1
    told = capsys.readouterr()
    assert not told.out and "--out is a file in a folder that is there" in told.err
    assert main(["read", str(csv(tmp_path, DEAR)), "--out", str(tmp_path / "page.png")]) == 1
    assert "the picture is a page: --out NAME.html" in capsys.readouterr().err


def test_the_frontier_is_the_best_reward_at_each_kl(tmp_path):
    rows = [*STEADY, (1.5, 0.0), (0.5, 5.0)]
    line = picture(read(csv(tmp_path, rows)), "mine").data[1]
    assert list(line.y)[-1] == 5.0 and max(line.x) == 0.25 and 0.0 not in list(line.y)


def test_the_command_draws_and_says(tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["read", str(csv(tmp_path, DEAR)), "--out", str(out)]) == 0
    assert "ElasticResetCallback(" in capsys.readouterr().out and "plotly" in out.read_text()


def test_a_log_with_words_and_infinities_is_read_and_never_written_over(tmp_path, capsys):
    log = csv(tmp_path, DEAR).rename(tmp_path / "log.html")  # as a picture is called
    log.write_text(
        log.read_text().replace("step,reward,kl", "step,reward,kl,reset") + "\n31,1.0,inf,no\ninf,1.0,9.0,no"
    )
    assert len(read(log)) == len(DEAR)
    before = log.read_bytes()
    assert main(["read", str(log), "--out", str(log)]) == 1 and log.read_bytes() == before
    assert "would take the place of the log" in capsys.readouterr().err


@pytest.mark.parametrize("name, content, says", [
    ("a.csv", "step,score\n1,2\n", "has no column reward or .*; its columns: step, score"),
    ("a.csv", "reward,kl\n1,2\n", "1 lines with a reward and a KL; 9 are the fewest"),
    ("a.csv", "", "cannot be read as CSV"),
    ("a.json", "{}", "it has no log_history"),
    ("a.json", "[1", "it has no log_history"),
    (None, "", "holds no trainer_state.json"),
])  # fmt: skip
def test_what_cannot_be_read_is_named(tmp_path, name, content, says):
    if name is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        read(tmp_path / (name or ""))
    with pytest.raises(FileNotFoundError, match="is not there"):
        read(tmp_path / "nowhere.csv")
