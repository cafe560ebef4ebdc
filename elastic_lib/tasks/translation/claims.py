"""The statements of Section 4, Section 5 and Appendices A and D on the Translation Game.

They are judged in the low-noise regime (two samples a source, four resets), where the two resets can be told apart;
some of Table 1 also in the paper's own (one sample, two resets), where their id ends in `faithful`. BLEU carries over:
sizes and likenesses are those of Table 1, FR→EN→DE / FR→EN: pretrained 23.8 / 36.2, FROZEN 30.8 / 36.3, REINFORCE
33.2 / 29.6, KL PENALTY 33.2 / 30.8, MULTITASK 32.2 / 35.2, Elastic Reset 32.9 / 36.3.
"""

from __future__ import annotations

from elastic_lib.evidence.measures import (
    DOMINANCE,
    ELASTIC,
    IDEAL,
    areas,
    larger_area,
    minus,
    over_resets,
    per_seed,
    tested,
)
from elastic_lib.evidence.verdicts import BY_CONSTRUCTION, OUR_OWN, OURS, Claim, no_worse
from elastic_lib.tasks.translation.facts import BY_THE_RULE, faithful, long
from elastic_lib.tasks.translation.measures import (
    ENGLISH,
    LSTM,
    TASK,
    combined,
    combined_over,
    combined_over_best,
    early_rise,
    elastic_with_kl_over_either,
    final,
    from_reset_to_reset,
    given_up,
    largest_move,
    lost,
    matched,
    over,
    over_best,
    recovered,
    repaired,
    since_start,
    swept,
)

NAMES = {"reinforce": "REINFORCE", "kl_lm": "KL PENALTY", "kl": "a KL to the initial speaker",
         "multitask": "MULTITASK", "to_ema": "RESET TO EMA", "to_init": "RESET"}  # fmt: skip
BASELINES, MATCHED = "translation-elastic-over-every-baseline", "translation-elastic-matched-over-reinforce-0"
LSTM_BEST = "translation-lstm-elastic-combined-over-every-baseline"
COUNTED = {"to_ema": "translation-elastic-area-over-to-ema", "to_init": "translation-elastic-area-over-to-init"}
BLEU = "BLEU"
SAME = "the same: within half of the least that a method loses in Table 1, MULTITASK's 1.0"


def _more(word: str, whose: str, size: float) -> dict:
    """An effect as large as the paper's word for it: more than half of its own number."""
    return dict(threshold=round(size / 2, 3), asks=f"{word}: more than half of the paper's own {size:g} ({whose})")


def _level(above: int) -> str:
    return "the best task score of FROZEN on that seed" + (f" and {above} BLEU more" if above else "")


DOMINATES = "functionally dominates for all levels of task performance it achieves:"
RESETS = "Appendix A.2, Table 4"  # where the paper shows the other two resets


def _matched_in(rival: str) -> str:
    """Where the paper compares at a matched task."""
    if rival in ("to_ema", "to_init"):
        return RESETS
    return "Section 5, Figure 3c" + ", and the abstract" * (rival == "reinforce")


def _counted(rival: str) -> str:
    """The claim that counts for what Elastic Reset has over a rival."""
    return COUNTED.get(rival, BASELINES)


FINDINGS = {  # of a notebook: each sentence is said where the verdicts are these, with the effects that they found
    "02": (
        (
            "Without resets the English loses {translation-reinforce-drifts:.0f} BLEU; Elastic Reset ends with "
            "{translation-elastic-drifts-less:.0f} more of it, and at the same score its English is "
            "{translation-elastic-matched-over-reinforce-0:.1f} BLEU better.",
            {
                "translation-reinforce-drifts": "supported",
                "translation-elastic-drifts-less": "supported",
                "translation-elastic-matched-over-reinforce-0": "supported",
            },
        ),
        (
            "A KL to the initial speaker, and Multitask, cover more than it does.",
            {
                "translation-elastic-area-over-best-kl": "refuted",
                "translation-elastic-area-over-best-multitask": "refuted",
            },
        ),
    ),
    "07": (
        (
            "With LSTMs the resets do not pay: Multitask and plain REINFORCE have the better combined scores.",
            {
                "translation-lstm-elastic-combined-over-multitask": "refuted",
                "translation-lstm-elastic-combined-over-reinforce": "refuted",
            },
        ),
    ),
    "10": (
        (
            "On captions that people wrote Elastic Reset speaks better than training without resets at the same score.",
            {"translation-elastic-matched-over-reinforce-0": "supported"},
        ),
    ),
}

CLAIMS = [
    Claim(
        "translation-frozen-does-not-drift",
        "As a sanity check, FROZEN ENGLISH does not drift …",
        "Section 4, Table 1",
        "largest change of validation FR→EN in the run",
        BLEU,
        lambda evidence: per_seed(evidence, largest_move, "frozen"),
        margin=1e-9,
        asks="exactly 0: nobody updates it",
        apart=BY_CONSTRUCTION,
    ),
    Claim(
        "translation-frozen-capped",
        "… but also does not achieve a very high task performance.",
        "Section 4, Table 1",
        "final test FR→EN→DE: REINFORCE minus FROZEN",
        BLEU,
        final(TASK, "reinforce", "frozen"),
        **_more("not very high", "30.8 against 33.2", 2.4),
    ),
    Claim(
        "translation-early-rise",
        "All learning models initially improve FR→EN performance.",
        "Section 4, Figure 3a",
        "best validation FR→EN of REINFORCE in the run minus the pretrained one",
        BLEU,
        lambda evidence: per_seed(evidence, early_rise, "reinforce"),
        threshold=0.5,
        asks=f"improves: by more than 0.5, since a best is never below the start ({OUR_OWN})",
    ),
    Claim(
        "translation-reinforce-drifts",
        "REINFORCE … drifts significantly.",
        "Section 4, Table 1",
        "test FR→EN lost by REINFORCE",
        BLEU,
        lost("reinforce"),
        **_more("significantly", "36.2 to 29.6", 6.6),
    ),
    Claim(
        "translation-reinforce-drifts-faithful",
        "The same in the paper's regime.",
        "Section 4, Table 1",
        "test FR→EN lost by REINFORCE",
        BLEU,
        lost("reinforce", **faithful("reinforce")),
        **_more("significantly", "36.2 to 29.6", 6.6),
        again="translation-reinforce-drifts",
    ),
    Claim(
        "translation-kl-lm-reduces-drift",
        "MULTITASK and KL PENALTY are both beneficial to reducing drift, but both represent a tradeoff: KL PENALTY …",
        "Section 4, Table 1",
        "final test FR→EN: KL to an English language model minus REINFORCE",
        BLEU,
        final(ENGLISH, "kl_lm", "reinforce"),
    ),
    Claim(
        "translation-kl-lm-high-task",
        "… achieves a high task score …",
        "Section 4, Table 1",
        "final test FR→EN→DE: KL to an English language model minus MULTITASK",
        BLEU,
        final(TASK, "kl_lm", "multitask"),
        **_more("high, where MULTITASK's is not", "33.2 against 32.2", 1.0),
    ),
    Claim(
        "translation-kl-lm-drifts",
        "… but drifts quite drastically.",
        "Section 4, Table 1",
        "test FR→EN lost under the KL to an English language model",
        BLEU,
        lost("kl_lm"),
        **_more("quite drastically", "36.2 to 30.8", 5.4),
    ),
    Claim(
        "translation-multitask-reduces-drift",
        "MULTITASK strongly reduces drift …",
        "Section 4, Table 1",
        "final test FR→EN: MULTITASK minus REINFORCE",
        BLEU,
        final(ENGLISH, "multitask", "reinforce"),
        **_more("strongly", "35.2 against 29.6", 5.6),
    ),
    Claim(
        "translation-multitask-lower-task",
        "… but does not achieve a high task score.",
        "Section 4, Table 1",
        "final test FR→EN→DE: REINFORCE minus MULTITASK",
        BLEU,
        final(TASK, "reinforce", "multitask"),
        **_more("not high", "32.2 against 33.2", 1.0),
    ),
    Claim(
        "translation-elastic-nearly-best-task",
        "Elastic Reset achieves nearly the best possible task score …",
        "Section 4, Table 1",
        "final test FR→EN→DE: Elastic Reset minus REINFORCE",
        BLEU,
        final(TASK, "elastic", "reinforce"),
        threshold=-0.6,
        asks="nearly: at most twice the paper's own 0.3 below (32.9 against 33.2)",
    ),
    Claim(
        "translation-elastic-keeps-english",
        "… while maintaining the same drift score as the initial model.",
        "Section 4, Table 1",
        "final test FR→EN of Elastic Reset minus the pretrained one",
        BLEU,
        since_start(ENGLISH, "elastic"),
        margin=0.5,
        asks=SAME,
    ),
    Claim(
        "translation-elastic-keeps-english-faithful",
        "The same in the paper's regime.",
        "Section 4, Table 1",
        "final test FR→EN of Elastic Reset minus the pretrained one",
        BLEU,
        since_start(ENGLISH, "elastic", **faithful("elastic")),
        margin=0.5,
        asks=SAME,
        again="translation-elastic-keeps-english",
    ),
    Claim(
        "translation-elastic-drifts-less",
        "Elastic Reset drifts less than REINFORCE.",
        "Section 4, Table 1",
        "final test FR→EN: Elastic Reset minus REINFORCE",
        BLEU,
        final(ENGLISH, "elastic", "reinforce"),
    ),
    Claim(
        "translation-elastic-drifts-less-faithful",
        "The same in the paper's regime.",
        "Section 4, Table 1",
        "final test FR→EN: Elastic Reset minus REINFORCE",
        BLEU,
        final(ENGLISH, "elastic", "reinforce", faithful),
        again="translation-elastic-drifts-less",
    ),
    Claim(
        "translation-stop-after-reset-english",
        "A checkpoint to keep: right after the last reset the English is the initial model's …",
        "ours, after Section 4",
        "test FR→EN right after the last reset minus the pretrained one",
        BLEU,
        since_start(ENGLISH, "elastic", "test_after_reset"),
        margin=0.5,
        asks=SAME,
        apart=OURS,
    ),
    Claim(
        "translation-stop-after-reset-task",
        "… and the task is above what FROZEN ends with.",
        "ours, after Section 4",
        "test FR→EN→DE right after Elastic Reset's last reset minus FROZEN's final one",
        BLEU,
        lambda evidence: minus(
            per_seed(evidence, tested(TASK, "test_after_reset"), "elastic"), per_seed(evidence, tested(TASK), "frozen")
        ),
        apart=OURS,
    ),
    Claim(
        "translation-reset-repairs",
        "After the reset we see a slight performance drop but also a big jump back in terms of FR→EN drift.",
        "Section 4, Figure 3",
        "validation FR→EN won at a reset minus FR→EN→DE lost at it, mean over resets",
        BLEU,
        lambda evidence: over_resets(evidence, lambda reset: repaired(reset) - given_up(reset)),
    ),
    Claim(
        "translation-task-recovers",
        "The task performance recovers within 5k of 23k steps …",
        "Section 4, Figure 3b, and the abstract",
        "share of resets after which the validation task is back at our next evaluation, 40 of 140 updates later",
        "of the resets",
        recovered,
        threshold=0.5,
        asks=f"recovers: after more than half of the resets ({OUR_OWN}; 5 of 23 are 31 of 140)",
    ),
    Claim(
        "translation-drift-does-not-return",
        "… the drift performance does not degrade to previous levels.",
        "Section 4, Figure 3a",
        "validation FR→EN before the second reset minus before the first",
        BLEU,
        from_reset_to_reset(lambda one, two: two.before[ENGLISH] - one.before[ENGLISH]),
    ),
    Claim(
        "translation-second-reset-smaller",
        "For the second reset, the EMA model is slightly more drifted and so the reset is less pronounced.",
        "Section 4, Figure 3",
        "validation FR→EN won at the first reset minus that won at the second",
        BLEU,
        from_reset_to_reset(lambda one, two: repaired(one) - repaired(two)),
    ),
    Claim(
        BASELINES,
        "Elastic Reset outperforms all baselines: the best method for all levels of task performance it achieves.",
        "Section 5, Figure 3c, and the abstract",
        DOMINANCE.format("Elastic Reset", "the best of REINFORCE, SIL, the KLs and MULTITASK, each at any coefficient"),
        IDEAL,
        over_best("reinforce", "sil", "kl_lm", "kl", "multitask"),
    ),
    *(
        Claim(
            f"translation-elastic-area-over-{rival.replace('_', '-')}",
            f"Elastic Reset {does} {NAMES[rival]}.",
            where,
            DOMINANCE.format("Elastic Reset", NAMES[rival]),
            IDEAL,
            over(rival),
            again=BASELINES if rival not in COUNTED else "",
        )
        for rival, where, does in (
            ("reinforce", "Section 5, Figure 3c", DOMINATES),
            ("kl_lm", "Section 5, Figure 3c", DOMINATES),
            ("multitask", "Section 5, Figure 3c", DOMINATES),
            ("kl", "Appendix A.2, Table 4", DOMINATES),
            ("to_ema", RESETS, "does better than"),
            ("to_init", RESETS, "does better than"),
        )
    ),
    *(
        Claim(
            f"translation-elastic-area-over-best-{rival.replace('_', '-')}",
            f"… and over {NAMES[rival]} at its best coefficient.",
            "Section 5, Figures 3c and 12",
            DOMINANCE.format("Elastic Reset", f"{NAMES[rival]} with whichever coefficient leaves the least"),
            IDEAL,
            over_best(rival),
            again=BASELINES,
        )
        for rival in ("kl_lm", "multitask", "kl")
    ),
    *(
        Claim(
            f"translation-elastic-matched-over-{rival.replace('_', '-')}-{above}",
            f"At a matched task, {above} BLEU above FROZEN's best, Elastic Reset speaks better than {NAMES[rival]}.",
            _matched_in(rival),
            f"best validation FR→EN at {_level(above)}: Elastic Reset minus {NAMES[rival]}",
            BLEU,
            matched(rival, above),
            again=("" if not above else MATCHED) if rival == "reinforce" else _counted(rival),
        )
        for rival in ("reinforce", "to_ema", "to_init", "kl_lm", "kl", "multitask")
        for above in (0, 1)
    ),
    *(
        Claim(
            f"translation-long-area-over-{rival.replace('_', '-')}",
            f"In games twice as long, with resets twice as far apart, Elastic Reset dominates {NAMES[rival]}.",
            RESETS,
            DOMINANCE.format("Elastic Reset", NAMES[rival]),
            IDEAL,
            over(rival, long),
            again=_counted(rival),
        )
        for rival in ("reinforce", "to_ema", "to_init")
    ),
    *(
        Claim(
            f"translation-long-matched-over-{rival.replace('_', '-')}-{above}",
            f"There, at a task {above} BLEU above FROZEN's best, Elastic Reset speaks better than {NAMES[rival]}.",
            "Section 5, Appendix A.2",
            f"best validation FR→EN at {_level(above)}: Elastic Reset minus {NAMES[rival]}",
            BLEU,
            matched(rival, above, long),
            again=MATCHED if rival == "reinforce" else _counted(rival),
        )
        for rival in ("reinforce", "to_ema", "to_init")
        for above in (0, 2)
    ),
    Claim(
        "translation-elastic-with-kl-best",
        "The expensive KL penalty may be replaced with the cheap Elastic Reset, although the combination is best.",
        "Section 6",
        DOMINANCE.format("Elastic Reset with the KL of KL alone", "whichever of the two apart leaves the least"),
        IDEAL,
        elastic_with_kl_over_either,
    ),
    Claim(
        "translation-sil-fails",
        "SIL does not manage to outperform the REINFORCE baseline.",
        "Section 4, Table 1",
        "final test FR→EN→DE: REINFORCE minus SIL",
        BLEU,
        final(TASK, "reinforce", "sil"),
    ),
    Claim(
        "translation-gumbel-similar",
        "Gumbel-Softmax is also feasible and preliminary results have been similar.",
        "Appendix A.2",
        "hypervolume of Gumbel-Softmax minus that of REINFORCE",
        IDEAL,
        lambda evidence: minus(areas(evidence, "gumbel"), areas(evidence, "reinforce")),
        margin=0.03,
        asks=f"similar: within 0.03 ({OUR_OWN})",
    ),
    Claim(
        "translation-kl-frontiers-differ-slightly",
        "Different coefficients of KL have slightly different frontiers …",
        "Appendix D.3, Figure 12",
        "largest minus smallest hypervolume over β of the KL to an English language model",
        IDEAL,
        swept("kl_lm", "kl_lm"),
        margin=0.05,
        asks=f"slightly: within 0.05 ({OUR_OWN})",
    ),
    Claim(
        "translation-elastic-robust-to-beta",
        "… while Elastic Reset is relatively unaffected by its KL coefficient.",
        "Appendix D.3, Figure 13",
        "largest minus smallest hypervolume over β: that of the KL to the initial speaker minus Elastic Reset's",
        IDEAL,
        lambda evidence: minus(swept("kl", "kl")(evidence), swept("elastic", "elastic")(evidence)),
    ),
    Claim(
        "translation-elastic-robust-to-decay",
        "Elastic Reset is quite robust to the choice of decay.",
        "Appendix D.4, Figure 17",
        "largest minus smallest hypervolume over η (from 0.9 to 0.001 of θ0 left at a reset)",
        IDEAL,
        swept("decay", "elastic"),
        margin=0.05,
        asks=f"quite robust: within 0.05 ({OUR_OWN})",
    ),
    no_worse(
        "translation-rule-of-thumb",
        "How often belongs to the run, not to the task: two resets, one after each third, with half of θ0 left in the "
        "average, do as well as the four that the game has here.",
        "Beyond the paper: when to reset",
        "area of the frontier: resets after 201 and 402 of 600 updates minus resets after every 140",
        larger_area(BY_THE_RULE, ELASTIC),
        only_at="pocket",
    ),
    Claim(
        LSTM_BEST,
        "With LSTMs, Elastic Reset has the best combined score of all.",
        "Appendix A.3, Table 6",
        "test change of FR→EN plus change of FR→EN→DE: Elastic Reset minus the best of REINFORCE, LM, MULTITASK, SIL",
        BLEU,
        combined_over_best("reinforce", "kl_lm", "multitask", "sil"),
    ),
    *(
        Claim(
            f"translation-lstm-elastic-combined-over-{rival.replace('_', '-')}",
            f"With LSTMs, Elastic Reset has the best combined score: over {name}.",
            "Appendix A.3, Table 6",
            f"test change of FR→EN plus change of FR→EN→DE: Elastic Reset minus {name}",
            BLEU,
            combined_over(rival),
            again=LSTM_BEST,
        )
        for rival, name in (("reinforce", "REINFORCE"), ("kl_lm", "LM"), ("multitask", "MULTITASK"), ("sil", "SIL"))
    ),
    Claim(
        "translation-lstm-elastic-keeps-english",
        "With LSTMs, Elastic Reset ends without drift.",
        "Appendix A.3, Table 6",
        "final test FR→EN of Elastic Reset minus the pretrained one",
        BLEU,
        since_start(ENGLISH, "elastic", **LSTM),
        margin=0.55,
        asks="without drift: within half of the least that a method loses in Table 6, LM's 1.1",
    ),
    Claim(
        "translation-lstm-sil-fails",
        "With LSTMs too, SIL gains nothing over REINFORCE.",
        "Appendix A.3, Table 6",
        "test change of FR→EN plus change of FR→EN→DE: REINFORCE minus SIL",
        BLEU,
        lambda evidence: minus(combined("reinforce")(evidence), combined("sil")(evidence)),
    ),
]
