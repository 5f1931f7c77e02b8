"""Real time: the engine on an asyncio loop, the TUN device, the control API."""
