"""The type of bytes that packets and send buffers are made of."""

Buffer = bytes | memoryview
"""Bytes that nobody changes any more. A memoryview avoids a copy of a large payload."""
