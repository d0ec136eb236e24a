"""Contests drawn at random, and what becomes of their logits by the definition, in numpy alone."""

import numpy as np
from hypothesis import strategies as st

from clipseg_ray.masks.competition import Contest, Output

LOST = np.finfo(np.float32).min


def expressions(prompts):
    """Places of that many prompts, and terms over them."""
    places = st.integers(0, prompts - 1)
    return st.recursive(
        places,
        lambda inner: st.one_of(
            st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3).map(tuple)),
            st.tuples(st.just("not"), st.tuples(inner)),
        ),
        max_leaves=5,
    )


@st.composite
def contests(draw, most=6):
    """A contest of a few groups (with members that are not written), of suppressed queries and of expressions."""
    prompts = draw(st.integers(2, most))
    places = st.integers(0, prompts - 1)
    rules = []
    for _ in range(draw(st.integers(0, 2))):
        group = tuple(draw(st.permutations(range(prompts)))[: draw(st.integers(2, prompts))])
        weights = tuple(draw(st.sampled_from([1.0, 1.0, 3.0, 0.25])) for _ in group)
        written = draw(st.sets(st.sampled_from(group), min_size=1))
        rules += [{"logits": member, "group": group, "weights": weights} for member in sorted(written)]
    for _ in range(draw(st.integers(0, 3))):
        rivals = tuple(draw(st.lists(expressions(prompts), min_size=1, max_size=3)))
        rules.append({"logits": draw(places), "rivals": rivals})
    for _ in range(draw(st.integers(0 if rules else 1, 3))):
        rules.append({"logits": draw(expressions(prompts))})
    queries = draw(st.permutations(range(len(rules))))
    outputs = tuple(Output(query=query, **rule) for query, rule in zip(queries, rules, strict=True))
    return Contest(prompts=tuple(range(prompts)), outputs=outputs)


def value(expression, logits_m):
    """AND is the minimum, OR the maximum, NOT the negative."""
    if isinstance(expression, int):
        return logits_m[expression]
    operator, operands = expression
    values = [value(operand, logits_m) for operand in operands]
    return {"and": np.minimum.reduce, "or": np.maximum.reduce, "not": lambda one: -one[0]}[operator](values)


def log_sigmoid(x):
    """In float64."""
    return -np.logaddexp(0.0, -x.astype(np.float64))


def decided(contest, logits_m, log_probability=log_sigmoid):
    """The maps [k, …] of the contest's queries; `log_probability` decides weighted groups, in float32."""
    maps = []
    for output in contest.outputs:
        own = value(output.logits, logits_m)
        takes = np.ones(own.shape, bool)
        if output.group:
            keys = logits_m[list(output.group)]
            if any(weight != 1 for weight in output.weights):
                weights = np.log(np.array(output.weights)).astype(np.float32)
                weights = weights.reshape(-1, *[1] * (keys.ndim - 1))
                keys = log_probability(keys).astype(np.float32) + weights
            takes &= keys.argmax(0) == output.group.index(output.logits)  # numpy's, too, is the first
        for rival in output.rivals:
            takes &= own > value(rival, logits_m)
        maps.append(np.where(takes, own, LOST))
    return np.stack(maps)
