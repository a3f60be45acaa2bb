"""What executes models: one module per kind."""

import os

# Since 1.29 ONNX Runtime tells its maker over the network what it runs, under an identifier that it keeps in the home
# directory, unless this is set before it is imported. Where a model server sends anything is for its operator to say.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # noqa: TID251  # a library reads it, no service of ours
