"""The live server: people and networks around an engine; nothing below this room imports a web library."""
