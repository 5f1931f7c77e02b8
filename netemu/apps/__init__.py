"""Built-in services, each a class of asyncio.Protocol's shape."""
