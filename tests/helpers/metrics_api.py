"""An external metrics API for tests, like Prometheus's adapter: it answers the cluster's autoscaler over TLS."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from helpers.lacking import skip_if_lacking

GROUP = "external.metrics.k8s.io"
VERSION = f"{GROUP}/v1beta1"


class MetricsApi:
    """Its answers: `values` by (namespace, metric, label selector), as quantities; there is no other metric."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str, str], str] = {}
        self.port = 0

    def objects(self, namespace: str) -> list[dict[str, Any]]:
        """The objects that make a cluster use this API."""
        service = {"name": "metrics-api", "namespace": namespace}
        return [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": service,
                "spec": {"type": "ExternalName", "externalName": "localhost"},
            },
            {
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": f"v1beta1.{GROUP}"},
                "spec": {
                    "group": GROUP,
                    "version": "v1beta1",
                    "groupPriorityMinimum": 100,
                    "versionPriority": 100,
                    "insecureSkipTLSVerify": True,
                    "service": service | {"port": self.port},
                },
            },
        ]

    def answer(self, url: str) -> dict[str, Any] | None:
        """The object at a URL, or None where there is none."""
        path, query = urlsplit(url).path.strip("/").split("/"), parse_qs(urlsplit(url).query)
        if path == ["apis", *VERSION.split("/")]:
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": VERSION, "resources": []}
        if path[:4] != ["apis", *VERSION.split("/"), "namespaces"] or len(path) != 6:
            return None
        value = self.values.get((path[4], path[5], query.get("labelSelector", [""])[0]))
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        items = [{"metricName": path[5], "metricLabels": {}, "timestamp": now, "value": value}]
        return {
            "kind": "ExternalMetricValueList",
            "apiVersion": VERSION,
            "metadata": {},
            "items": [] if value is None else items,
        }


@contextmanager
def metrics_api(folder: Path) -> Iterator[MetricsApi]:
    """Serve an API; `folder` gets its certificate."""
    api = MetricsApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = api.answer(self.path)
            body = json.dumps(found or {}).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    skip_if_lacking("openssl")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    api.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
