"""An open stream: from what makes its frames to the end of its body."""
