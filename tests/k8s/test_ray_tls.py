"""TLS inside Ray: the chart's init containers make certificates, and a real Ray cluster runs with them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from helpers.chart import CHART, SMALLEST, Template, rendered, templates
from helpers.lacking import skip_if_lacking
from helpers.ray_cluster import RayCluster

EVERYTHING = CHART / "ci" / "everything.yaml"
ROLES = ("supervisor", "head", "worker")
AUTHORITY, OWN = "/etc/streamfx/ray-ca", "/etc/streamfx/ray-tls"
FULL_NAME = "demo-head-svc.streamfx.svc.cluster.local"
USE = """
import ray, sys
ray.init(sys.argv[1])
print(ray.get(ray.remote(num_cpus=1)(lambda: "done").remote()))
"""


def of(role: str) -> Template:
    [found] = [t for t in templates(rendered(EVERYTHING)) if t.role == role]
    return found


def openssl(*words: str) -> str:
    skip_if_lacking("openssl")
    return subprocess.run(["openssl", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the certificate authority, as the Secret is mounted."""
    folder = tmp_path_factory.mktemp("authority")
    openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=streamfx-ray",
        "-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt"),
    )  # fmt: skip
    for file in folder.iterdir():
        file.chmod(0o440)
    return folder


def certify(role: str, authority: Path, folder: Path, address: str) -> None:
    """Run the init container of a pod at `address`; it writes its files into `folder`."""
    [init] = of(role).spec["initContainers"]
    script = init["args"][0].replace(AUTHORITY, str(authority)).replace(OWN, str(folder))
    environment = {entry["name"]: entry["value"] for entry in init["env"] if "value" in entry}
    environment |= {"POD_IP": address, "PATH": os.environ["PATH"]} | (
        {} if role == "supervisor" else {"FQ_RAY_IP": FULL_NAME}
    )
    for _ in range(2):  # it also runs again when a pod gets another address
        done = subprocess.run([*init["command"], script], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("role", ROLES)
def test_a_pods_certificate_is_valid_for_its_own_address(role: str, authority: Path, tmp_path: Path) -> None:
    certify(role, authority, tmp_path, "10.1.2.3")
    openssl("verify", "-CAfile", str(authority / "tls.crt"), "-purpose", "sslserver", str(tmp_path / "tls.crt"))
    assert (tmp_path / "ca.crt").read_bytes() == (authority / "tls.crt").read_bytes()
    made = x509.load_pem_x509_certificate((tmp_path / "tls.crt").read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == {"10.1.2.3", "127.0.0.1"}
    others = set() if role == "supervisor" else {FULL_NAME}
    assert set(names.get_values_for_type(x509.DNSName)) == {"localhost", "demo-head-svc"} | others
    uses = set(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert uses == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}, (
        "Ray's servers require certificates of clients too"
    )
    assert (tmp_path / "tls.key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("role", ROLES)
def test_only_the_init_container_sees_the_authoritys_key(role: str) -> None:
    spec = of(role).spec
    [volume] = [volume for volume in spec["volumes"] if volume.get("secret", {}).get("secretName") == "ray-tls"]
    for container in spec["containers"]:
        assert volume["name"] not in {mount["name"] for mount in container["volumeMounts"]}
        assert {"name": "ray-tls", "mountPath": OWN, "readOnly": True} in container["volumeMounts"]
    [own] = [volume for volume in spec["volumes"] if volume["name"] == "ray-tls"]
    assert own["emptyDir"]["medium"] == "Memory"
    asks = [entry for entry in spec["initContainers"][0]["env"] if entry["name"] == "POD_IP"]
    assert asks == [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]


def test_without_the_switch_no_pod_makes_certificates() -> None:
    for template in templates(rendered(SMALLEST)):
        assert "initContainers" not in template.spec


def own_address() -> str:
    """This machine's address other than the loopback one, which Ray's nodes use among themselves."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has only the loopback address")
        return str(probe.getsockname()[0])


@pytest.mark.ray
def test_a_real_ray_cluster_runs_with_the_certificates(authority: Path, tmp_path: Path) -> None:
    def environment_of(role: str) -> dict[str, Any]:
        folder = tmp_path / role
        folder.mkdir()
        certify(role, authority, folder, own_address())
        env = of(role).spec["containers"][0]["env"]
        return {
            e["name"]: e["value"].replace(OWN, str(folder)) for e in env if e["name"].startswith(("RAY_TLS", "RAY_USE"))
        }

    with closing(RayCluster()) as cluster:
        cluster.environment |= environment_of("head")
        cluster.start_head()
        cluster.environment |= environment_of("worker")
        cluster.start_node(1)
        client = cluster.environment | environment_of("supervisor")
        address = cluster.address.replace("127.0.0.1", "localhost")
        done = subprocess.run(
            [sys.executable, "-c", USE, address], env=client, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stderr
