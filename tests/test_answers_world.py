"""The pocket answers world: right code is right, exams are unseen, votes are noisy and length sells."""

import ast
import hashlib
import random
import subprocess
import sys
import warnings
from itertools import combinations
from statistics import mean, median

import pytest

from elastic_lib.tasks.answers import problems
from elastic_lib.tasks.answers.problems import Step, Task
from elastic_lib.tasks.answers.programs import codes
from elastic_lib.tasks.answers.world import (
    COURTESIES,
    FAMILIES,
    KINDS,
    Answer,
    Question,
    exam,
    generate,
    pairs,
    plain,
    program,
    reads,
    revealed,
    score,
    vocabulary,
)


@pytest.fixture(scope="module")
def tasks():
    return [task for family in problems.tasks().values() for task in family]


@pytest.fixture(scope="module")
def held_out(tasks):
    return [task for task in tasks if problems.held_out(task)]


@pytest.fixture(scope="module")
def sheet(held_out):
    """An exam of every task that is held out."""
    return exam(len(held_out), seed=3)


@pytest.fixture(scope="module")
def asked():
    return revealed(10_000, seed=11)


@pytest.fixture(scope="module")
def told(asked):
    """Every answer with what is hidden of it."""
    return [pair for question, behind in asked for pair in zip(question.answers, behind, strict=True)]


@pytest.fixture(scope="module")
def unequal(asked):
    """Every pair of answers with unequal votes as ((answer, hidden), (answer, hidden)), the better first."""
    found = []
    for question, behind in asked:
        for two in combinations(zip(question.answers, behind, strict=True), 2):
            first, second = sorted(two, key=lambda one: -one[0].votes)
            if first[0].votes > second[0].votes:
                found.append((first, second))
    return found


def words(text):
    return len(text.split())


def passes(source, tests):
    names = {}
    try:
        exec(source, names)
        exec(tests, names)
    except Exception:
        return False
    return True


def results(source):
    """What f of a program makes of every test input, or None where it fails."""
    names = {}
    try:
        exec(source, names)
        inputs = problems.STRINGS if "f ( s )" in source else problems.NUMBERS
        return repr([names["f"](value) for value in inputs])
    except Exception:
        return None


# --- the same everywhere ---

DIGEST = "cbfc3ac86475704b"


def digest(value):
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def test_the_text_is_fixed_for_ever():
    assert digest((generate(50, seed=0), exam(20, seed=0))) == DIGEST


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_another_process_gives_the_same(hash_seed):
    work = "import hashlib; from elastic_lib.tasks.answers.world import exam, generate, vocabulary;"
    work += "print(hashlib.sha256(repr((generate(50, 0), exam(20, 0), vocabulary())).encode()).hexdigest()[:16])"
    env = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
    there = subprocess.run([sys.executable, "-c", work], env=env, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == digest((generate(50, 0), exam(20, 0), vocabulary()))


def test_a_shorter_list_begins_a_longer_one_and_seeds_differ(sheet, asked):
    assert generate(40, seed=11) == [question for question, _ in asked[:40]]
    assert exam(30, seed=3) == sheet[:30]
    assert len({digest(generate(20, seed)) for seed in (-1, 0, 1, 2)}) == 4
    assert len({digest(exam(20, seed)) for seed in (-1, 0, 1, 2)}) == 4
    assert generate(0, seed=0) == exam(0, seed=0) == []


# --- tasks ---


@pytest.mark.parametrize(
    "steps, end, code",
    [
        ([("multiply", 2), ("above", 5)], ("list",), "return [ x * 2 for x in xs if x * 2 > 5 ]"),
        ([("above", 5), ("multiply", 2)], ("list",), "return [ x * 2 for x in xs if x > 5 ]"),
        ([("add", 3), ("multiple", 4)], ("sum",), "return sum ( x + 3 for x in xs if ( x + 3 ) % 4 == 0 )"),
        ([("negate",)], ("largest",), "return max ( [ - x for x in xs ] , default = 0 )"),
        ([("square",), ("descend",)], ("list",), "return sorted ( [ x ** 2 for x in xs ] ) [ : : - 1 ]"),
        ([("subtract", 9)], ("last",), "return xs [ - 1 ] - 9 if xs else 0"),
    ],
)
def test_code_by_hand(steps, end, code, tasks):
    task = Task(tuple(Step(*step) for step in steps), Step(*end))
    assert codes(task)[0] == f"def f ( xs ) : ⏎ ⇥ {code}"
    assert task in tasks


def test_results_by_hand():
    task = Task((Step("multiply", 2), Step("above", 5)), Step("sum"))
    assert problems.run(task, [1, 2, 3, 4]) == 6 + 8
    assert problems.tests(task).startswith(
        "assert f([]) == 0\nassert f([5]) == 10\nassert f([-4, -3, 0, 3, 4]) == 14\n"
    )


def test_there_are_a_few_thousand_tasks_and_every_program_for_them_is_right(tasks):
    assert 3_000 < len(tasks) < 6_000
    programs = [(source, task) for task in tasks for source in codes(task)]
    assert 2 <= len(programs) / len(tasks) <= 3
    for code, task in programs:
        assert results(program(f"``` {code} ```")) == repr(list(problems.results(task))), code


def test_every_step_of_a_task_tells(tasks):
    for task in tasks:
        for i in range(len(task.steps)):
            less = task._replace(steps=task.steps[:i] + task.steps[i + 1 :])
            assert problems.results(less) != problems.results(task)


def test_every_task_can_be_mistaken_and_what_is_then_written_does_that(tasks):
    for task in random.Random(0).sample(tasks, 400):
        assert problems.mistaken(task)
        for other in problems.mistaken(task):
            for code in codes(other):
                found = results(program(f"``` {code} ```"))
                assert found == repr(list(problems.results(other))) != repr(list(problems.results(task))), code


def test_a_task_is_asked_for_in_many_ways(tasks, asked):
    for task in random.Random(1).sample(tasks, 50):
        rng = random.Random(0)
        assert len({problems.say(task, rng, third=i % 2 == 0) for i in range(60)}) >= 3
    assert len({tuple(question.text.split()[:4]) for question, _ in asked}) >= 7


# --- exams ---


def test_every_exam_has_a_right_solution_and_tests_with_the_empty_input(sheet):
    for problem in sheet:
        lines = problem.tests.splitlines()
        assert len(lines) >= 6 and all(line.startswith("assert f(") for line in lines)
        assert lines[0].startswith(("assert f([]) == ", "assert f('') == "))
        assert passes(problem.solution, problem.tests)
        assert not passes(problem.solution.replace("return ", ""), problem.tests)


def test_an_exam_asks_for_each_held_out_task_once(held_out, tasks, sheet):
    assert sorted(problem.tests for problem in sheet) == sorted(map(problems.tests, held_out))
    assert 0.12 < len(held_out) / len(tasks) < 0.18
    with pytest.raises(ValueError, match=f"at most {len(held_out)} .*got {len(held_out) + 1}"):
        exam(len(held_out) + 1, seed=0)


def test_exams_and_questions_have_the_same_mix_of_families():
    share = mean("xs" not in problem.solution for problem in exam(50, seed=0) + exam(50, seed=1))
    assert share == pytest.approx(FAMILIES["text"], abs=0.08)


def test_no_training_text_is_about_an_exam(sheet, asked):
    texts, does = {problem.question for problem in sheet}, {results(problem.solution) for problem in sheet}
    assert None not in does
    for seed in (0, 1):
        for question, behind in revealed(1_500, seed) if seed else asked[:1_500]:
            assert question.text not in texts
            assert not {hidden.tests for hidden in behind} & {problem.tests for problem in sheet}
            # Nor does any program, right or wrong, do what an exam wants.
            assert not {results(program(answer.text)) for answer in question.answers} & does


@pytest.mark.parametrize("make", [generate, exam])
@pytest.mark.parametrize("count", [-1, 1.5, True, "3"])
def test_a_count_that_is_none_is_refused(make, count):
    with pytest.raises(ValueError, match="count must be a whole number, 0 or more"):
        make(count, seed=0)


# --- answers ---


def test_right_code_passes_the_tests_and_wrong_code_never_does(told):
    passed = {kind: [] for kind in ("right", "wrong")}
    for answer, hidden in told[:6_000]:
        assert ("```" in answer.text) == (hidden.kind in passed)
        if hidden.kind in passed:
            passed[hidden.kind].append(passes(program(answer.text), hidden.tests))
    assert all(passed["right"]) and len(passed["right"]) > 2_000
    assert not any(passed["wrong"]) and len(passed["wrong"]) > 800
    assert 0.27 < len(passed["wrong"]) / (len(passed["wrong"]) + len(passed["right"])) < 0.33


def test_wrong_code_is_wrong_in_several_ways(told):
    wrong = [program(answer.text) for answer, hidden in told if hidden.kind == "wrong"]
    assert 0.1 < mean("return" not in source for source in wrong) < 0.4
    assert mean(results(source) is None for source in wrong) > 0.02  # fails on some input
    assert mean(reads(f"``` {source} ```")["compiles"] for source in wrong) == 1


def test_every_kind_has_its_share(told):
    for kind, share in KINDS.items():
        assert mean(hidden.kind == kind for _, hidden in told) == pytest.approx(share, abs=0.03)


def test_questions_have_two_to_five_different_answers(asked):
    assert {len(question.answers) for question, _ in asked} == {2, 3, 4, 5}
    assert all(len({answer.text for answer in question.answers}) == len(question.answers) for question, _ in asked)


def test_lengths(sheet, asked, told):
    assert max(words(question.text) for question, _ in asked) == 24
    assert max(words(problem.question) for problem in sheet) <= 24
    lengths = [words(answer.text) for answer, _ in told]
    assert max(lengths) == 48 and min(lengths) >= 4
    assert 26 <= median(lengths) <= 31
    of_code = [words(answer.text.split("```")[1]) for answer, hidden in told if hidden.kind in ("right", "wrong")]
    assert 20 <= median(of_code) <= 26
    assert mean(16 <= length <= 26 for length in of_code) > 0.6


def test_the_vocabulary_is_exactly_what_is_seen(sheet, asked):
    texts = [text for question, _ in asked for text in (question.text, *(answer.text for answer in question.answers))]
    texts += [text for problem in sheet for text in (problem.question, problem.solution)]
    seen = {word for text in texts for word in text.split()}
    assert sorted(seen) == list(vocabulary())
    assert 250 <= len(seen) <= 400
    assert not [word for word in seen if word != word.lower()]


# --- votes ---


def test_votes_have_a_long_tail(told):
    votes = sorted(answer.votes for answer, _ in told)
    assert median(votes) == 3
    assert 13 <= votes[int(0.95 * len(votes))] <= 18
    assert 0.08 < votes.count(0) / len(votes) < 0.2
    assert votes[0] == 0 and votes[-1] > 60


def test_length_sells(unequal):
    assert mean(words(a.text) > words(b.text) for (a, _), (b, _) in unequal) == pytest.approx(0.616, abs=0.02)


def test_length_sells_among_answers_of_one_kind(unequal):
    alike = [(a, b) for (a, x), (b, y) in unequal if x.kind == y.kind and words(a.text) != words(b.text)]
    assert len(alike) > 3_000
    assert 0.55 < mean(words(a.text) > words(b.text) for a, b in alike) < 0.65


def test_right_code_beats_wrong_code_mostly_and_a_judge_who_knows_all_is_wrong_at_times(unequal):
    right = [x.kind == "right" for (_, x), (_, y) in unequal if {x.kind, y.kind} == {"right", "wrong"}]
    assert len(right) > 2_000
    assert 0.75 < mean(right) < 0.8
    assert 0.75 < mean(x.quality > y.quality for (_, x), (_, y) in unequal) < 0.8


def test_score_by_hand():
    assert [score(votes) for votes in (-3, 0, 1, 3, 7)] == [0, 0, 1, 2, 3]


def test_pairs_by_hand():
    question = Question("q", (Answer("a", 1), Answer("b", -2), Answer("c", 5), Answer("d", 0), Answer("e", 1)))
    # b and d tie at no votes, a and e at one.
    assert pairs(question) == [
        ("a", "b"),
        ("c", "a"),
        ("a", "d"),
        ("c", "b"),
        ("e", "b"),
        ("c", "d"),
        ("c", "e"),
        ("e", "d"),
    ]
    assert pairs(question, most=2) == [("a", "b")]
    assert pairs(question, most=1) == pairs(Question("q", ())) == []


# --- reading ---

DEF = "def f ( xs ) :\n    return [ x for x in xs ]"


@pytest.mark.parametrize(
    "text, source",
    [
        ("``` def f ( xs ) : ⏎ ⇥ return [ x for x in xs ] ```", DEF),
        ("try this : ``` def f ( xs ) : ⏎ ⇥ return [ x for x in xs ] ``` good luck !", DEF),
        ("``` def f ( xs ) : ⏎ ⇥ return [ x for x in xs ]", DEF),  # never closed
        ("```def f ( xs ) :⏎⇥ return [ x for x in xs ]```", DEF),
        ("``` n = 0 ``` or ``` n = 1 ```", "n = 0"),
        ("``` ⏎ ⏎ n = 0 ⏎ ```", "n = 0"),
        ("``` if n : ⏎ ⇥ if n : ⏎ ⇥ ⇥ n = 1 ⏎ return n", "if n :\n    if n :\n        n = 1\nreturn n"),
        ("``` n = ⇥ 0", "n = ⇥ 0"),  # damage stays visible
        ("``` ⇥ ⇥", "        "),
        ("return it ⏎ please", ""),
        ("", ""),
        ("```", ""),
        ("``` ```", ""),
        ("Use this:\n\n```\nfor x in xs:\n    print(x)\n\n```\n\nIt works.", "for x in xs:\n    print(x)"),
        ("```python\nn = 0\n```", "n = 0"),
        ("```\n    n = 0\n    m = 1\n```", "n = 0\nm = 1"),
    ],
)
def test_program(text, source):
    assert program(text) == source


def test_plain_by_hand():
    text = "try this : ``` def f ( s ) : ⏎ ⇥ t = s . upper ( ) ⏎ ⇥ return t [ : : - 1 ] ``` a loop works , too . ok ?"
    code = "```\ndef f(s):\n    t = s.upper()\n    return t[::-1]\n```"
    assert plain(text) == f"try this:\n{code}\na loop works, too. ok?"
    assert plain("how do i write f ( xs ) ?") == "how do i write f(xs)?"
    assert plain("``` return xs [ - 1 ] if x in ( 1 , 2 )") == "```\nreturn xs[-1] if x in (1, 2)\n```"
    assert plain("") == "" and plain("a ⏎ ⇥ b") == "a\nb" and plain("``` ```") == "```\n\n```"


def test_plain_code_is_the_same_program(tasks):
    for task in random.Random(2).sample(tasks, 600):
        for code in codes(task):
            shown = plain(f"``` {code} ```")
            assert ast.dump(ast.parse(shown.strip("`"))) == ast.dump(ast.parse(program(f"``` {code} ```")))
            assert "( " not in shown and " )" not in shown and " :" not in shown


def test_reads_by_hand():
    assert reads("``` n = 0 ``` good luck ! good luck !") == {
        "words": 11, "has_code": 1, "compiles": 1, "courtesy": 2
    }  # fmt: skip
    assert reads("") == {"words": 0, "has_code": 0, "compiles": 0, "courtesy": 0}
    assert reads("just a loop")["compiles"] == 0


@pytest.mark.parametrize("code", ["def f ( xs", "return [ ] ]", "n = \0", "⇥ ⇥", "", "n = 0 ⏎ ⇥ n = 1"])
def test_broken_code_does_not_compile(code):
    assert reads(f"``` {code} ```")["compiles"] == 0


def test_odd_code_compiles_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reads("``` 0 ( xs ) ⏎ 1 is 1 ⏎ '\\d' ```")["compiles"] == 1


def test_deeply_nested_code_is_no_crash():
    assert reads("``` " + "- " * 10_000 + "1 ```")["compiles"] == 0
    assert reads("``` " + "[ " * 10_000)["compiles"] == 0


def test_the_readings_of_answers(told):
    read = [(reads(answer.text), hidden.kind) for answer, hidden in told[:3_000]]
    for found, kind in read:
        assert found["has_code"] == found["compiles"] == (kind in ("right", "wrong"))
    assert 0.05 < mean(found["courtesy"] for found, _ in read) < 0.3
    assert len(COURTESIES) == len(set(COURTESIES))
