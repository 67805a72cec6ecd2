"""The commands of the device: what `liquidlens` offers without torch."""

from liquidlens.serve.commands.batch import batch, merge
from liquidlens.serve.commands.explain import explain
from liquidlens.serve.commands.machine import bench, doctor
from liquidlens.serve.commands.node import drift, node
from liquidlens.serve.commands.predict import predict
from liquidlens.serve.commands.serve import serve
from liquidlens.serve.commands.signing import keygen, sign, verify
from liquidlens.serve.commands.web import web

#: In the order of `liquidlens --help`.
COMMANDS = (bench, predict, batch, merge, explain, serve, node, drift, doctor, keygen, sign, verify, web)
