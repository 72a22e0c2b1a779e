"""The tools that are tried: for each what it finds on its servers in an old and a new version, what a job of it is, and
where in it somebody's code of a new version runs."""
import base64
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
import zipfile

from servers import EVIL, as_json, integrity

SHELL = "set -e\n"


def tar_gz(files, mode=0o644):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), mode
            archive.addfile(entry, io.BytesIO(text.encode()))
    return made.getvalue()


def git(directory, *words):
    subprocess.run(["git", "-c", "user.name=ci", "-c", "user.email=ci@example.org", "-c", "init.defaultBranch=main",
                    "-c", "safe.directory=*", "-C", str(directory), *words], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


# What a version that somebody has taken over does besides: what it is, and the shell of it.
EXTRAS = {
    "connects to another host": f"python3 -c \"import urllib.request; urllib.request.urlopen('http://{EVIL}/', timeout=3)\"",
    "reads a key": "cat /home/builder/.ssh/id_ed25519",
    "changes the pipeline": "echo evil >>/home/builder/job/.github/workflows/ci.yml",
}


class Tool:
    """One of them. `newer` and `extra` (shell that a new version of a package does besides) change what servers have."""
    needs = ()
    # Whether it is a job of an agent, and not a command under `martlet run`.
    is_job = False
    extras = EXTRAS
    # What the job's folder holds, tracked by git.
    sources = {"README": "sources\n", ".github/workflows/ci.yml": "on: push\n"}

    def __init__(self, scratch):
        self.scratch = scratch
        self.newer, self.extra = False, ":"

    @classmethod
    def missing(cls):
        return [name for name in cls.needs if not shutil.which(name)]

    def version(self):
        return "1.1.0" if self.newer else "1.0.0"

    def prepare(self):
        """Before each run, outside it."""

    def page(self, scheme, host, path):
        return None

    def end(self):
        pass


class Apt(Tool):
    """apt-get update and install by HTTP, into a root of its own: with dpkg of the machine, and a redirect to a mirror."""
    name, needs = "apt", ("apt-get", "dpkg-deb", "dpkg-scanpackages")

    def package(self):
        tree = f"{self.scratch}/apt-package"
        shutil.rmtree(tree, ignore_errors=True)
        os.makedirs(f"{tree}/DEBIAN")
        os.makedirs(f"{tree}/opt/apt-tool")
        with open(f"{tree}/DEBIAN/control", "w") as file:
            file.write(f"Package: apt-tool\nVersion: {self.version()}\nArchitecture: all\nMaintainer: ci <ci@example.org>\n"
                       "Description: a tool\n")
        with open(f"{tree}/opt/apt-tool/tool", "w") as file:
            file.write(self.version())
        with open(f"{tree}/DEBIAN/postinst", "w") as file:
            file.write(f"#!/bin/sh\n{self.extra}\nexit 0\n")
        os.chmod(f"{tree}/DEBIAN/postinst", 0o755)
        path = f"{self.scratch}/apt-tool.deb"
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, path], check=True, stdout=subprocess.DEVNULL)
        with open(path, "rb") as file:
            return file.read()

    def prepare(self):
        self.content = self.package()
        root = f"{self.scratch}/apt-root"
        shutil.rmtree(root, ignore_errors=True)
        for place in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/trusted.gpg.d", "var/lib/apt/lists/partial",
                      "var/cache/apt/archives/partial", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log/apt"):
            os.makedirs(f"{root}/{place}")
        open(f"{root}/var/lib/dpkg/status", "w").close()
        with open(f"{root}/etc/apt/sources.list", "w") as file:
            file.write("deb [trusted=yes] http://deb.example.org/debian ./\n")
        shutil.rmtree("/opt/apt-tool", ignore_errors=True)

    def command(self):
        root = f"{self.scratch}/apt-root"
        options = (f"-o Dir::Etc={root}/etc/apt -o Dir::State={root}/var/lib/apt -o Dir::Cache={root}/var/cache/apt "
                   f"-o Dir::Log={root}/var/log/apt -o Dir::State::status={root}/var/lib/dpkg/status "
                   f"-o DPkg::Options::=--admindir={root}/var/lib/dpkg -o DPkg::Options::=--force-depends "
                   f"-o DPkg::Options::=--instdir={root}/inst -o DPkg::Options::=--force-script-chrootless "
                   f"-o DPkg::Options::=--force-not-root")
        return SHELL + f"mkdir -p {root}/inst\napt-get {options} update\napt-get {options} install -y apt-tool\n" \
            f"test -s {root}/inst/opt/apt-tool/tool\n"

    def page(self, scheme, host, path):
        if host == "deb.example.org" and path.endswith(".deb"):
            return "redirect", "http://mirror.example.org" + path
        if host == "mirror.example.org":
            return "application/octet-stream", self.content
        if host != "deb.example.org":
            return None
        hashes = f"SHA256: {hashlib.sha256(self.content).hexdigest()}\nSize: {len(self.content)}"
        index = (f"Package: apt-tool\nVersion: {self.version()}\nArchitecture: all\nMaintainer: ci <ci@example.org>\n"
                 f"Filename: ./apt-tool_{self.version()}_all.deb\n{hashes}\nDescription: a tool\n\n").encode()
        if path.endswith("/Packages.gz"):
            return "application/gzip", gzip.compress(index, mtime=0)
        if path.endswith("/Release"):
            packed = gzip.compress(index, mtime=0)
            lines = "".join(f" {hashlib.sha256(one).hexdigest()} {len(one)} {name}\n"
                            for name, one in (("Packages", index), ("Packages.gz", packed)))
            return "text/plain", f"Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n{lines}".encode()
        return ("text/plain", index) if path.endswith("/Packages") else None


class Pip(Tool):
    """pip install by HTTPS, of a wheel and of a source package that is built; its files are on another host."""
    name, needs = "pip", ("python3",)

    def wheel_name(self, name):
        return f"{name}-{self.version()}-py3-none-any.whl"

    def wheel(self, name):
        made, version = io.BytesIO(), self.version()
        files = {f"{name}/__init__.py": f"version = '{version}'\n",
                 f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
                 f"{name}-{version}.dist-info/WHEEL":
                 "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
        record = "".join(f"{file},,\n" for file in files) + f"{name}-{version}.dist-info/RECORD,,\n"
        with zipfile.ZipFile(made, "w") as archive:
            for file, text in {**files, f"{name}-{version}.dist-info/RECORD": record}.items():
                archive.writestr(file, text)
        return made.getvalue()

    def prepare(self):
        version, wheel = self.version(), self.wheel("pipsource")
        # A build backend of its own, so that nothing else has to be there.
        backend = ("import base64, os\n"
                   "def build_wheel(place, config_settings=None, metadata_directory=None):\n"
                   f"    os.system({self.extra!r})\n"
                   f"    with open(os.path.join(place, {self.wheel_name('pipsource')!r}), 'wb') as file:\n"
                   f"        file.write(base64.b64decode({base64.b64encode(wheel)!r}))\n"
                   f"    return {self.wheel_name('pipsource')!r}\n")
        project = ('[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
                   f'[project]\nname = "pipsource"\nversion = "{version}"\n')
        top = f"pipsource-{version}"
        self.files = {
            self.wheel_name("pipwheel"): self.wheel("pipwheel"),
            f"{top}.tar.gz": tar_gz({f"{top}/pyproject.toml": project, f"{top}/backend.py": backend, f"{top}/PKG-INFO":
                                     f"Metadata-Version: 2.1\nName: pipsource\nVersion: {version}\n"})}
        shutil.rmtree(f"{self.scratch}/pip-target", ignore_errors=True)

    def command(self):
        return SHELL + (f"python3 -m pip install --disable-pip-version-check "
                        f"--target {self.scratch}/pip-target --index-url https://pypi.example.org/simple "
                        f"--cert {self.scratch}/ca.pem --retries 0 pipwheel pipsource\n"
                        f"test -e {self.scratch}/pip-target/pipsource/__init__.py\n")

    def page(self, scheme, host, path):
        name = path.strip("/").split("/")[-1]
        if host == "files.example.org" and name in self.files:
            return "application/octet-stream", self.files[name]
        if host == "pypi.example.org" and path.startswith("/simple/"):
            links = "".join(f'<a href="{scheme}://files.example.org/{file}#sha256={hashlib.sha256(content).hexdigest()}">{file}</a>\n'
                            for file, content in self.files.items() if file.startswith(name + "-"))
            return ("text/html", f"<html><body>{links}</body></html>".encode()) if links else None
        return None


class Names(Tool):
    """What else is done with names and addresses: search domains, two names of one address of which both are asked for first,
    HTTP without a host, names in capitals, a name that is asked for by TCP, TCP fast open, UDP to find a route, a redirect to HTTPS."""
    name, needs = "names", ("python3", "curl", "getent")
    PROGRAM = """
import socket, ssl, sys
names = ("pypi.example.org", "files.example.org")
found = {name: socket.getaddrinfo(name, 443, socket.AF_INET, socket.SOCK_STREAM)[0][4] for name in names}
context = ssl.create_default_context(cafile=sys.argv[1])
for name in names:
    with context.wrap_socket(socket.create_connection(found[name], 5), server_hostname=name) as one:
        for _ in range(2):
            one.sendall(f"GET /x HTTP/1.1\\r\\nHost: {name}\\r\\n\\r\\n".encode())
            said = b""
            while not said.endswith(b"no such thing"):
                said += one.recv(4096)
            assert b" 404 " in said
for port in (9, 0):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("198.51.100.66", port))
with socket.create_connection((socket.gethostbyname("mirror.example.org"), 80), 5) as one:
    one.sendall(b"GET /x HTTP/1.0\\r\\n\\r\\n")
    assert b"404" in one.recv(4096)
"""

    def command(self):
        with open(f"{self.scratch}/names.py", "w") as file:
            file.write(self.PROGRAM)
        curl = "curl -sS --max-time 10 -o /dev/null"
        return SHELL + (f"! getent hosts deb\n! getent hosts missing.example.org\npython3 $SCRATCH/names.py $SCRATCH/ca.pem\n"
                        f"{curl} http://MIRROR.Example.org/x\n{curl} http://mirror.example.org:80/x\n"
                        f"{curl} -H Host: http://mirror.example.org/x\n"
                        f"RES_OPTIONS=use-vc {curl} http://index.crates.example.org/x\n{curl} --tcp-fastopen http://deb.example.org/x\n"
                        f"{curl} -L --cacert $SCRATCH/ca.pem http://deb.example.org/secure\n"
                        f"{curl} --http2 --cacert $SCRATCH/ca.pem https://git.example.org/x\n{self.extra}\n:\n")

    def page(self, scheme, host, path):
        return ("redirect", "https://deb.example.org/x") if path == "/secure" else None


class Git(Tool):
    """git clone by HTTPS, by HTTP and by its own protocol; fetch into the job's own repository, and push."""
    name, needs = "git", ("git",)

    def prepare(self):
        bare = f"{self.scratch}/repositories/project.git"
        shutil.rmtree(bare, ignore_errors=True)
        work = f"{self.scratch}/git-work"
        shutil.rmtree(work, ignore_errors=True)
        os.makedirs(f"{work}")
        git(work, "init", ".")
        for number in range(30 if self.newer else 20):
            with open(f"{work}/file{number}", "w") as file:
                file.write(f"{number} {self.newer}\n")
        with open(f"{work}/build", "w") as file:
            file.write(f"#!/bin/sh\n{self.extra}\n:\n")
        os.chmod(f"{work}/build", 0o755)
        git(work, "add", "-A")
        git(work, "commit", "-m", "one")
        subprocess.run(["git", "clone", "-q", "--bare", work, bare], check=True)
        git(bare, "config", "http.receivepack", "true")
        git(bare, "update-server-info")

    def command(self):
        return SHELL + (f"export GIT_SSL_CAINFO={self.scratch}/ca.pem GIT_TERMINAL_PROMPT=0\n"
                        "git clone -q https://git.example.org/project.git $OUT/https\n"
                        "git clone -q http://git.example.org/project.git $OUT/http\n"
                        "git clone -q git://git.example.org/project.git $OUT/own\n"
                        "git fetch -q https://git.example.org/project.git main\n"
                        "git remote add other https://git.example.org/project.git\ngit fetch -q other\n"
                        "cd $OUT/https && ./build && echo more >more && git add more\n"
                        "git -c user.name=ci -c user.email=ci@example.org commit -qm more && git push -q origin HEAD:more\n")


class Npm(Tool):
    """npm install of a package with a script, with a lock file that it writes; its registry has IPv6 addresses that refuse."""
    name, needs = "npm", ("npm", "node")
    sources = {**Tool.sources, "package.json": json.dumps(
        {"name": "job", "version": "1.0.0", "dependencies": {"npm-tool": "^1.0.0", "npm-other": "^1.0.0"}})}

    def prepare(self):
        def packed(name, scripts):
            text = json.dumps({"name": name, "version": self.version(), "scripts": scripts})
            return tar_gz({"package/package.json": text, "package/index.js": f"// {self.version()}\n",
                           "package/run.sh": self.extra + "\n:\n"})
        self.files = {"npm-tool": packed("npm-tool", {"postinstall": "sh run.sh"}), "npm-other": packed("npm-other", {})}

    def command(self):
        return SHELL + ("npm install --registry https://registry.example.org --cafile $SCRATCH/ca.pem --no-progress "
                        "--foreground-scripts\ntest -e node_modules/npm-tool/index.js\n")

    def page(self, scheme, host, path):
        name = path.strip("/").split("/")[0]
        if host != "registry.example.org":
            return None
        if name not in self.files:
            return as_json({}) if path.startswith("/-/npm/v1/security") else None
        if path.endswith(".tgz"):
            return "application/octet-stream", self.files[name]
        version, content = self.version(), self.files[name]
        return as_json({"name": name, "dist-tags": {"latest": version}, "versions": {version: {
            "name": name, "version": version, "hasInstallScript": name == "npm-tool",
            "scripts": {"postinstall": "sh run.sh"} if name == "npm-tool" else {},
            "dist": {"tarball": f"{scheme}://registry.example.org/{name}/-/{name}-{version}.tgz",
                     "shasum": hashlib.sha1(content).hexdigest(), "integrity": integrity(content)}}}})


class Cargo(Tool):
    """cargo build: offline with what is vendored, and with a sparse registry; it writes Cargo.lock."""
    name, needs = "cargo", ("cargo", "rustc", "cc")
    sources = {
        **Tool.sources, "Cargo.toml": '[package]\nname = "job"\nversion = "0.1.0"\nedition = "2021"\n\n[dependencies]\n'
        'cargo-tool = { version = "1", registry = "local" }\nvendored-tool = { path = "vendored" }\n',
        "src/main.rs": "fn main() { println!(\"{} {}\", cargo_tool::version(), vendored_tool::version()); }\n",
        "vendored/Cargo.toml": '[package]\nname = "vendored-tool"\nversion = "1.0.0"\nedition = "2021"\n',
        "vendored/src/lib.rs": "pub fn version() -> &'static str { env!(\"CARGO_PKG_VERSION\") }\n",
        ".cargo/config.toml": '[registries.local]\nindex = "sparse+https://index.crates.example.org/"\n'}

    def prepare(self):
        top, manifest = f"cargo-tool-{self.version()}", (
            f'[package]\nname = "cargo-tool"\nversion = "{self.version()}"\nedition = "2021"\n')
        run = json.dumps(self.extra)
        build = f'fn main() {{ let _ = std::process::Command::new("sh").arg("-c").arg({run}).status(); }}\n'
        self.content = tar_gz({f"{top}/Cargo.toml": manifest, f"{top}/build.rs": build,
                               f"{top}/src/lib.rs": "pub fn version() -> &'static str { env!(\"CARGO_PKG_VERSION\") }\n"})

    def command(self):
        return SHELL + ("export CARGO_HTTP_CAINFO=$SCRATCH/ca.pem CARGO_HOME=$HOME/.cargo CARGO_HTTP_MULTIPLEXING=false\n"
                        "cargo build -q\n./target/debug/job\ncargo clean -q\ncargo build -q --offline\n")

    def page(self, scheme, host, path):
        if host == "index.crates.example.org":
            if path == "/config.json":
                return as_json({"dl": "https://static.crates.example.org/{crate}/{version}.crate"})
            if path == "/ca/rg/cargo-tool":
                line = {"name": "cargo-tool", "vers": self.version(), "deps": [], "features": {}, "yanked": False,
                        "cksum": hashlib.sha256(self.content).hexdigest()}
                return "text/plain", json.dumps(line).encode() + b"\n"
        if host == "static.crates.example.org" and path.endswith(".crate"):
            return "application/octet-stream", self.content
        return None


class Docker(Tool):
    """docker build with both builders (Debian's client has them built in), as far as the job goes under `run`: the client, and
    its connection to the daemon. What the daemon's containers do is not followed there, and no policy holds it."""
    name, needs = "docker", ("/usr/bin/docker", "dockerd", "/bin/busybox")
    sources = {**Tool.sources, "Dockerfile": "FROM base\nARG V\nRUN echo $V >/version\n"}

    def __init__(self, scratch):
        super().__init__(scratch)
        self.host = f"unix://{scratch}/docker.sock"
        log = open(f"{scratch}/dockerd.log", "wb")
        self.daemon = subprocess.Popen(
            ["dockerd", "--data-root", f"{scratch}/docker", "--exec-root", f"{scratch}/docker-run", "--pidfile",
             f"{scratch}/docker.pid", "-H", self.host, "--iptables=false", "--bridge=none"], stdout=log, stderr=log,
            start_new_session=True)
        for _ in range(300):
            if subprocess.run(["/usr/bin/docker", "-H", self.host, "version"], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        else:
            raise SystemExit("learned-policies: dockerd did not start: " + open(f"{scratch}/dockerd.log").read()[-2000:])
        with open("/bin/busybox", "rb") as file:
            binary = file.read()
        image = io.BytesIO()
        with tarfile.open(fileobj=image, mode="w") as archive:
            for name, content in (("bin/busybox", binary), ("etc/passwd", b"root:x:0:0::/:/bin/sh\n")):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o755
                archive.addfile(entry, io.BytesIO(content))
            for name in ("cat", "echo", "sh", "sleep", "tar", "wget"):
                entry = tarfile.TarInfo(f"bin/{name}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(entry)
        subprocess.run(["/usr/bin/docker", "-H", self.host, "import", "-", "base"], check=True, input=image.getvalue(),
                       stdout=subprocess.DEVNULL)

    def builds(self, options="-q"):
        return f"export DOCKER_HOST={self.host}\n" + "".join(
            f"DOCKER_BUILDKIT={kit} /usr/bin/docker build {options} --network host --no-cache --build-arg V={self.version()} .\n"
            for kit in (0, 1))

    def command(self):
        return SHELL + self.builds() + f"{self.extra}\n:\n"

    def end(self):
        self.daemon.terminate()
        self.daemon.wait()
        subprocess.run(["umount", "-q", f"{self.scratch}/docker-run/netns/default"])


class Image(Docker):
    """docker build with both builders in a job of an agent, which has the containers' processes in the job and under its policy:
    a step gets a package from a mirror, another executes what is in it."""
    name, is_job = "image", True
    sources = {**Tool.sources, "Dockerfile": "FROM base\nARG V\nRUN wget -q -O /tool.tar.gz http://deb.example.org/tool-$V.tar.gz\n"
                                             "RUN tar -xzf /tool.tar.gz && sh /tool/install\n"}
    # What a job has alone, a key or a pipeline, is not in a container.
    extras = {"connects to another host": f"wget -q -O /dev/null http://{EVIL}/"}

    def prepare(self):
        self.content = tar_gz({"tool/install": f"{self.extra}\nwget -q -O /tool/more http://files.example.org/more\n"})

    def command(self):
        # Not quietly: the daemon would tell nobody what it runs.
        return SHELL + self.builds("")

    def page(self, scheme, host, path):
        if host == "deb.example.org" and path == f"/tool-{self.version()}.tar.gz":
            return "redirect", f"http://mirror.example.org{path}"
        if host == "mirror.example.org":
            return "application/octet-stream", self.content
        return ("text/plain", b"more\n") if host == "files.example.org" and path == "/more" else None


ALL = [Apt, Pip, Names, Git, Npm, Cargo, Docker, Image]
