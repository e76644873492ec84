"""imaging: files from outside as upright 8-bit sRGB.

tiff_tags.py   single tags of TIFF and EXIF
metadata.py    what a file says of its pixels, apart from what a decoder needs
colour.py      profiles and named colours to sRGB
decode.py      all of it: read_image()
"""

from ggt_tools.imaging.decode import FORMATS as FORMATS
from ggt_tools.imaging.decode import Decoded as Decoded
from ggt_tools.imaging.decode import check_image as check_image
from ggt_tools.imaging.decode import read_image as read_image
