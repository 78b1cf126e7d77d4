"""`python -m llm_latency.cli`, where the console script is not on PATH."""

import sys

from llm_latency.cli.main import main

sys.exit(main())
