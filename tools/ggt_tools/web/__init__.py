"""What the local pages of `review` and `view` share: their server, the guard before it, and the viewer of pairs.

The server (server.py) is bound to this machine; the guard (guard.py) checks every request before the application sees
it. static/ holds the style, the viewer of images (viewer.js) and its buttons and keys (controls.js); applications serve
it under /shared.
"""
