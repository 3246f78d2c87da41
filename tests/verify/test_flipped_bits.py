"""One flipped bit anywhere in what a recipient gets is refused, with the exit code of its kind."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.errors import LorasealError
from registry.formats.canonical import dump_canonical
from registry.sealing.seal import read_header
from registry.verify.session import Task, run_verification
from registry.verify.steps import verify_bundle, verify_status
from tests.verify.world import NOW, Delivered, Script, World

_SETTINGS = settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


@pytest.fixture(scope="module")
def linked(world: World) -> Delivered:
    """A delivery with every part that a bundle can have."""
    first = verify_bundle(world.given(world.deliver()))
    return world.deliver(script=Script(old_checkpoint=first.position.note))


def _code(world: World, delivered: Delivered, bundle: bytes, *, mine: bool = True) -> int:
    identities = (delivered.recipient.identity,) if mine else ()
    try:
        verified = verify_bundle(world.given(delivered, bundle=bundle, identities=identities))
        verify_status(verified, NOW)
    except LorasealError as error:
        return error.exit_code
    return 0


@_SETTINGS
@given(data=st.data())
def test_flipped_bit_in_the_bundle_is_refused(
    world: World, linked: Delivered, data: st.DataObject
) -> None:
    bundle = bytearray(linked.bundle_bytes)
    position = data.draw(st.integers(0, len(bundle) - 1))
    bundle[position] ^= 1 << data.draw(st.integers(0, 7))
    assert _code(world, linked, bytes(bundle), mine=data.draw(st.booleans())) in (4, 5)


@_SETTINGS
@given(data=st.data())
def test_flipped_bit_inside_a_part_has_the_exit_code_of_that_part(
    world: World, linked: Delivered, data: st.DataObject
) -> None:
    """Bits of decoded values, so that the bundle stays well-formed and only its meaning breaks."""
    import base64

    body = json.loads(linked.bundle_bytes)
    paths = {
        ("keyset", "payload"): {5},
        ("delivery", "envelope", "payload"): {5},
        ("release", "envelope", "payload"): {5},
        ("intake", "envelope", "payload"): {5},
        ("verdicts", 1, "envelope", "payload"): {5},
        ("status", "payload"): {5},
        ("delivery", "envelope", "signatures", 0, "sig"): {5},
        ("status", "signatures", 0, "sig"): {5},
        ("release", "salt"): {5},
        ("consistency", 0, "hashes", 0): {5},
        ("sealed_part",): {4},
    }
    path, codes = data.draw(st.sampled_from(sorted(paths.items(), key=str)))
    holder = body
    for key in path[:-1]:
        holder = holder[key]
    value = bytearray(base64.b64decode(holder[path[-1]]))
    value[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    holder[path[-1]] = base64.b64encode(value).decode()
    assert _code(world, linked, dump_canonical(body)) in codes


@_SETTINGS
@given(data=st.data())
def test_flipped_bit_in_a_proof_is_exit_5(
    world: World, linked: Delivered, data: st.DataObject
) -> None:
    body = json.loads(linked.bundle_bytes)
    name, key = data.draw(
        st.sampled_from(
            [("intake", "proof"), ("delivery", "proof"), ("consistency", "old_checkpoint")]
        )
    )
    holder = body[name][0] if name == "consistency" else body[name]
    proof = bytearray(holder[key].encode())
    proof[data.draw(st.integers(0, len(proof) - 1))] ^= 1 << data.draw(st.integers(0, 6))
    try:
        holder[key] = proof.decode()
    except UnicodeDecodeError:
        return
    assert _code(world, linked, dump_canonical(body)) == 5


@_SETTINGS
@given(data=st.data())
def test_flipped_bit_in_the_sealed_file_is_content_mismatch(
    world: World,
    delivered: Delivered,
    archive: Delivered,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    made = data.draw(st.sampled_from([delivered, archive]))
    sealed = bytearray(made.sealed)
    header = len(read_header(io.BytesIO(made.sealed))[1])
    place = data.draw(st.one_of(st.integers(0, header + 20), st.integers(0, len(sealed) - 1)))
    sealed[place] ^= 1 << data.draw(st.integers(0, 7))
    folder = tmp_path_factory.mktemp("flip")
    (folder / "x.age").write_bytes(sealed)
    with_identity = data.draw(st.booleans())
    identities = (made.recipient.identity,) if with_identity else ()
    task = Task(world.given(made, identities=identities), folder / "x.age", out=folder / "out")
    report, file_key = run_verification(task)
    assert (report.exit_code, file_key) == (4, None)
    assert sorted(path.name for path in folder.iterdir()) == ["x.age"]


@pytest.mark.parametrize("which", ["delivered", "archive"])
def test_truncated_or_extended_sealed_file_is_content_mismatch(
    world: World, which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    made: Delivered = request.getfixturevalue(which)
    sealed = tmp_path / "x.age"
    for data in (made.sealed[:-1], made.sealed[:-65_552], made.sealed + b"\0", made.sealed[:300]):
        sealed.write_bytes(data)
        report, _ = run_verification(Task(world.given(made), sealed, out=tmp_path / "out"))
        assert report.exit_code == 4
        assert not (tmp_path / "out").exists()
