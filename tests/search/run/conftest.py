"""A local S3 server, one a session, that can be made to fail."""

import threading
import time

import pytest

from tests.search.run.whole_studies import STUDY

REFUSED = (
    b"<?xml version='1.0'?><Error><Code>InternalError</Code>"
    b"<Message>made to fail</Message></Error>"
)


class Server:
    """moto's S3 on a port of this machine; what it holds stays when it is stopped.

    Attributes:
        refuse: so many of the requests that write are answered with an error.
        cut: so many answers to reads of objects hold half of what they should.
        seen: faults that were met with.
    """

    def __init__(self):
        from moto.server import DomainDispatcherApplication, create_backend_app

        self._app = DomainDispatcherApplication(create_backend_app)
        self.refuse = self.cut = self.seen = 0
        self.port = 0
        self.start()

    def start(self):
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, *arguments, **more):
                pass

        self._server = make_server(
            "127.0.0.1", self.port, self._answer, threaded=True, request_handler=Quiet
        )
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def gone_for(self, seconds):
        """Stop, and start again in a while."""
        self.stop()
        threading.Timer(seconds, self.start).start()

    def _answer(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if self.refuse and method in ("PUT", "POST"):
            self.refuse, self.seen = self.refuse - 1, self.seen + 1
            start_response("500 Internal Server Error", [("Content-Type", "application/xml")])
            return [REFUSED]
        if not (self.cut and method == "GET" and path.count("/") > 1):
            return self._app(environ, start_response)
        self.cut, self.seen = self.cut - 1, self.seen + 1
        told = []
        body = b"".join(self._app(environ, lambda *held: told.append(held)))
        half = body[: len(body) // 2]
        headers = [(k, v) for k, v in told[0][1] if k.lower() != "content-length"]
        start_response(told[0][0], [*headers, ("Content-Length", str(len(half)))])
        return [half]


@pytest.fixture(scope="session")
def _moto():
    pytest.importorskip("moto.server", reason="moto is not installed: no local S3 server")
    pytest.importorskip("flask_cors", reason="flask-cors is not installed: no local S3 server")
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def s3(_moto, monkeypatch):
    """The server, whole; the environment leads to it."""
    told = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{_moto.port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for key, value in told.items():
        monkeypatch.setenv(key, value)
    _moto.refuse = _moto.cut = _moto.seen = 0
    return _moto


@pytest.fixture
def bucket(s3):
    """URI of a bucket of the test's own."""
    from pyarrow import fs

    name = f"bucket-{time.monotonic_ns()}"
    at = f"http://127.0.0.1:{s3.port}"
    made = fs.S3FileSystem(endpoint_override=at, region="us-east-1", allow_bucket_creation=True)
    made.create_dir(name)
    return f"s3://{name}"


@pytest.fixture(params=["file", "s3"])
def uri(request, tmp_path):
    """Where a run may be handed in to, by each kind of URI."""
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/runs/mine"
    (tmp_path / "store" / "runs" / "mine").mkdir(parents=True)
    return f"file://{tmp_path}/store/runs/mine"


@pytest.fixture
def study(tmp_path):
    """A study file whose pretrained cell starts from weights that the test makes."""
    import torch
    from torchvision.models import resnet18

    from trainables.resnet import weights_name

    (tmp_path / "weights").mkdir()
    torch.save(resnet18().state_dict(), tmp_path / "weights" / weights_name(18))
    (tmp_path / "tiny.toml").write_text(STUDY)
    return tmp_path
