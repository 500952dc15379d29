"""Content credentials (C2PA) for recordings: who made them and how, signed; needs the package c2pa-python."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from vivace import __version__
from vivace.core.errors import InputError

# IPTC's word for media that were captured and then changed by a trained model.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


class SigningError(Exception):
    """A recording could not be signed."""


@dataclass(frozen=True, slots=True)
class RecordingSigner:
    """A certificate chain with its key, read and found to belong together; nothing is asked of a network."""

    algorithm: str
    chain: bytes
    key: bytes

    @classmethod
    def load(cls, certificate: Path, key: Path) -> Self:
        """Read PEM files: the chain with the signer's certificate first, and its key without a password.

        Raises:
            InputError: If one cannot be read or they do not belong together.
        """
        try:
            chain, secret = certificate.read_bytes(), key.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {error.filename} to sign recordings: {error.strerror}") from None
        try:
            own = x509.load_pem_x509_certificates(chain)[0]
            private = serialization.load_pem_private_key(secret, None)
        except (ValueError, TypeError, IndexError) as error:
            raise InputError(
                f"cannot sign recordings with {certificate} and {key} ({error}); expected a chain of "
                "certificates and a key without a password, both as PEM"
            ) from None
        if own.public_key() != private.public_key():
            raise InputError(f"{key} is not the key of the first certificate in {certificate}")
        return cls(_algorithm(private), chain, secret)

    def sign(
        self, unsigned: Path, signed: Path, model: str, instructions: Sequence[dict[str, object]]
    ) -> None:
        """Write a signed copy of an MP4.

        Args:
            unsigned: The recording.
            signed: The copy; nothing is there where this fails.
            model: Which model edited it.
            instructions: `prompt` and the `frame` from which each counts.

        Raises:
            SigningError: If the certificate cannot be used for this, or the file not be written.
        """
        info = c2pa.C2paSignerInfo(self.algorithm, self.chain, self.key, None)
        try:
            with (
                c2pa.Signer.from_info(info) as signer,
                c2pa.Builder(json.dumps(_manifest(model, instructions))) as builder,
            ):
                builder.sign_file(unsigned, signed, signer)
        except (c2pa.C2paError, OSError) as error:
            signed.unlink(missing_ok=True)
            raise SigningError(" ".join(str(error).split())[:300]) from None


def _manifest(model: str, instructions: Sequence[dict[str, object]]) -> dict[str, object]:
    agent = {"name": f"vivace {model}".strip(), "version": __version__}
    edits = [
        {
            "action": "c2pa.edited",
            "softwareAgent": agent,
            "digitalSourceType": SOURCE_TYPE,
            "parameters": {"description": f"{one['prompt']} (from frame {one['frame']} of the stream)"},
        }
        for one in instructions
    ]
    created = {"action": "c2pa.created", "softwareAgent": agent, "digitalSourceType": SOURCE_TYPE}
    return {
        "claim_generator_info": [{"name": "vivace", "version": __version__}],
        "title": "Edited with Vivace",
        "format": "video/mp4",
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [created, *edits]}}],
    }


def _algorithm(key: object) -> str:
    match key:
        case ec.EllipticCurvePrivateKey() if key.curve.name in CURVES:
            return CURVES[key.curve.name]
        case ed25519.Ed25519PrivateKey():
            return "ed25519"
        case rsa.RSAPrivateKey():
            return "ps256"
        case _:
            raise InputError(
                "cannot sign recordings with a key of this kind; expected P-256, P-384, P-521, Ed25519 or RSA"
            )
