"""A hub on this machine: the part of its HTTP protocol that huggingface_hub uses, repositories in memory."""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"


def blob_id(content: bytes) -> str:
    """git's hash of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Commits:
    """A repository: its commits and branches."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    claims: dict[str, int] = field(default_factory=dict)
    """Sizes that the list claims instead of the true ones."""
    served: dict[str, bytes] = field(default_factory=dict)
    """Contents that are served instead of the commit's."""

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Add a commit that holds these files."""
        known = json.dumps({name: blob_id(content) for name, content in files.items()}, sort_keys=True)
        sha = hashlib.sha1(f"{len(self.commits)}{known}".encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.branches[branch] = sha
        return sha

    @property
    def head(self) -> str:
        """The commit of main."""
        return self.branches["main"]


class Hub(ThreadingHTTPServer):
    """The server, what it holds, and how it misbehaves."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Commits] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.down = 0
        """A status that answers everything; 0 for none."""
        self.hangs_up = False
        self.leaked = 0
        """Times that the token went to where large files lie, which is another host."""
        self.waits = 0.0
        self.large_suffixes = (".safetensors", ".zip", ".pkl")
        self.listed_names: list[str] = []
        """Names that every list has beside the true ones."""

    @property
    def address(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def repository(self, name: str, files: dict[str, bytes]) -> Commits:
        """Make a repository with one commit."""
        made = self.repositories[name] = Commits()
        made.commit({".gitattributes": b"*.safetensors filter=lfs\n", **files})
        return made

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing where a client goes away."""


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serve until the end of the block."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> Any:
        self.body = self._body()
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        if self.server.hangs_up:
            self.close_connection = True
            return None
        time.sleep(self.server.waits)
        if self.server.down:
            return self._send(self.server.down, b"down", {"Retry-After": "86400"})
        for pattern, act in (
            (r"/api/models/(?P<repo>[^/]+/[^/]+)/revision/(?P<rev>.+)", self._list),
            (r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<file>.+)", self._file),
            (r"/api/repos/create", self._create),
            (r"/api/validate-yaml", self._validate),
            (r"/api/models/(?P<repo>[^/]+/[^/]+)/preupload/(?P<rev>.+)", self._preupload),
            (r"/api/models/(?P<repo>[^/]+/[^/]+)/commit/(?P<rev>.+)", self._commit),
            (r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            (r"/lfs/(?P<oid>[0-9a-f]{64})", self._object),
        ):
            found = re.fullmatch(pattern, path)
            if found:
                return act(**found.groupdict())
        return self._send(404, b"nothing here")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _repository(self, repo: str) -> Commits | None:
        found = self.server.repositories.get(repo)
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if found is None or (found.private and not known):
            self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
            return None
        if found.gated and not known:
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
            return None
        return found

    def _files(self, found: Commits, rev: str) -> tuple[str, dict[str, bytes]] | None:
        sha = found.branches.get(rev, rev)
        if sha not in found.commits:
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return None
        return sha, found.commits[sha]

    def _list(self, repo: str, rev: str) -> None:
        found = self._repository(repo)
        at = found and self._files(found, rev)
        if not found or not at:
            return
        rows: list[dict[str, Any]] = []
        for name, content in at[1].items():
            size = found.claims.get(name, len(content))
            row: dict[str, Any] = {"rfilename": name, "size": size, "blobId": blob_id(content)}
            if name.endswith(self.server.large_suffixes):
                row["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 130}
            rows.append(row)
        rows += [{"rfilename": n, "size": 1, "blobId": "0" * 40} for n in self.server.listed_names]
        self._json({"id": repo, "modelId": repo, "sha": at[0], "siblings": rows, "private": found.private})

    def _file(self, repo: str, rev: str, file: str) -> Any:
        found = self._repository(repo)
        at = found and self._files(found, rev)
        if not found or not at:
            return None
        content = found.served.get(file, at[1].get(file))
        if content is None:
            return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": at[0]})
        headers = {"X-Repo-Commit": at[0], "ETag": f'"{blob_id(content)}"'}
        if not file.endswith(self.server.large_suffixes) or file in found.served:
            return self._send(200, content, headers)
        oid = hashlib.sha256(content).hexdigest()
        self.server.large[oid] = content
        headers |= {"X-Linked-ETag": f'"{oid}"', "X-Linked-Size": str(len(content))}
        return self._send(
            302, b"", {**headers, "Location": f"http://localhost:{self.server.server_port}/lfs/{oid}"}
        )

    def _create(self) -> Any:
        asked = json.loads(self.body)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send(401, b"{}")
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.server.repositories:
            return self._json({"url": f"{self.server.address}/{name}"}, 409)
        self.server.repository(name, {}).private = asked.get("visibility") == "private"
        return self._json({"url": f"{self.server.address}/{name}"})

    def _validate(self) -> None:
        lacking = "license:" not in json.loads(self.body)["content"]
        errors = [{"message": "license is missing"}] if lacking else []
        self._json({"errors": errors, "warnings": []}, 400 if lacking else 200)

    def _preupload(self, repo: str, rev: str) -> None:
        if self._repository(repo) is None:
            return
        files = json.loads(self.body)["files"]
        modes = {
            f["path"]: "lfs" if f["path"].endswith(self.server.large_suffixes) else "regular" for f in files
        }
        self._json({"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]})

    def _batch(self, repo: str) -> None:
        objects = []
        for each in json.loads(self.body)["objects"]:
            action = {"href": f"{self.server.address}/lfs/{each['oid']}", "header": {}}
            actions = {} if each["oid"] in self.server.large else {"actions": {"upload": action}}
            objects.append({"oid": each["oid"], "size": each["size"], **actions})
        self._json({"transfer": "basic", "objects": objects})

    def _object(self, oid: str) -> Any:
        if self.command in ("GET", "HEAD"):
            if self.headers.get("Authorization"):
                self.server.leaked += 1
            return self._send(200, self.server.large[oid])
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.server.large[oid] = self.body
        return self._send(200, b"")

    def _commit(self, repo: str, rev: str) -> None:
        found = self._repository(repo)
        at = found and self._files(found, rev)
        if not found or not at:
            return
        files = dict(at[1])
        for line in self.body.splitlines():
            told = json.loads(line)
            value = told["value"]
            if told["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif told["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif told["key"] == "deletedFile":
                del files[value["path"]]
        sha = found.commit(files, rev)
        self._json({"commitUrl": f"{self.server.address}/{repo}/commit/{sha}", "commitOid": sha})

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def hub_in_use(monkeypatch: Any, tmp_path: Any) -> Iterator[Hub]:
    """A hub that this process uses, with caches and a token of its own."""
    import huggingface_hub.constants
    import huggingface_hub.utils

    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        for name, value in (
            ("HF_HUB_CACHE", str(tmp_path / "hf" / "hub")),
            ("HF_ASSETS_CACHE", str(tmp_path / "hf" / "assets")),
            ("HF_HUB_DISABLE_XET", True),
            ("HF_HUB_DOWNLOAD_TIMEOUT", 1),
        ):
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        huggingface_hub.utils.close_session()
        yield hub
        huggingface_hub.utils.close_session()
