"""Serves a small model as OpenAI does, in a process of its own: python model_child.py GGUF NAME."""

import sys
import threading

import xllamacpp

path, name = sys.argv[1:]
parameters = xllamacpp.CommonParams()
parameters.model.path = path
parameters.model_alias = {name}
parameters.n_ctx = 4096
parameters.n_parallel = 1
# More threads than one make it slower on a machine that is busy.
parameters.cpuparams.n_threads = 1
parameters.cpuparams_batch.n_threads = 1
parameters.n_threads_http = 4
parameters.warmup = False
parameters.verbosity = 0
parameters.hostnames = ["127.0.0.1"]
parameters.port = 0
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)  # noqa: T201  # what the parent waits for
threading.Event().wait()
