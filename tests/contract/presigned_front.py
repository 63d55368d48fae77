"""The part of an S3 server that moto lacks: addresses that are signed, checked with AWS's own code.

What is signed well is handed on to moto, which accepts or ignores signatures in headers alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.contract.servers import S3Server


class _Handler(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        status = 200 if self._is_signed() else 403
        if status == 200:
            bucket, _, key = urlsplit(self.path).path.lstrip("/").partition("/")
            self.server.s3.put_object(Bucket=bucket, Key=key, Body=body)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_DELETE = do_PUT

    def _is_signed(self) -> bool:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        signed_at = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if datetime.now(UTC) > signed_at + timedelta(seconds=int(query["X-Amz-Expires"])):
            return False
        key, _, region, service, _ = query["X-Amz-Credential"].split("/")
        server: S3Server = self.server.behind
        assert (key, query["X-Amz-SignedHeaders"]) == (server.access_key, "host")
        auth = S3SigV4QueryAuth(Credentials(key, server.secret_key), service, region)
        unsigned = self.path.replace(f"&X-Amz-Signature={query['X-Amz-Signature']}", "")
        host = self.headers["Host"]
        request = AWSRequest(self.command, f"http://{host}{unsigned}", headers={"Host": host})
        request.context["timestamp"] = query["X-Amz-Date"]
        to_sign = auth.string_to_sign(request, auth.canonical_request(request))
        return auth.signature(to_sign, request) == query["X-Amz-Signature"]

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def presigned_front(behind: S3Server) -> Iterator[str]:
    """Run the server before another; yields the address that its clients know it by."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as http:
        http.behind = behind
        http.s3 = boto3.client(
            "s3",
            endpoint_url=f"http://{behind.endpoint}",
            region_name="us-east-1",
            aws_access_key_id=behind.access_key,
            aws_secret_access_key=behind.secret_key,
        )
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://localhost:{http.server_port}"
        http.shutdown()
