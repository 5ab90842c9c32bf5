"""draw(): a Decision as one self-contained HTML page."""

from farthing.drawing.page import draw as draw
