"""What the Python tools of the hub make of its cache, asked by a test (`hub::python_and_spot_share_the_cache`).

    HF_ENDPOINT=… HF_HOME=… python tests/golden/hub.py find REPOSITORY REVISION FILE…       as JSON: paths in the cache, without asking
                                                                                          the hub, and what a scan of it says
    HF_ENDPOINT=… HF_HOME=… python tests/golden/hub.py download REPOSITORY REVISION FILE…   brings them; the folder
    python tests/golden/hub.py hold FILE                                                  holds a lock until nothing more can come

Tried with huggingface_hub 0.36.2, 1.33.0 and 2.4.0.
"""

import json
import sys

from huggingface_hub import __version__, hf_hub_download, scan_cache_dir, snapshot_download
from huggingface_hub.utils import WeakFileLock


def find(repository, revision, files):
    def found(name):
        return hf_hub_download(repository, name, revision=revision, local_files_only=True)

    scan = scan_cache_dir()
    revisions = [
        {"commit": revision.commit_hash, "refs": sorted(revision.refs), "files": sorted(f.file_name for f in revision.files)}
        for repo in scan.repos
        for revision in repo.revisions
    ]
    warnings = [str(warning) for warning in scan.warnings]
    return {"version": __version__, "paths": {name: found(name) for name in files}, "warnings": warnings, "revisions": revisions}


def download(repository, revision, files):
    return {"version": __version__, "folder": snapshot_download(repository, revision=revision, allow_patterns=files)}


def hold(lock):
    with WeakFileLock(lock):
        print("held", flush=True)
        sys.stdin.read()


if sys.argv[1] == "hold":
    hold(sys.argv[2])
    sys.exit()
command, repository, revision, *files = sys.argv[1:]
print(json.dumps({"find": find, "download": download}[command](repository, revision, files)))
