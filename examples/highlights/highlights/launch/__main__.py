"""`python -m highlights.launch`: the same as `highlights`."""

import sys

from highlights.launch import main

sys.exit(main())
