"""Damage for parsers: bytes that differ from a good example by flips, cuts, insertions or doublings."""

from __future__ import annotations

from hypothesis import strategies as st


def mutants(*examples: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy of bytes near one of `examples`; none of them equals it."""

    @st.composite
    def damaged(draw: st.DrawFn) -> bytes:
        original = draw(st.sampled_from(examples))
        data = original
        for _ in range(draw(st.integers(1, 3))):
            start = draw(st.integers(0, len(data)))
            end = min(len(data), start + draw(st.integers(1, 8)))
            part = draw(
                st.one_of(
                    st.binary(max_size=4),
                    st.just(data[start:end] * 2),
                    st.just(bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in data[start:end])),
                )
            )
            data = data[:start] + part + data[end:]
        return data if data != original else original + b"\x00"

    return damaged()
