"""How a policy learns: loops that know no task, made of networks, callables and plain numbers.

ppo.py          PPO with NLPO's mask; what a prompt is and what is paid for are functions that it is given
reinforce.py    the Translation Game of a speaker and a listener
distill.py      Seeded Iterated Learning, around a game
rehearsal.py    the best of what was said at first, learned again beside each step
walk.py         what learns nothing: straight_line.py, best_of_n.py
resetting.py    what belongs to a reset: average, schedule, cadence, what is cleared, what a KL is taken against
optimiser.py · checks.py · stopwatch.py · movement.py     steps, what stops a run, seconds, places in weight space
processes.py    several processes on one run
pretraining.py · trl_stages.py     what comes before, by a loop of ours or by TRL's trainers

Every loop has `update()`, `tick()`, `step`, `iteration`, `model`, `beta`, `seconds`, `resetting`, `MEANS` and a state.
"""
