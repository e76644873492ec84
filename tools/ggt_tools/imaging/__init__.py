"""Decode and describe images from outside.

decode.py            decode any image file to upright 8-bit sRGB: `read_image`
containers.py        split a file into what a decoder needs and its metadata; one module a format beside it
tiff_tags.py         read single tags of TIFF and EXIF
colour.py            convert profiles and named colours to sRGB
degradations.py      measure degradations of a photograph
photo_classes/       name the class of a photograph by a classifier
perceptual_hash.py   find near duplicates and what is not a photograph
contact_sheet.py     draw pairs on one sheet
"""

from ggt_tools.imaging.decode import FORMATS as FORMATS
from ggt_tools.imaging.decode import MAX_PIXELS as MAX_PIXELS
from ggt_tools.imaging.decode import Decoded as Decoded
from ggt_tools.imaging.decode import check_image as check_image
from ggt_tools.imaging.decode import read_image as read_image
