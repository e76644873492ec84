import sys

from ggt_tools.cli import main

sys.exit(main())
