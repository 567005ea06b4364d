"""How images are read: choices that the data and the options of the commands share."""

from typing import Literal

ImageFit = Literal["crop", "pad", "stretch"]
"""How an image gets the size that is asked for: "crop" resizes the shorter side and cuts the middle
out, "pad" resizes the longer side and adds white, "stretch" changes the aspect ratio."""
Stream = Literal["auto", "always", "never"]
"""Whether images are decoded when they are read: "auto" for those that would take more than a
quarter of the memory, or that a cache holds."""
