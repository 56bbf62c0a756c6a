"""Combinators: what people bolt on to the loop of an RNN, as functions from a sequence rule to a sequence rule.

The problem. Truncation, checkpointing, reversal, sequences of different lengths, a look at the gradients on their way:
each is usually another loop, with another chance to get the backward pass wrong, in every cell. Here the loops are
written once, in ``rnn.py``, ``lstm.py`` and ``gru.py``, and everything else wraps them, tested by one law each.

A *sequence rule* is a rule whose positional arguments stand in the order ``(*sequences, *states, *weights)``. The
states are the arguments whose names end in ``_0``; what stands before them is a sequence, ``(T, ..., B)``; what comes
after is a weight. It returns ``(ys, *ends)``: a sequence, and for each state the one that the last step leaves. A *step
rule* does one step of that: its states end in ``_prev``, and what it returns are the new states, the first of which is
also its output. Nobody declares anything: the names are the declaration. Columns, the last axis, are the batch.

| combinator | law |
|---|---|
| ``scan(step)`` | equals the sequence rule of that step |
| ``attentive(step)`` | equals the decoder composed of step, scores, softmax and products on the tape |
| ``zoneout(step)`` | a unit kept passes its cotangent on unchanged, one not kept as the step does |
| ``projected(rule)`` | equals projecting first: ``rule(W_ih @ xs + b, ...)`` |
| ``looked_up(rule)`` | equals projecting the embedding of every token |
| ``reverse(rule)`` | equals flipping the data by hand, the valid part of each sequence only |
| ``ragged(rule)`` | equals running every sequence by itself, without its padding |
| ``truncate(rule, window)`` | equals a numeric gradient with the state that enters each window frozen |
| ``truncate_randomly(rule, window, probability)`` | its gradient is that of the whole sequence in expectation |
| ``clip_through_time(rule, max_norm)`` | no column's cotangent passes a boundary with a larger norm; small ones as is |
| ``checkpoint(rule, every)`` | the same gradients from a fraction of the memory |
| ``in_runs(rule)`` | changes nothing but the memory in use at a time |
| ``shard(rule)`` | the same gradients, whatever the number of workers |
| ``observe(rule, probe)`` | recording changes no bit |

They nest, in this order: ``shard(reverse(truncate(in_runs(ragged(projected(lstm))), 20)))`` is a sequence rule again,
and what a layer of ``minirnn.nn`` is made of. The projection stands inside, then come lengths, then windows, then
reversal, outermost the sharing out. Orders that would mean another thing are refused.

One of them makes something else of a step: ``attentive(step)`` looks into a memory, which stands behind the states, a
column of it for every sequence, and returns more than ``(ys, *ends)``. Of the others only ``shard`` takes it.
"""

from minirnn.rules.combinators.attending import attentive
from minirnn.rules.combinators.observing import Record, observe
from minirnn.rules.combinators.ordering import ragged, reverse
from minirnn.rules.combinators.sharing import shard
from minirnn.rules.combinators.stepping import looked_up, projected, scan, zoneout
from minirnn.rules.combinators.windows import checkpoint, clip_through_time, in_runs, truncate, truncate_randomly

__all__ = [
    "Record",
    "attentive",
    "checkpoint",
    "clip_through_time",
    "in_runs",
    "looked_up",
    "observe",
    "projected",
    "ragged",
    "reverse",
    "scan",
    "shard",
    "truncate",
    "truncate_randomly",
    "zoneout",
]
