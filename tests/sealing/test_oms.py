from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings

from registry.errors import ContentMismatchError, FormatError, SignatureError, VerificationError
from registry.formats.canonical import dump_canonical
from registry.formats.envelope import IN_TOTO_PAYLOAD_TYPE, pae
from registry.formats.manifest import Manifest, ManifestEntry
from registry.sealing.oms import _bundle, oms_bundle, oms_root, public_pem, verify_oms_bundle
from registry.sealing.signing import P256Key
from tests.mutants import mutants

# Sorted by string, `a-b/z` and `a.txt` would stand before `a/z`; by components they stand after it.
FILES = {
    "a/z": b"one",
    "a-b/z": b"two",
    "a.txt": b"three",
    "adapter_config.json": b"{}",
    "adapter_model.safetensors": b"\x00" * 1000,
}
KEY, OTHER = P256Key.generate(), P256Key.generate()


def _manifest(files: dict[str, bytes]) -> Manifest:
    return Manifest.of(
        [
            ManifestEntry(name, len(content), hashlib.sha256(content).hexdigest())
            for name, content in files.items()
        ]
    )


MANIFEST = _manifest(FILES)
BUNDLE = oms_bundle(MANIFEST, KEY, "adapter")


def _signed(payload: bytes) -> bytes:
    signature = KEY.sign(pae(IN_TOTO_PAYLOAD_TYPE, payload))
    return dump_canonical(_bundle(payload, signature, KEY.public_raw))


def test_signature_for_other_files_is_refused() -> None:
    other = _manifest({**FILES, "a.txt": b"changed"})
    with pytest.raises(ContentMismatchError, match="other files"):
        verify_oms_bundle(BUNDLE, other, KEY.public_raw)


def test_signature_by_another_key_is_refused() -> None:
    with pytest.raises(SignatureError, match="does not fit"):
        verify_oms_bundle(BUNDLE, MANIFEST, OTHER.public_raw)


def test_unsigned_parts_must_be_what_they_have_to_be() -> None:
    for old, new in (
        (b'"keyid":""', b'"keyid":"x"'),
        (b"bundle.v0.3", b"bundle.v0.4"),
        (b'"tlogEntries":[]', b'"tlogEntries":[1]'),
        (b'"hint":"', b'"hint":"0'),
    ):
        assert old in BUNDLE
        with pytest.raises(SignatureError, match="says more or other"):
            verify_oms_bundle(BUNDLE.replace(old, new), MANIFEST, KEY.public_raw)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"dsseEnvelope":{"payload":"","signatures":[]}}', BUNDLE + b"\n"]
)
def test_what_is_no_signature_file_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        verify_oms_bundle(data, MANIFEST, KEY.public_raw)


@pytest.mark.parametrize("payload", [b"[]", b'{"subject":[]}', b'{"subject":[{"name":"x"}]}'])
def test_signed_statement_of_another_shape_is_refused(payload: bytes) -> None:
    with pytest.raises((FormatError, VerificationError)):
        verify_oms_bundle(_signed(payload), MANIFEST, KEY.public_raw)


def test_key_that_is_no_point_is_refused() -> None:
    with pytest.raises(SignatureError, match="not a valid one"):
        public_pem(bytes(65))


@settings(max_examples=100)
@given(mutants(BUNDLE))
def test_mutated_signature_file_is_never_accepted(data: bytes) -> None:
    with pytest.raises((FormatError, VerificationError)):
        verify_oms_bundle(data, MANIFEST, KEY.public_raw)


def test_own_signature_is_verified_and_the_name_returned() -> None:
    assert verify_oms_bundle(BUNDLE, MANIFEST, KEY.public_raw) == "adapter"


def test_root_is_taken_in_order_of_path_components() -> None:
    names = ["a/z", "a-b/z", "a.txt", "adapter_config.json", "adapter_model.safetensors"]
    assert [entry.path for entry in MANIFEST.entries] == names
    digests = b"".join(hashlib.sha256(FILES[name]).digest() for name in names)
    assert oms_root(MANIFEST) == hashlib.sha256(digests).hexdigest()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "adapter" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "key.pub").write_bytes(public_pem(KEY.public_raw))
    (tmp_path / "model.sig").write_bytes(BUNDLE)
    return tmp_path


@pytest.fixture
def model_signing(oracle: Callable[[str], str]) -> str:
    beside = Path(sys.executable).with_name("model_signing")
    return str(beside) if beside.exists() else oracle("model_signing")


def _run(program: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program, *arguments], cwd=folder, capture_output=True, check=False)


def test_model_signing_verifies_and_refuses_a_change(model: Path, model_signing: str) -> None:
    arguments = ("verify", "key", "adapter", "--public_key", "key.pub", "--signature", "model.sig")
    done = _run(model_signing, model, *arguments)
    assert done.returncode == 0, done.stderr
    (model / "adapter" / "a.txt").write_bytes(b"changed")
    assert _run(model_signing, model, *arguments).returncode != 0


def test_model_signing_finds_the_same_root(model: Path, model_signing: str) -> None:
    (model / "key").write_bytes(KEY.to_pem())
    arguments = ("sign", "key", "adapter", "--private_key", "key", "--signature", "theirs.sig")
    done = _run(model_signing, model, *arguments)
    assert done.returncode == 0, done.stderr
    payload = json.loads((model / "theirs.sig").read_bytes())["dsseEnvelope"]["payload"]
    ours = json.loads(BUNDLE)["dsseEnvelope"]["payload"]
    assert _subject(payload) == _subject(ours)


def _subject(payload: str) -> object:
    import base64

    return json.loads(base64.b64decode(payload))["subject"]
