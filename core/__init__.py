"""Domain, data, execution and persistence. Imports neither Qt nor learning nor the application.

Importing it, which every process of the program does first, tells ONNX Runtime not to report to its makers: from its
first import on it would keep an identifier of the machine in the home folder and send events over the network.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when ONNX Runtime initialises
