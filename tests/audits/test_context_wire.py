"""What is lent to an audit: refused when malformed, unchanged when sound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.audits.context import PeerGroup
from registry.audits.context_wire import lent_from_bytes, lent_to_bytes
from registry.audits.task import NOTHING_LENT, Lent
from registry.errors import FormatError

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"peers":null}',
        b'{"peers":null,"sketch_key":"00"}',
        b'{"peers":null,"sketch_key":7}',
        b'{"peers":[],"sketch_key":null}',
        b'{"peers":{"label":"x","names":["a"],"rows":[["1","2"]]},"sketch_key":null}',
        b'{"peers":{"label":"x","names":["a"],"rows":[["nan"]]},"sketch_key":null}',
        b'{"peers":{"label":"x","names":["a"],"rows":[["inf"]]},"sketch_key":null}',
        b'{"peers":{"label":"x","names":["a"],"rows":[["much"]]},"sketch_key":null}',
        b'{"more":1,"peers":null,"sketch_key":null}',
    ],
)
def test_what_is_malformed_is_refused(data):
    with pytest.raises(FormatError):
        lent_from_bytes(data)


@given(st.binary(max_size=200))
def test_no_bytes_end_in_another_error(data):
    try:
        lent_from_bytes(data)
    except FormatError:
        return


def test_nothing_lent_is_nothing():
    assert lent_from_bytes(lent_to_bytes(NOTHING_LENT)) == (None, None)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=5), st.binary(min_size=32, max_size=32))
def test_peers_and_key_come_back_bit_for_bit(rows, key):
    group = PeerGroup("sd15, rank 8", ("a", "b"), tuple(rows))
    assert lent_from_bytes(lent_to_bytes(Lent(peers=group, sketch_key=key))) == (group, key)
    assert key.hex() not in repr(Lent(sketch_key=key))
