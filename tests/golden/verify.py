#!/usr/bin/env python3
"""Checks with programs of others what `spot` signed. Run by tests/it/trust.rs in a folder that it prepared.

    pip install securesystemslib==1.6.0 in-toto-attestation==0.9.3 model-signing==1.1.1 cryptography pyopenssl

`NAME.jsonl` are envelopes that the key `keys/NAME.pub` signed, and `prompt/` is an exported folder that `ana` signed. Exit code 77: the
packages are not there.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

# Beside this file lie others with names of libraries.
sys.path.pop(0)

try:
    import google.protobuf.json_format as pb_json
    import in_toto_attestation.predicates.provenance.v1.provenance_pb2 as provenance_pb2
    import in_toto_attestation.v1.statement_pb2 as statement_pb2
    import model_signing.verifying
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from in_toto_attestation.v1.statement import Statement
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey
except ImportError as error:
    print(f"a Python package is missing: {error}")
    sys.exit(77)


def envelopes(name):
    return [json.loads(line) for line in Path(f"{name}.jsonl").read_text().splitlines()]


def key(name):
    crypto = load_pem_public_key(Path(f"keys/{name}.pub").read_bytes())
    keyid = envelopes(name)[0]["signatures"][0]["keyid"]
    return SSlibKey.from_crypto(crypto, keyid=keyid)


for name, other in [("ana", "ci"), ("ci", "ana")]:
    count = 0
    for data in envelopes(name):
        envelope = Envelope.from_dict(data)
        assert envelope.payload_type == "application/vnd.in-toto+json"
        envelope.verify([key(name)], 1)
        try:
            envelope.verify([key(other)], 1)
            raise AssertionError("verified by another key")
        except VerificationError:
            pass
        # Unknown fields are errors of the parser.
        statement = pb_json.Parse(envelope.payload, statement_pb2.Statement())
        Statement.copy_from_pb(statement).validate()
        assert statement.predicate_type == "https://slsa.dev/provenance/v1"
        predicate = pb_json.MessageToDict(statement.predicate)
        provenance = pb_json.ParseDict(predicate, provenance_pb2.Provenance())
        assert provenance.build_definition.build_type == "urn:spot:job:v1"
        assert provenance.run_details.builder.id == "urn:spot:program"
        assert provenance.run_details.metadata.started_on.seconds > 0
        count += 1
    assert count > 10, count

verify = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=Path("keys/ana.pub"))
verify.verify(Path("prompt"), Path("prompt/model.sig"))
command = [sys.executable, "-m", "model_signing", "verify", "key", "prompt", "--signature", "prompt/model.sig"]
subprocess.run(command + ["--public_key", "keys/ana.pub"], check=True)

shutil.copytree("prompt", "changed")
with open("changed/README.md", "a") as card:
    card.write("99.9\n")
changed = subprocess.run(
    [part.replace("prompt", "changed") for part in command] + ["--public_key", "keys/ana.pub"], capture_output=True
)
assert changed.returncode != 0, changed.stdout
print("verified")
