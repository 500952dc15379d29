import ipaddress
import os
import ssl
import stat

import pytest
from cryptography import x509

from vivace.server.certificate import write_certificate


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "192.168.1.5", "studio.local", "::1"])
def test_a_certificate_names_the_host_and_loads(tmp_path, host):
    files = write_certificate(tmp_path, host)
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(files.certificate, files.key)
    found = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    addresses = names.get_values_for_type(x509.IPAddress)
    assert ipaddress.ip_address("127.0.0.1") in addresses
    if host in ("192.168.1.5", "::1"):
        assert ipaddress.ip_address(host) in addresses
    assert ipaddress.ip_address("0.0.0.0") not in addresses


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_only_the_owner_reads_the_key(tmp_path):
    files = write_certificate(tmp_path, "127.0.0.1")
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
