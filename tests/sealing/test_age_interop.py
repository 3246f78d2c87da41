"""Both directions with other implementations: Debian's age and pyrage."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.sealing.armor import ArmoredSink
from registry.sealing.identities import ScryptIdentity, ScryptRecipient, X25519Identity
from registry.sealing.identity_file import load_identities
from registry.sealing.seal import open_bytes, rewrap, seal, seal_bytes, unwrap_file_key, wrap_header

SIZES = (0, 1, 65_535, 65_536, 65_537, 131_072, 5_000_003)
LIMIT = 10_000_000


def content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@pytest.fixture
def identity() -> X25519Identity:
    return X25519Identity.generate()


@pytest.fixture
def key_file(tmp_path: Path, identity: X25519Identity) -> Path:
    path = tmp_path / "identity.txt"
    path.write_text(identity.to_text() + "\n", encoding="ascii")
    return path


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("armor", [False, True])
def test_age_opens_ours(
    oracle: Callable[[str], str], identity: X25519Identity, key_file: Path, size: int, armor: bool
) -> None:
    sealed = seal_with(identity, content(size), armor=armor)
    opened = subprocess.run(
        [oracle("age"), "-d", "-i", key_file], input=sealed, capture_output=True, check=True
    )
    assert opened.stdout == content(size)


def seal_with(identity: X25519Identity, data: bytes, *, armor: bool) -> bytes:
    sink = io.BytesIO()
    if not armor:
        seal([data], sink, [identity.recipient()])
        return sink.getvalue()
    armored = ArmoredSink(sink)
    seal([data], armored, [identity.recipient()])
    armored.finish()
    return sink.getvalue()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", [[], ["-a"]])
def test_we_open_what_age_sealed(
    oracle: Callable[[str], str], identity: X25519Identity, size: int, options: list[str]
) -> None:
    sealed = subprocess.run(
        [oracle("age"), "-r", str(identity.recipient()), *options],
        input=content(size),
        capture_output=True,
        check=True,
    )
    assert open_bytes(sealed.stdout, [identity], max_bytes=LIMIT) == content(size)


@pytest.mark.parametrize("size", SIZES)
def test_pyrage_opens_ours_and_we_open_pyrages(identity: X25519Identity, size: int) -> None:
    pyrage = pytest.importorskip("pyrage", reason="oracle missing: pyrage")
    theirs = pyrage.x25519.Identity.from_str(identity.to_text())
    recipient = pyrage.x25519.Recipient.from_str(str(identity.recipient()))
    data = content(size)
    assert pyrage.decrypt(seal_bytes(data, [identity.recipient()]), [theirs]) == data
    assert open_bytes(pyrage.encrypt(data, [recipient]), [identity], max_bytes=LIMIT) == data


def test_passphrases_work_both_ways_with_pyrage() -> None:
    pyrage = pytest.importorskip("pyrage", reason="oracle missing: pyrage")
    ours = seal_bytes(b"x", [ScryptRecipient(b"a phrase", log_n=10)])
    assert pyrage.passphrase.decrypt(ours, "a phrase") == b"x"
    theirs = pyrage.passphrase.encrypt(b"y", "a phrase")
    assert open_bytes(theirs, [ScryptIdentity(b"a phrase")], max_bytes=LIMIT) == b"y"


def test_age_opens_a_rewrapped_file(
    oracle: Callable[[str], str], identity: X25519Identity, key_file: Path, tmp_path: Path
) -> None:
    vault, sealed, delivery = X25519Identity.generate(), tmp_path / "a.age", tmp_path / "b.age"
    with sealed.open("wb") as sink:
        header = seal([content(200_000)], sink, [vault.recipient()]).header
    with delivery.open("wb") as sink:
        rewrap(sealed, sink, wrap_header(unwrap_file_key(header, [vault]), [identity.recipient()]))
    opened = subprocess.run(
        [oracle("age"), "-d", "-i", key_file, delivery], capture_output=True, check=True
    )
    assert opened.stdout == content(200_000)


def test_identity_file_of_age_keygen_is_read(oracle: Callable[[str], str], tmp_path: Path) -> None:
    path = tmp_path / "key.txt"
    subprocess.run([oracle("age-keygen"), "-o", path], capture_output=True, check=True)
    (identity,) = load_identities(path)
    assert isinstance(identity, X25519Identity)
    assert f"# public key: {identity.recipient()}\n" in path.read_text(encoding="ascii")
