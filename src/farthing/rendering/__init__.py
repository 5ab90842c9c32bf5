"""render(): an artifact written down for machinery that is not ours: container, Kubernetes."""

from farthing.rendering.render import Place as Place
from farthing.rendering.render import render as render
