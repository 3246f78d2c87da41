"""What our statements say: one module per predicate, one frozen dataclass in each.

Every predicate has `TYPE` (its URI), `moment` (when it was said, RFC 3339), `subjects()`, `to_json()`
and `from_json()`; `registry.formats.predicates.predicate` turns them into statements and back.
"""
