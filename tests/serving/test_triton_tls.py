"""A Triton server that speaks TLS: answers who has its authority's certificate, and nobody in plain words."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from helpers.default_model import default_model
from helpers.triton import expression_alone, free_ports, require_triton

from streamfx.config.serving import Serving
from streamfx.errors import ServingUnavailable
from streamfx.models.expression import ExpressionModel
from streamfx.serving.client import open_model
from streamfx.serving.triton_server import LocalTriton
from streamfx.testing import window_tensors

pytestmark = pytest.mark.triton


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Certificate and key files for this machine's loopback address."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "triton")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / "tls.crt", folder / "tls.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, private


def test_only_a_client_that_speaks_tls_is_answered(tmp_path: Path) -> None:
    require_triton()
    certificate, key = self_signed(tmp_path)
    server = LocalTriton(replace(free_ports(), tls=(certificate, key)), repository=expression_alone())
    try:
        url = {"url": server.grpc_url}
        encrypted = Serving.model_validate({"backend": "triton", "triton": {**url, "ca_file": certificate}})
        client = open_model(ExpressionModel, default_model(), encrypted)
        assert client.submit(window_tensors(0)).result(60)["logits"].shape == (7,)
        client.close()
        with pytest.raises(ServingUnavailable):
            open_model(ExpressionModel, default_model(), Serving.model_validate({"backend": "triton", "triton": url}))
    finally:
        server.stop(gently=False)
