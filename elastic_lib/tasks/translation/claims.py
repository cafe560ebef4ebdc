"""The statements of Section 4, Section 5 and Appendices A and D on the Translation Game.

They are judged in the low-noise regime (two samples a source, four resets), where the two resets can be told apart;
some of Table 1 also in the paper's own (one sample, two resets), where their id ends in `faithful`.
"""

from __future__ import annotations

from elastic_lib.evidence.measures import areas, minus, over_resets, per_seed, tested
from elastic_lib.evidence.verdicts import Claim
from elastic_lib.tasks.translation.facts import faithful, long
from elastic_lib.tasks.translation.measures import (
    ENGLISH,
    LSTM,
    TASK,
    combined,
    combined_over,
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
AREA = "hypervolume of Elastic Reset minus that of {}, equal evaluation steps, as a share of the ideal"

CLAIMS = [
    Claim(
        "translation-frozen-does-not-drift",
        "As a sanity check, FROZEN ENGLISH does not drift …",
        "Section 4, Table 1",
        "largest change of validation FR→EN BLEU in the run; it is exactly 0",
        lambda evidence: per_seed(evidence, largest_move, "frozen"),
        margin=1e-9,
    ),
    Claim(
        "translation-frozen-capped",
        "… but also does not achieve a very high task performance.",
        "Section 4, Table 1",
        "final test FR→EN→DE: REINFORCE minus FROZEN",
        final(TASK, "reinforce", "frozen"),
    ),
    Claim(
        "translation-early-rise",
        "All learning models initially improve FR→EN performance.",
        "Section 4, Figure 3a",
        "best validation FR→EN of REINFORCE in the run minus the pretrained one; improves: by more than 0.5 BLEU",
        lambda evidence: per_seed(evidence, early_rise, "reinforce"),
        threshold=0.5,
    ),
    Claim(
        "translation-reinforce-drifts",
        "REINFORCE achieves the best possible task performance but drifts significantly.",
        "Section 4, Table 1",
        "test FR→EN lost by REINFORCE; significantly: more than 10 BLEU",
        lost("reinforce"),
        threshold=10.0,
    ),
    Claim(
        "translation-reinforce-drifts-faithful",
        "The same in the paper's regime.",
        "Section 4, Table 1",
        "test FR→EN lost by REINFORCE",
        lost("reinforce", **faithful("reinforce")),
    ),
    Claim(
        "translation-kl-lm-reduces-drift",
        "MULTITASK and KL PENALTY are both beneficial to reducing drift, but both represent a tradeoff: KL PENALTY …",
        "Section 4, Table 1",
        "final test FR→EN: KL to an English language model minus REINFORCE",
        final(ENGLISH, "kl_lm", "reinforce"),
    ),
    Claim(
        "translation-kl-lm-high-task",
        "… achieves a high task score …",
        "Section 4, Table 1",
        "final test FR→EN→DE: KL to an English language model minus MULTITASK",
        final(TASK, "kl_lm", "multitask"),
    ),
    Claim(
        "translation-kl-lm-drifts",
        "… but drifts quite drastically.",
        "Section 4, Table 1",
        "test FR→EN lost under the KL to an English language model; drastically: more than 4 BLEU (the paper's 5.4)",
        lost("kl_lm"),
        threshold=4.0,
    ),
    Claim(
        "translation-multitask-reduces-drift",
        "MULTITASK strongly reduces drift …",
        "Section 4, Table 1",
        "final test FR→EN: MULTITASK minus REINFORCE",
        final(ENGLISH, "multitask", "reinforce"),
    ),
    Claim(
        "translation-multitask-lower-task",
        "… but does not achieve a high task score.",
        "Section 4, Table 1",
        "final test FR→EN→DE: REINFORCE minus MULTITASK",
        final(TASK, "reinforce", "multitask"),
    ),
    Claim(
        "translation-elastic-nearly-best-task",
        "Elastic Reset achieves nearly the best possible task score …",
        "Section 4, Table 1",
        "final test FR→EN→DE: Elastic Reset minus REINFORCE; nearly: above −1 BLEU",
        final(TASK, "elastic", "reinforce"),
        threshold=-1.0,
    ),
    Claim(
        "translation-elastic-keeps-english",
        "… while maintaining the same drift score as the initial model.",
        "Section 4, Table 1",
        "final test FR→EN minus the pretrained one; the same: within 1.5 BLEU",
        since_start(ENGLISH, "elastic"),
        margin=1.5,
    ),
    Claim(
        "translation-elastic-keeps-english-faithful",
        "The same in the paper's regime.",
        "Section 4, Table 1",
        "final test FR→EN minus the pretrained one; the same: within 1.5 BLEU",
        since_start(ENGLISH, "elastic", **faithful("elastic")),
        margin=1.5,
    ),
    Claim(
        "translation-elastic-drifts-less",
        "Elastic Reset drifts less than REINFORCE.",
        "Section 4, Table 1",
        "final test FR→EN: Elastic Reset minus REINFORCE",
        final(ENGLISH, "elastic", "reinforce"),
    ),
    Claim(
        "translation-elastic-drifts-less-faithful",
        "The same in the paper's regime.",
        "Section 4, Table 1",
        "final test FR→EN: Elastic Reset minus REINFORCE",
        final(ENGLISH, "elastic", "reinforce", faithful),
    ),
    Claim(
        "translation-stop-after-reset-english",
        "A checkpoint to keep: right after the last reset the English is the initial model's …",
        "ours, after Section 4",
        "test FR→EN right after the last reset minus the pretrained one; the same: within 1.5 BLEU",
        since_start(ENGLISH, "elastic", "test_after_reset"),
        margin=1.5,
    ),
    Claim(
        "translation-stop-after-reset-task",
        "… and the task is above what FROZEN ends with.",
        "ours, after Section 4",
        "test FR→EN→DE right after Elastic Reset's last reset minus FROZEN's final one",
        lambda evidence: minus(
            per_seed(evidence, tested(TASK, "test_after_reset"), "elastic"), per_seed(evidence, tested(TASK), "frozen")
        ),
    ),
    Claim(
        "translation-reset-repairs",
        "After the reset we see a slight performance drop but also a big jump back in terms of FR→EN drift.",
        "Section 4, Figure 3",
        "validation FR→EN won at a reset minus FR→EN→DE lost at it, mean over resets",
        lambda evidence: over_resets(evidence, lambda reset: repaired(reset) - given_up(reset)),
    ),
    Claim(
        "translation-task-recovers",
        "The task performance recovers within 5k of 23k steps …",
        "Section 4, Figure 3b",
        "share of resets after which the task is back within a third of the interval, our next evaluation; above 0.5",
        recovered,
        threshold=0.5,
    ),
    Claim(
        "translation-drift-does-not-return",
        "… the drift performance does not degrade to previous levels.",
        "Section 4, Figure 3a",
        "validation FR→EN before the second reset minus before the first",
        from_reset_to_reset(lambda one, two: two.before[ENGLISH] - one.before[ENGLISH]),
    ),
    Claim(
        "translation-second-reset-smaller",
        "For the second reset, the EMA model is slightly more drifted and so the reset is less pronounced.",
        "Section 4, Figure 3",
        "validation FR→EN won at the first reset minus that won at the second",
        from_reset_to_reset(lambda one, two: repaired(one) - repaired(two)),
    ),
    *(
        Claim(
            f"translation-elastic-area-over-{rival.replace('_', '-')}",
            f"Elastic Reset functionally dominates for all levels of task performance it achieves: {NAMES[rival]}.",
            where,
            AREA.format(NAMES[rival]),
            over(rival),
        )
        for rival, where in (
            ("reinforce", "Section 5, Figure 3c"),
            ("kl_lm", "Section 5, Figure 3c"),
            ("multitask", "Section 5, Figure 3c"),
            ("kl", "Appendix A.2, Table 4"),
            ("to_ema", "Appendix D, Table 4"),
            ("to_init", "Appendix D, Table 4"),
        )
    ),
    *(
        Claim(
            f"translation-elastic-area-over-best-{rival.replace('_', '-')}",
            f"… and over {NAMES[rival]} at its best coefficient.",
            "Section 5, Figures 3c and 12",
            AREA.format(f"{NAMES[rival]} with whichever coefficient has the largest"),
            over_best(rival),
        )
        for rival in ("kl_lm", "multitask", "kl")
    ),
    *(
        Claim(
            f"translation-elastic-matched-over-{rival.replace('_', '-')}-{above}",
            f"At a matched task, {above} BLEU above FROZEN's best, Elastic Reset speaks better than {NAMES[rival]}.",
            "Section 5, Figure 3c",
            f"best validation FR→EN at that task: Elastic Reset minus {NAMES[rival]}",
            matched(rival, above),
        )
        for rival in ("reinforce", "to_ema", "to_init", "kl_lm", "kl", "multitask")
        for above in (0, 1)
    ),
    *(
        Claim(
            f"translation-long-area-over-{rival.replace('_', '-')}",
            f"In games twice as long, with resets twice as far apart, Elastic Reset dominates {NAMES[rival]}.",
            "Appendix D, Table 4",
            AREA.format(NAMES[rival]),
            over(rival, long),
        )
        for rival in ("reinforce", "to_ema", "to_init")
    ),
    *(
        Claim(
            f"translation-long-matched-over-{rival.replace('_', '-')}-{above}",
            f"There, at a task {above} BLEU above FROZEN's best, Elastic Reset speaks better than {NAMES[rival]}.",
            "Section 5, Appendix D",
            f"best validation FR→EN at that task: Elastic Reset minus {NAMES[rival]}",
            matched(rival, above, long),
        )
        for rival in ("reinforce", "to_ema", "to_init")
        for above in (0, 2)
    ),
    Claim(
        "translation-elastic-with-kl-best",
        "The expensive KL penalty may be replaced with the cheap Elastic Reset, although the combination is best.",
        "Section 6",
        "hypervolume of Elastic Reset with the KL of KL alone (β=0.05) minus the larger of the two apart",
        elastic_with_kl_over_either,
    ),
    Claim(
        "translation-sil-fails",
        "SIL does not manage to outperform the REINFORCE baseline.",
        "Section 4, Table 1",
        "final test FR→EN→DE: REINFORCE minus SIL",
        final(TASK, "reinforce", "sil"),
    ),
    Claim(
        "translation-gumbel-similar",
        "Gumbel-Softmax is also feasible and preliminary results have been similar.",
        "Appendix A.2",
        "hypervolume of Gumbel-Softmax minus that of REINFORCE; similar: within 0.03",
        lambda evidence: minus(areas(evidence, "gumbel"), areas(evidence, "reinforce")),
        margin=0.03,
    ),
    Claim(
        "translation-kl-frontiers-differ-slightly",
        "Different coefficients of KL have slightly different frontiers …",
        "Appendix D.3, Figure 12",
        "largest minus smallest hypervolume over β of the KL to an English language model; slightly: within 0.05",
        swept("kl_lm", "kl_lm"),
        margin=0.05,
    ),
    Claim(
        "translation-elastic-robust-to-beta",
        "… while Elastic Reset is relatively unaffected by its KL coefficient.",
        "Appendix D.3, Figure 13",
        "spread of hypervolume over β: KL to the initial speaker minus Elastic Reset",
        lambda evidence: minus(swept("kl", "kl")(evidence), swept("elastic", "elastic")(evidence)),
    ),
    Claim(
        "translation-elastic-robust-to-decay",
        "Elastic Reset is quite robust to the choice of decay.",
        "Appendix D.4, Figure 17",
        "largest minus smallest hypervolume over η (from 0.9 to 0.001 of θ0 left at a reset); robust: within 0.05",
        swept("decay", "elastic"),
        margin=0.05,
    ),
    *(
        Claim(
            f"translation-lstm-elastic-combined-over-{rival.replace('_', '-')}",
            f"With LSTMs, Elastic Reset has the best combined score: over {name}.",
            "Appendix A.3, Table 6",
            f"test change of FR→EN plus change of FR→EN→DE: Elastic Reset minus {name}",
            combined_over(rival),
        )
        for rival, name in (("reinforce", "REINFORCE"), ("kl_lm", "LM"), ("multitask", "MULTITASK"), ("sil", "SIL"))
    ),
    Claim(
        "translation-lstm-elastic-keeps-english",
        "With LSTMs, Elastic Reset ends without drift.",
        "Appendix A.3, Table 6",
        "final test FR→EN minus the pretrained one; the same: within 1.5 BLEU",
        since_start(ENGLISH, "elastic", **LSTM),
        margin=1.5,
    ),
    Claim(
        "translation-lstm-sil-fails",
        "With LSTMs too, SIL gains nothing over REINFORCE.",
        "Appendix A.3, Table 6",
        "test combined score: REINFORCE minus SIL",
        lambda evidence: minus(combined("reinforce")(evidence), combined("sil")(evidence)),
    ),
]
