"""Recordings that say, signed, how they were made; with a certificate authority made for the test."""

import asyncio
import datetime
import json
from pathlib import Path

import av
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fake_engine import FakeEngine
from served import Served, serving
from vivace.core.errors import InputError
from vivace.server.settings import ServerSettings

c2pa = pytest.importorskip("c2pa")

from vivace.server.provenance import RecordingSigner, SigningError  # noqa: E402


def name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "A test"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def certificate(common: str, public, issuer_key, *, is_authority: bool) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common))
        .issuer_name(name("authority"))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(usage(is_authority=is_authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if not is_authority:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
        )
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def write_signer(folder: Path, key=None) -> tuple[Path, Path]:
    """A chain and its key, as PEM files."""
    authority = ec.generate_private_key(ec.SECP256R1())
    key = key or ec.generate_private_key(ec.SECP256R1())
    chain = certificate("signer", key.public_key(), authority, is_authority=False)
    chain += certificate("authority", authority.public_key(), authority, is_authority=True)
    files = folder / "chain.pem", folder / "key.pem"
    files[0].write_bytes(chain)
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


def test_a_signed_recording_says_how_it_was_made_and_a_changed_one_is_found_out(tmp_path):
    signer = RecordingSigner.load(*write_signer(tmp_path))
    takes = tmp_path / "takes"
    takes.mkdir()
    engine = FakeEngine()

    async def talk(served: Served) -> str:
        async with served.client(served.open("grey 50", width_px=64, height_px=48)) as client:
            await client.say("start_recording")
            await client.hear("recording_changed")
            await client.show(5)
            await client.see(5)
            await client.say("set_prompt", prompt="grey 200")
            for _ in range(2):  # chunk by chunk: a reader with more before it may miss frames
                await client.show(4)
                await client.see(4)
            await client.say("stop_recording")
            return (await client.hear("recording_changed"))["recording"]

    with serving(engine, ServerSettings(recordings=takes), signer=signer) as (address, parts):  # pyright: ignore
        served = Served(address, parts, engine)
        content = served.get(f"/recordings/{asyncio.run(talk(served))}").content
    (file,) = takes.iterdir()
    assert file.read_bytes() == content
    with c2pa.Reader(str(file)) as reader:
        assert reader.get_validation_state() == "Valid"
        found = json.loads(reader.json())
    manifest = found["manifests"][found["active_manifest"]]
    assert manifest["signature_info"]["common_name"] == "signer"
    (actions,) = [one["data"]["actions"] for one in manifest["assertions"] if "actions" in one["label"]]
    assert [one["action"] for one in actions] == ["c2pa.created", "c2pa.edited", "c2pa.edited"]
    assert actions[0]["digitalSourceType"].endswith("compositeWithTrainedAlgorithmicMedia")
    assert [one["parameters"]["description"] for one in actions[1:]] == [
        "grey 50 (from frame 0 of the stream)",
        "grey 200 (from frame 5 of the stream)",
    ]
    with av.open(str(file)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 13
    # one byte of the picture
    place = content.rindex(b"mdat") + 200
    changed = tmp_path / "changed.mp4"
    changed.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with c2pa.Reader(str(changed)) as reader:
        assert reader.get_validation_state() == "Invalid"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP384R1()), "es384"),
        (ed25519.Ed25519PrivateKey.generate(), "ed25519"),
        (rsa.generate_private_key(65537, 2048), "ps256"),
    ],
)
def test_the_algorithm_is_that_of_the_key(tmp_path, key, algorithm):
    assert RecordingSigner.load(*write_signer(tmp_path, key)).algorithm == algorithm


def test_what_cannot_sign_is_one_sentence(tmp_path):
    chain, key = write_signer(tmp_path)
    (tmp_path / "other").mkdir()
    _, other = write_signer(tmp_path / "other")
    with pytest.raises(InputError, match="is not the key of the first certificate"):
        RecordingSigner.load(chain, other)
    with pytest.raises(InputError, match="cannot read"):
        RecordingSigner.load(tmp_path / "nothing", key)
    for pair in ((key, key), (chain, chain)):
        with pytest.raises(InputError, match="both as PEM"):
            RecordingSigner.load(*pair)
    odd = ec.generate_private_key(ec.SECP256K1())
    with pytest.raises(InputError, match="P-256"):
        RecordingSigner.load(*write_signer(tmp_path, odd))


def test_a_file_that_cannot_be_signed_leaves_nothing(tmp_path):
    signer = RecordingSigner.load(*write_signer(tmp_path))
    broken, signed = tmp_path / "broken.mp4", tmp_path / "signed.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(SigningError):
        signer.sign(broken, signed, "tiny-edit", [])
    assert not signed.exists()
